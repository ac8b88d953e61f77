"""Pictures and sounds on disk for the tests of this room."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def csv_of(rows: list[tuple[str, ...]], header: str = "text,label") -> str:
    """Lines of csv, the first cell quoted."""
    return "\n".join([header, *(",".join((f'"{first}"', *rest)) for first, *rest in rows)]) + "\n"


def write_picture(path: Path, number: int, size: tuple[int, int] = (6, 5)) -> Path:
    """A picture whose pixels depend on `number`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(number).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def write_sound(path: Path, number: int, rate: int = 8000) -> Path:
    """A tenth of a second of noise that depends on `number`."""
    import soundfile

    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.random.default_rng(number).uniform(-0.5, 0.5, rate // 10), rate)
    return path
