"""One picture, sound or text from whatever form it comes in: a path, bytes, an array. Sizes are checked by the header before decoding."""

from __future__ import annotations

import io
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from danlu.core.errors import InputError
from danlu.core.types import Sound

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")
SOUNDS = ("WAV", "WAVEX", "RF64", "FLAC", "OGG", "MP3", "MPEG")
MAX_PIXELS = 64_000_000
MAX_SAMPLES = 1 << 27  # over all channels
_ORIENTATION = 274  # the EXIF tag


def open_value(kind: str, value: Any, where: str = "") -> Any:
    """A decoded input: str; uint8 [H, W, C], C 1 (grey) or 3 (RGB); or a mono `Sound`. InputError for what cannot be one."""
    opener = {"text": open_text, "image": open_image, "audio": open_audio}[kind]
    return opener(value, where)


def open_text(value: Any, where: str = "") -> str:
    if not isinstance(value, str):
        raise InputError("data.want-text", where, type=type(value).__name__)
    return value.encode("utf8", "replace").decode("utf8")  # half of a surrogate pair is no character


# -- pictures ----------------------------------------------------------------------------------------------------
@cache
def _pillow() -> Any:
    from PIL import Image

    warnings.filterwarnings("ignore", module=r"PIL\.")  # of large or slightly damaged files: what we cannot take is an error
    return Image


def open_image(value: Any, where: str = "") -> np.ndarray:
    """A path, bytes, PIL image or array [H, W] or [H, W, 1|3|4] of uint8, uint16, bool, or float in 0..1."""
    if isinstance(value, np.ndarray):
        return _array_image(value, where)
    image_module = _pillow()
    if isinstance(value, image_module.Image):
        return _pixels(value)
    source = _stream(value, "image", where)
    try:
        with image_module.open(source, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise InputError("data.huge-image", where, width=image.width, height=image.height, limit=MAX_PIXELS // 1_000_000)
            return _pixels(image)
    except image_module.DecompressionBombError:
        raise InputError("data.vast-image", where, limit=MAX_PIXELS // 1_000_000) from None
    except (
        OSError,
        SyntaxError,
        ValueError,
        IndexError,
        KeyError,
        TypeError,
        EOFError,
        ZeroDivisionError,
        OverflowError,
        MemoryError,
    ) as error:
        missing = isinstance(error, FileNotFoundError)
        raise InputError("data.no-media-file" if missing else "data.bad-image", where or str(value)[:200]) from error
    except Exception as error:
        if type(error).__module__ in ("struct", "zlib"):
            raise InputError("data.bad-image", where or "bytes") from error
        raise


def _pixels(image: Any) -> np.ndarray:
    """uint8 [H, W, C] of a PIL image, upright, transparency on white, 16 bits scaled to 8."""
    if image.format != "GIF" and image.getexif().get(_ORIENTATION, 1) != 1:
        from PIL import ImageOps

        image = ImageOps.exif_transpose(image)
    mode = image.mode
    if mode in ("RGB", "L"):
        if "transparency" in image.info:
            return _on_white(image.convert("RGBA"))
        return _three_axes(np.array(image))
    if mode == "1":
        return _three_axes(np.array(image.convert("L")))
    if mode.startswith("I") or mode == "F":
        return _three_axes(_to_bytes(np.array(image)))
    if mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        return _on_white(image.convert("RGBA"), grey=mode.startswith("L"))
    pixels_HWC = np.array(image.convert("RGB"))
    return _one_if_grey(pixels_HWC) if mode == "P" else pixels_HWC


def _on_white(image: Any, grey: bool = False) -> np.ndarray:
    white = _pillow().new("RGBA", image.size, (255, 255, 255, 255))
    pixels_HWC = np.array(_pillow().alpha_composite(white, image).convert("RGB"))
    return _one_if_grey(pixels_HWC) if grey or image.mode == "PA" else pixels_HWC


def _one_if_grey(pixels_HWC: np.ndarray) -> np.ndarray:
    if (pixels_HWC[..., 0] == pixels_HWC[..., 1]).all() and (pixels_HWC[..., 0] == pixels_HWC[..., 2]).all():
        return np.ascontiguousarray(pixels_HWC[..., :1])
    return pixels_HWC


def _three_axes(pixels: np.ndarray) -> np.ndarray:
    return pixels if pixels.ndim == 3 else pixels[..., None]


def _to_bytes(values: np.ndarray) -> np.ndarray:
    """Wider numbers to 0..255: floats in 0..1 and integers beyond 255 (16 bits) are scaled, the rest is taken as it is."""
    values = np.nan_to_num(values.astype(np.float64))
    top = values.max(initial=0.0)
    if top > 255:
        values = values / 257.0
    elif top <= 1.0:
        values = values * 255.0
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _array_image(array: np.ndarray, where: str) -> np.ndarray:
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or 0 in array.shape or array.dtype.kind not in "buif":
        raise InputError("data.bad-array", where, shape=list(array.shape), type=array.dtype)
    if array.shape[0] * array.shape[1] > MAX_PIXELS:
        raise InputError("data.huge-image", where, width=array.shape[1], height=array.shape[0], limit=MAX_PIXELS // 1_000_000)
    if array.dtype == np.bool_ or array.dtype.kind == "f":
        array = _to_bytes(array)
    elif array.dtype != np.uint8:
        array = (array >> 8).astype(np.uint8) if array.dtype == np.uint16 else np.clip(array, 0, 255).astype(np.uint8)
    return _on_white(_pillow().fromarray(array, "RGBA")) if array.shape[2] == 4 else array


# -- sounds ------------------------------------------------------------------------------------------------------
@cache
def _soundfile() -> Any:
    try:
        import soundfile
    except (ImportError, OSError) as error:
        raise InputError("data.needs-audio") from error
    return soundfile


def open_audio(value: Any, where: str = "") -> Sound:
    """A path, bytes, `Sound`, or (samples [T] or [T, channels], rate); several channels become their mean."""
    if isinstance(value, tuple):
        return _sound(np.asarray(value[0]), value[1], where)
    soundfile = _soundfile()
    source = _stream(value, "audio", where)
    try:
        with soundfile.SoundFile(source) as sound:
            if sound.format not in SOUNDS:
                raise InputError("data.bad-audio", where or str(value)[:200])
            if not 0 < sound.frames * sound.channels <= MAX_SAMPLES or sound.channels > 32:
                key = "data.empty-audio" if sound.frames <= 0 else "data.huge-audio"
                raise InputError(key, where or str(value)[:200], limit=MAX_SAMPLES // 1_000_000)
            samples, rate = sound.read(dtype="float32", always_2d=True), sound.samplerate
    except FileNotFoundError as error:
        raise InputError("data.no-media-file", where or str(value)[:200]) from error
    except (soundfile.SoundFileError, OSError, RuntimeError, TypeError, ValueError, MemoryError) as error:
        missing = not isinstance(value, bytes | bytearray) and not Path(value).exists()
        raise InputError("data.no-media-file" if missing else "data.bad-audio", where or str(value)[:200]) from error
    return _sound(samples, rate, where)


def _sound(samples: np.ndarray, rate: Any, where: str) -> Sound:
    if samples.dtype.kind == "i":
        samples = samples / np.float32(np.iinfo(samples.dtype).max + 1)
    if samples.ndim == 2:
        samples = samples.mean(axis=1)
    if samples.ndim != 1 or samples.dtype.kind != "f":
        raise InputError("data.bad-array", where, shape=list(samples.shape), type=samples.dtype)
    if not len(samples):
        raise InputError("data.empty-audio", where)
    if len(samples) > MAX_SAMPLES:
        raise InputError("data.huge-audio", where, limit=MAX_SAMPLES // 1_000_000)
    if not isinstance(rate, int | np.integer) or not 100 <= rate <= 1_000_000:
        raise InputError("data.bad-rate", where, rate=rate)
    samples = np.ascontiguousarray(samples, dtype=np.float32)
    if not np.isfinite(samples).all():
        raise InputError("data.nan-audio", where)
    return Sound(samples, int(rate))


def _stream(value: Any, kind: str, where: str) -> Any:
    """What a decoder can open: a path as str, or a stream over bytes."""
    if isinstance(value, bytes | bytearray | memoryview):
        return io.BytesIO(value)
    if isinstance(value, str | Path):
        if "\x00" in str(value):
            raise InputError("data.no-media-file", where or "NUL")
        return str(value)
    raise InputError(f"data.want-{kind}", where, type=type(value).__name__)
