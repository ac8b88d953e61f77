from __future__ import annotations

import contextlib
import io
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from making import write_sound
from PIL import Image

from danlu.core.errors import InputError
from danlu.core.types import Sound
from danlu.data import media
from danlu.data.media import open_value

GREY_HW = np.arange(42, dtype=np.uint8).reshape(6, 7) * 6


def file_of(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


@pytest.mark.parametrize("form", ["PNG", "BMP", "GIF", "TIFF", "WEBP"])
def test_grey_and_colour_of_each_format(form: str, tmp_path: Path) -> None:
    colour_HWC = np.random.default_rng(0).integers(0, 255, (6, 7, 3), dtype=np.uint8)
    for array in (GREY_HW, colour_HWC):
        data = file_of(Image.fromarray(array), form, **({"lossless": True} if form == "WEBP" else {}))
        (tmp_path / "p").write_bytes(data)
        for value in (data, tmp_path / "p", str(tmp_path / "p")):
            opened = open_value("image", value)
            assert opened.dtype == np.uint8
            assert opened.shape == ((6, 7, 1) if array.ndim == 2 and form != "WEBP" else (6, 7, 3))
            if form not in ("GIF", "WEBP"):
                assert (opened.squeeze() == array).all()


def test_jpeg_cmyk_and_orientation() -> None:
    image = Image.fromarray(np.zeros((10, 20, 3), np.uint8))
    exif = Image.Exif()
    exif[274] = 6  # the camera was turned
    assert open_value("image", file_of(image, "JPEG", exif=exif)).shape == (20, 10, 3)
    assert open_value("image", file_of(image.convert("CMYK"), "JPEG")).shape == (10, 20, 3)


def test_sixteen_bits_are_scaled() -> None:
    deep = np.array([[0, 257, 65535]], dtype=np.uint16)
    assert open_value("image", file_of(Image.fromarray(deep))).ravel().tolist() == [0, 1, 255]
    assert open_value("image", deep).ravel().tolist() == [0, 1, 255]


def test_transparency_stands_on_white() -> None:
    clear = Image.new("RGBA", (2, 2), (255, 0, 0, 0))
    assert (open_value("image", file_of(clear)) == 255).all()
    assert open_value("image", file_of(Image.new("LA", (2, 2), (10, 255)))).shape == (2, 2, 1)
    palette = Image.new("P", (2, 2), 0)
    palette.putpalette([255, 0, 0] * 256)
    assert (open_value("image", file_of(palette, transparency=0)) == 255).all()
    assert open_value("image", file_of(palette)).tolist()[0][0] == [255, 0, 0]


def test_one_bit_and_arrays() -> None:
    assert set(open_value("image", file_of(Image.fromarray(GREY_HW > 100))).ravel().tolist()) == {0, 255}
    assert open_value("image", GREY_HW / 255.0).squeeze().tolist() == GREY_HW.tolist()
    assert open_value("image", Image.fromarray(GREY_HW)).shape == (6, 7, 1)
    assert open_value("image", np.zeros((3, 3, 4), np.uint8)).tolist() == np.full((3, 3, 3), 255).tolist()


def png_claiming(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk)) + b"\x00\x00\x00\x00IDAT"


@pytest.mark.parametrize("size", [(9000, 9000), (10_000, 12_000), (100_000, 100_000), (2**31 - 1, 1)])
def test_size_is_checked_before_decoding(size: tuple[int, int], recwarn: pytest.WarningsRecorder) -> None:
    media._pillow.cache_clear()
    with pytest.raises(InputError) as caught:
        open_value("image", png_claiming(*size))
    assert caught.value.code in ("data.huge-image", "data.vast-image")
    assert not recwarn.list


@pytest.mark.parametrize(
    "data", [b"", b"GIF89a", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"SIMPLE  =  T" + b" " * 3000, b"%PDF-1.4", b"\xff\xd8\xff"]
)
def test_no_picture(data: bytes) -> None:
    with pytest.raises(InputError) as caught:
        open_value("image", data)
    assert caught.value.code == "data.bad-image"


def test_picture_damaged_anywhere() -> None:
    """Either it opens or it is one clear error: never another exception."""
    media._pillow.cache_clear()
    random = np.random.default_rng(0)
    pixels = Image.fromarray(random.integers(0, 255, (9, 9, 3), dtype=np.uint8))
    for form in media.FORMATS:
        whole = file_of(pixels, form)
        for trial in range(60):
            data = bytearray(whole)
            for at in random.integers(0, len(data), 3):
                data[at] = random.integers(0, 256)
            if trial % 3 == 0:
                data = data[: int(random.integers(1, len(data)))]
            with contextlib.suppress(InputError):
                assert open_value("image", bytes(data)).ndim == 3


@pytest.mark.parametrize("kind", ["image", "audio"])
def test_no_file(tmp_path: Path, kind: str) -> None:
    for value in (tmp_path / "none.png", str(tmp_path / "none"), "a\x00b"):
        with pytest.raises(InputError) as caught:
            open_value(kind, value, "row 3")
        assert caught.value.code == "data.no-media-file"
        assert "row 3" in caught.value.sentence()
    with pytest.raises(InputError):
        open_value(kind, tmp_path)
    with pytest.raises(InputError):
        open_value(kind, 17)


@pytest.mark.parametrize("form", ["wav", "flac", "ogg", "mp3"])
def test_sound_formats(tmp_path: Path, form: str) -> None:
    import soundfile

    wave = np.sin(np.arange(8000) / 20).astype(np.float32) * 0.5
    soundfile.write(tmp_path / f"s.{form}", np.stack([wave, np.zeros_like(wave)], axis=1), 16000)
    for value in (tmp_path / f"s.{form}", (tmp_path / f"s.{form}").read_bytes()):
        sound = open_value("audio", value)
        assert sound.rate == 16000
        assert sound.samples.dtype == np.float32
        assert abs(len(sound.samples) - 8000) < 3000
        if form in ("wav", "flac"):
            assert np.allclose(sound.samples, wave / 2, atol=1e-4)  # the mean of both channels


def test_samples_with_a_rate() -> None:
    assert open_value("audio", (np.zeros(10), 8000)).samples.dtype == np.float32
    assert open_value("audio", (np.full(10, 16384, np.int16), 8000)).samples[0] == 0.5
    assert open_value("audio", Sound(np.zeros(10, np.float32), 8000)).rate == 8000
    for bad in ((np.zeros(0), 8000), (np.zeros(10), 0), (np.full(10, np.nan), 8000), (np.zeros((2, 2, 2)), 8000), (np.zeros(9), "x")):
        with pytest.raises(InputError):
            open_value("audio", bad)


def wav(rate: int, frames: int, channels: int = 1, data: bytes = b"", form: int = 1, bits: int = 16) -> bytes:
    block = channels * bits // 8
    head = struct.pack("<HHIIHH", form, channels, rate, rate * block & 0xFFFFFFFF, block, bits)
    size = frames * block & 0xFFFFFFFF
    return (
        b"RIFF"
        + struct.pack("<I", size + 36 & 0xFFFFFFFF)
        + b"WAVEfmt "
        + struct.pack("<I", 16)
        + head
        + b"data"
        + struct.pack("<I", size)
        + data
    )


@pytest.mark.parametrize(
    "data",
    [
        wav(0, 4, data=bytes(8)),
        wav(8000, 0),
        wav(8000, 1_000_000_000, data=bytes(8)),
        wav(8000, 4, channels=64, data=bytes(512)),
        wav(8000, 4, data=struct.pack("<4f", 0, float("nan"), 0, 0), form=3, bits=32),
        b"RIFF",
        b"",
        b"ID3 nonsense",
    ],
)
def test_hostile_sounds(data: bytes) -> None:
    with contextlib.suppress(InputError):
        assert len(open_value("audio", data).samples) <= 4  # a length that lies is cut to what is there


def test_without_soundfile_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_sound(tmp_path / "s.wav", 1)
    media._soundfile.cache_clear()
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(InputError) as caught:
        open_value("audio", path)
    media._soundfile.cache_clear()
    assert caught.value.code == "data.needs-audio"
    assert "danlu[audio]" in caught.value.sentence()
