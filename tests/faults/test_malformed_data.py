"""Data that nothing can be learned from, for every task: one sentence that names the file, before any model is built."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import tiny

Fails = Callable[..., dict[str, str]]
ROWS = [(f"{('good food and kind people', 'terrible noise all night')[i % 2]} number {i}", "pn"[i % 2]) for i in range(40)]


def table(rows: list[tuple[str, ...]], header: tuple[str, ...] = ("text", "label")) -> bytes:
    stream = io.StringIO()
    csv.writer(stream).writerows([header, *rows])
    return stream.getvalue().encode()


def zipped(*entries: tuple[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in entries:
            made.writestr(name, content)
    return stream.getvalue()


def tarred(name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as made:
        entry = tarfile.TarInfo(name)
        entry.size, entry.type, entry.linkname = len(content), kind, "/etc/passwd"
        made.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


def locked(archive: bytes) -> bytes:
    """The same zip with the flag of encryption set."""
    made = bytearray(archive)
    made[6] |= 1
    made[made.index(b"PK\x01\x02") + 8] |= 1
    return bytes(made)


def flipped(archive: bytes, at: int) -> bytes:
    made = bytearray(archive)
    made[at] ^= 0xFF
    return bytes(made)


def parquet(frame: pl.DataFrame) -> bytes:
    stream = io.BytesIO()
    frame.write_parquet(stream)
    return stream.getvalue()


GOOD = table(ROWS)
TEXTS: dict[str, tuple[str, bytes, str]] = {
    "empty": ("t.csv", b"", "data.empty"),
    "blank": ("t.csv", b"\n \n\t\n", "data.empty"),
    "bom only": ("t.csv", b"\xef\xbb\xbf", "data.empty"),
    "header only": ("t.csv", b"text,label\n", "data.empty"),
    "one row": ("t.csv", table(ROWS[:1]), "contract.too-few"),
    "two rows": ("t.csv", table(ROWS[:2]), "contract.too-few"),
    "three rows": ("t.csv", table(ROWS[:3]), "contract.too-few"),
    "one class": ("t.csv", table([(text, "p") for text, _ in ROWS]), "contract.one-class"),
    "labels distinct": ("t.csv", table([(text, f"id{i}") for i, (text, _) in enumerate(ROWS)]), "contract.all-distinct"),
    "label column empty": ("t.csv", table([(text, "") for text, _ in ROWS]), ""),
    "texts empty": ("t.csv", table([(" ", label) for _, label in ROWS]), ""),
    "one text": ("t.csv", table([("", label) for _, label in ROWS[1:]] + [("only me", "p")]), ""),
    "no label column": ("t.csv", table([(text, f"{i * 7.31:.2f}") for i, (text, _) in enumerate(ROWS)], ("text", "price")), ""),
    "no text column": ("t.csv", table([("1", label) for _, label in ROWS], ("a", "label")), "contract.one-input"),
    "one column": ("t.csv", b"label\n" + b"p\nn\n" * 20, ""),
    "same text": ("t.csv", table([("the same words", label) for _, label in ROWS]), "contract.one-input"),
    "binary": ("t.csv", np.random.default_rng(1).bytes(4000), "data."),
    "picture": ("t.csv", b"\x89PNG\r\n\x1a\n" + bytes(2000), "data."),
    "spreadsheet": ("t.xlsx", zipped(("xl/workbook.xml", b"<x/>")), "data."),
    "spreadsheet called csv": ("t.csv", zipped(("xl/workbook.xml", b"<x/>")), "data."),
    "nul bytes": ("t.csv", GOOD[:200] + b"\0" + GOOD[200:], "data.not-text"),
    "mixed encodings": ("t.csv", GOOD + "你好,p\n".encode("gb18030") + "你好,p\n".encode() + b"\xff\xfe,p\n", "data.undecodable"),
    "open quote": ("t.csv", b'text,label\n"never closed,p\n' + b"x,p\n" * 30, "data.open-quote"),
    "ragged": ("t.csv", b"text,label\n" + b"a,b,c,d\na\n" * 20, "data."),
    "wide": ("t.csv", ",".join(f"c{i}" for i in range(10_000)).encode() + b"\n" + b"1," * 9_999 + b"1\n", "data."),
    "same column names": ("t.csv", table([(a, b, a) for a, b in ROWS], ("text", "label", "text")), "data.repeated-column"),
    "cut gzip": ("t.csv.gz", gzip.compress(GOOD)[:-40], "data.bad-gzip"),
    "gzip with more behind": ("t.csv.gz", gzip.compress(GOOD) + b"junkjunk", "data.bad-gzip"),
    "gzip twice": ("t.csv.gz", gzip.compress(gzip.compress(GOOD)), "data.not-text"),
    "only quotes": ("t.csv", b'"","",""\n' * 30, "data.empty"),
    "huge cell": ("t.csv", b"text,label\n" + b"a" * 10_000_001 + b",x\nb,y\n", "data.huge-cell"),
    "zip with a password": ("t.zip", locked(zipped(("t.csv", GOOD))), "data.encrypted"),
    "zip from Windows' root": ("t.zip", zipped(("C:\\x\\t.csv", GOOD)), "data.escape"),
    "zip with a flipped byte": ("t.zip", flipped(zipped(("t.csv", GOOD)), 60), "data.bad-archive"),
    "json of numbers by row": ("t.json", b'{"a": {"x": 1}, "b": {"y": 2}}', "data.not-rows"),
    "parquet of marks": ("t.parquet", b"PAR1" * 3, "data.bad-parquet"),
    "no json": ("t.json", b"{", "data.bad-json"),
    "json number": ("t.json", b"5", "data.not-rows"),
    "json list of lists": ("t.json", b"[[1,2],[3,4]]", "data.not-rows"),
    "json empty list": ("t.json", b"[]", "data."),
    "json deep": ("t.json", b"[" * 100_000, "data.bad-json"),
    "jsonl bad line": ("t.jsonl", b'{"text":"a","label":"b"}\n{oops}\n', "data.bad-json-line"),
    "jsonl of numbers": ("t.jsonl", b"1\n2\n", "data.not-an-object"),
    "jsonl empty objects": ("t.jsonl", b"{}\n{}\n", "data."),
    "cut parquet": ("t.parquet", parquet(pl.DataFrame(ROWS, ["text", "label"], orient="row"))[:-30], "data.bad-parquet"),
    "parquet of nothing": ("t.parquet", parquet(pl.DataFrame({"text": [], "label": []})), "data.empty"),
    "no parquet": ("t.parquet", GOOD, "data.bad-parquet"),
    "pickle": ("t.pkl", b"\x80\x04K\x01.", "data.unknown-format"),
    "unknown": ("t.docx", b"hello", "data."),
    "cut zip": ("t.zip", zipped(("t.csv", GOOD))[:-60], "data.bad-archive"),
    "no zip": ("t.zip", GOOD, "data.bad-archive"),
    "zip of nothing": ("t.zip", zipped(), "data."),
    "zip escapes": ("t.zip", zipped(("../../t.csv", GOOD)), "data.escape"),
    "zip from the root": ("t.zip", zipped(("/etc/t.csv", GOOD)), "data.escape"),
    "tar escapes": ("t.tar.gz", tarred("../t.csv", GOOD), "data.escape"),
    "tar link": ("t.tar.gz", tarred("t.csv", kind=tarfile.SYMTYPE), "data.link"),
    "tar hard link": ("t.tar.gz", tarred("t.csv", kind=tarfile.LNKTYPE), "data.link"),
    "tar device": ("t.tar.gz", tarred("t.csv", kind=tarfile.CHRTYPE), "data.link"),
    "bomb": ("t.zip", zipped(("t.csv", b"text,label\n" + b"a,b\n" * 18_000_000)), "data.bomb"),
    "zip in a zip": ("t.zip", zipped(("inner.zip", zipped(("t.csv", GOOD)))), "data."),
    "cut tar": ("t.tar.gz", tarred("t.csv", GOOD)[:200], "data.bad-archive"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_texts(fails: Fails, recipe: Callable[..., Path], tmp_path: Path, name: str) -> None:
    file, content, key = TEXTS[name]
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / file).write_bytes(content)
    error = fails(2, key, "check", recipe({"data": {"path": f"in/{file}"}}))
    assert file in error["message"] + error["where"] or not error["code"].startswith("data.")
    fails(2, key, "train", "recipe.yaml", "--out", "run")
    assert not (tmp_path / "run").exists()
    fails(2, "", "new", "text-classification", "--data", f"in/{file}", "--out", "new.yaml") if not key.startswith(
        "contract"
    ) and key else None


def test_no_permission(fails: Fails, recipe: Callable[..., Path], permissions_hold: None, texts: Path) -> None:
    texts.chmod(0)
    fails(2, "data.unreadable-file", "check", recipe())


def test_odd_files(fails: Fails, recipe: Callable[..., Path], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    os.mkfifo(tmp_path / "pipe.yaml")
    fails(2, "recipe.no-file", "check", tmp_path / "pipe.yaml")
    (tmp_path / "gone.csv").symlink_to("nowhere.csv")
    (tmp_path / "loop.csv").symlink_to("loop.csv")
    fails(2, "data.unreadable-file", "check", recipe({"data": {"path": "pipe.csv"}}))
    fails(2, "data.no-such-path", "check", recipe({"data": {"path": "gone.csv"}}))
    fails(2, "data.no-such-path", "check", recipe({"data": {"path": "loop.csv"}}))
    fails(2, "data.", "check", recipe({"data": {"path": "/dev/null"}}))


def pictures(folder: Path, damage: Callable[[Path, int], None], labels: str = "ab", n: int = 24) -> Path:
    from PIL import Image

    for number in range(n):
        path = folder / "in" / labels[number % len(labels)] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(number).integers(0, 255, (9, 8, 3), dtype=np.uint8)).save(path)
        damage(path, number)
    return folder / "in"


def nothing(path: Path, number: int) -> None:
    pass


PICTURES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "empty files": (lambda at: pictures(at, lambda path, _: path.write_bytes(b"")), "contract."),
    "cut files": (lambda at: pictures(at, lambda path, _: path.write_bytes(path.read_bytes()[:60])), "contract."),
    "texts": (lambda at: pictures(at, lambda path, _: path.write_text("I am a picture")), "contract."),
    "one class": (lambda at: pictures(at, nothing, "a"), "contract.one-class"),
    "all but one unreadable": (lambda at: pictures(at, lambda path, i: path.write_bytes(b"x") if i else None), "contract."),
    "a class each": (lambda at: pictures(at, nothing, "abcdefghijkl", 12), "contract.all-distinct"),
    "folder of nothing": (lambda at: (at / "in").mkdir() or at / "in", "data.nothing-here-image"),
    "folder of texts": (lambda at: pictures(at, lambda path, _: path.rename(path.with_suffix(".doc"))), "data.nothing-here-image"),
    "pictures without folders": (lambda at: pictures(at, nothing, "a") / "a", "data.no-classes-image"),
    "idx of a wrong kind": (lambda at: idx(at, images=struct.pack(">IIII", 0x0D03, 24, 4, 4) + bytes(24 * 16)), "data.bad-idx"),
    "idx cut": (lambda at: idx(at, images=struct.pack(">IIII", 0x0803, 24, 4, 4) + bytes(100)), "data.bad-idx"),
    "idx vast": (lambda at: idx(at, images=struct.pack(">IIII", 0x0803, 2**31, 2**15, 2**15) + bytes(100)), "data.bad-idx"),
    "idx empty": (lambda at: idx(at, images=b""), "data."),
    "idx counts": (lambda at: idx(at, labels=struct.pack(">II", 0x0801, 7) + bytes(7)), "data.idx-counts"),
    "idx alone": (lambda at: idx(at, labels=None), "data.idx-alone"),
    "table without files": (lambda at: listed(at, [f"{i}.png" for i in range(24)]), "contract."),
    "table out of the folder": (lambda at: listed(at, ["../../../etc/passwd"] * 24), ""),
    "a picture": (lambda at: pictures(at, nothing) / "a" / "0.png", "data.unknown-format"),
}


def idx(at: Path, images: bytes | None = None, labels: bytes | None = struct.pack(">II", 0x0801, 24) + bytes(range(2)) * 12) -> Path:
    folder = at / "in"
    folder.mkdir()
    whole = struct.pack(">IIII", 0x0803, 24, 4, 4) + bytes(range(24)) * 16
    (folder / "train-images-idx3-ubyte").write_bytes(whole if images is None else images)
    if labels is not None:
        (folder / "train-labels-idx1-ubyte").write_bytes(labels)
    return folder


def listed(at: Path, files: list[str], kind: str = "image") -> Path:
    (at / "in").mkdir()
    (at / "in" / "metadata.csv").write_bytes(table([(file, "ab"[i % 2]) for i, file in enumerate(files)], ("file_name", "label")))
    return at / "in"


@pytest.mark.parametrize("name", PICTURES)
def test_pictures(fails: Fails, recipe: Callable[..., Path], tmp_path: Path, name: str) -> None:
    build, key = PICTURES[name]
    path = build(tmp_path)
    fails(2, key, "check", recipe({"task": "image-classification", "data": {"path": str(path)}}))
    fails(2, key, "train", "recipe.yaml", "--out", "run")
    assert not (tmp_path / "run").exists()


def test_pictures_of_one_pixel(fails: Fails, recipe: Callable[..., Path], tmp_path: Path) -> None:
    """They are pictures; whatever becomes of them is no accident."""
    from PIL import Image

    path = pictures(tmp_path, lambda path, i: Image.new("L", (1, 1), i * 9).save(path))
    words = ["train", recipe({"task": "image-classification", "data": {"path": str(path)}}), "--out", "run", "--json"]
    from danlu.cli.main import run

    assert run(list(map(str, words))) == 0


def sounds(at: Path, make: Callable[[Path, int], None], labels: str = "ab") -> Path:
    for number in range(24):
        path = at / "in" / labels[number % len(labels)] / f"{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        tiny.write_wav(path, np.random.default_rng(number).uniform(-0.5, 0.5, 800), 8000)
        make(path, number)
    return at / "in"


def nan_sound(path: Path, number: int) -> None:
    import soundfile

    soundfile.write(path, np.full(800, np.nan, np.float32), 8000, subtype="FLOAT")


SOUNDS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "no samples": (lambda at: sounds(at, lambda path, _: tiny.write_wav(path, np.zeros(0), 8000)), "contract."),
    "not numbers": (lambda at: sounds(at, nan_sound), "contract."),
    "cut in the header": (lambda at: sounds(at, lambda path, _: path.write_bytes(path.read_bytes()[:30])), "contract."),
    "pictures": (lambda at: sounds(at, lambda path, _: path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(99))), "contract."),
    "empty files": (lambda at: sounds(at, lambda path, _: path.write_bytes(b"")), "contract."),
    "one class": (lambda at: sounds(at, nothing, "a"), "contract.one-class"),
    "folder of pictures": (lambda at: pictures(at, nothing), "data.nothing-here-audio"),
    "table without files": (lambda at: listed(at, [f"{i}.wav" for i in range(24)]), "contract."),
}


@pytest.mark.parametrize("name", SOUNDS)
def test_sounds(fails: Fails, recipe: Callable[..., Path], tmp_path: Path, name: str) -> None:
    build, key = SOUNDS[name]
    path = build(tmp_path)
    fails(2, key, "check", recipe({"task": "audio-classification", "data": {"path": str(path)}}))
    fails(2, key, "train", "recipe.yaml", "--out", "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("task", "key"),
    [
        ("image-classification", "image.unknown-step"),
        ("audio-classification", "audio.unknown-step"),
        ("text-classification", "text.no-steps"),
    ],
)
def test_augment_steps(fails: Fails, recipe: Callable[..., Path], tmp_path: Path, task: str, key: str) -> None:
    fails(2, key, "check", recipe({"task": task, "data": {"path": str(tiny.write(task, tmp_path / "set")), "augment": ["wobble"]}}))


@pytest.mark.parametrize(
    ("task", "option", "value"),
    [
        ("image-classification", "image_size", 0),
        ("image-classification", "image_size", 10**6),
        ("image-classification", "image_sise", 9),
        ("audio-classification", "sample_rate", 0),
        ("audio-classification", "seconds", -1),
        ("audio-classification", "seconds", 1e9),
        ("audio-classification", "mels", 0),
        ("audio-classification", "features", "wavelets"),
    ],
)
def test_options(fails: Fails, recipe: Callable[..., Path], task: str, option: str, value: object) -> None:
    fails(2, "recipe.", "check", recipe({"task": {"name": task, option: value}}))


def test_in_chinese(fails: Fails, recipe: Callable[..., Path], tmp_path: Path) -> None:
    for file, content in (("a.csv", b""), ("b.csv", table(ROWS[:1])), ("c.parquet", b"x"), ("d.zip", b"x"), ("e.jsonl", b"{oops}\n")):
        (tmp_path / file).write_bytes(content)
        error = fails(2, "", "check", recipe({"data": {"path": file}}), lang="zh")
        assert any("\u4e00" <= character <= "\u9fff" for character in error["message"]), error
    assert json.dumps(error, ensure_ascii=False)
