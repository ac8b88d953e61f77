"""One small, real value of each kind: the server proves itself with it before it is ready, and shows it as the example to send."""

from __future__ import annotations

import base64
import io
import math
import struct
import wave
import zlib
from typing import Any

_SIDE = 16  # pixels
_RATE = 8000  # samples per second


def sample(kind: str) -> str | bytes:
    """A sentence, a PNG of a shaded square, or a WAV of a twentieth of a second of 440 Hz."""
    return {"text": _text, "image": _png, "audio": _wav}[kind]()


def sample_json(kind: str) -> Any:
    """The same as it stands in a JSON row."""
    value = sample(kind)
    return value if isinstance(value, str) else {"base64": base64.b64encode(value).decode()}


def _text() -> str:
    return "The quick brown fox jumps over the lazy dog"


def _png() -> bytes:
    lines = b"".join(b"\0" + bytes(8 * (x + y) for x in range(_SIDE)) for y in range(_SIDE))
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", _SIDE, _SIDE, 8, 0, 0, 0, 0)), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b""))
    whole = [struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(whole)


def _wav() -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(1)
        sound.setframerate(_RATE)
        sound.writeframes(bytes(round(128 + 60 * math.sin(2 * math.pi * 440 * i / _RATE)) for i in range(_RATE // 20)))
    return out.getvalue()
