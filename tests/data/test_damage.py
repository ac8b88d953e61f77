"""Files of every form damaged at random: either they open or there is one clear error, never another exception."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from danlu.core.errors import InputError
from danlu.data.contract import usable

ROWS = [(f"some text, number {i} 你好" if i % 3 else f'a "quoted"\nthing {i}', "ab"[i % 2]) for i in range(60)]
FRAME = pl.DataFrame(ROWS, schema=["text", "label"], orient="row")


def written(write: Callable[[io.BytesIO], object]) -> bytes:
    stream = io.BytesIO()
    write(stream)
    return stream.getvalue()


def packed(form: str) -> bytes:
    stream = io.BytesIO()
    if form == "zip":
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as made:
            made.writestr("set/train.csv", CSV)
    else:
        with tarfile.open(fileobj=stream, mode="w:gz" if form == "tar.gz" else "w") as made:
            entry = tarfile.TarInfo("set/train.csv")
            entry.size = len(CSV)
            made.addfile(entry, io.BytesIO(CSV))
    return stream.getvalue()


CSV = written(FRAME.write_csv)
FORMS = {
    "t.csv": lambda: CSV,
    "gb.csv": lambda: CSV.decode().encode("gb18030"),
    "wide.csv": lambda: CSV.decode().encode("utf-16"),
    "t.csv.gz": lambda: gzip.compress(CSV),
    "t.tsv": lambda: written(lambda stream: FRAME.write_csv(stream, separator="\t")),
    "t.jsonl": lambda: "\n".join(json.dumps(row) for row in FRAME.to_dicts()).encode(),
    "t.json": lambda: json.dumps(FRAME.to_dicts()).encode(),
    "t.parquet": lambda: written(FRAME.write_parquet),
    "t.zip": lambda: packed("zip"),
    "t.tar": lambda: packed("tar"),
    "t.tar.gz": lambda: packed("tar.gz"),
}


def damaged(data: bytes, random: np.random.Generator) -> bytes:
    changed = bytearray(data)
    for _ in range(int(random.integers(1, 6))):
        at = int(random.integers(0, len(changed)))
        kind = random.integers(0, 4)
        if kind == 0:
            changed[at] = int(random.integers(0, 256))
        elif kind == 1:
            del changed[max(1, at) :]
        elif kind == 2:
            changed[at:at] = bytes(random.choice(list(b'",\n\t;\x00\xff{[]}'), size=2).astype(np.uint8))
        else:
            del changed[at : at + int(random.integers(1, min(30, len(changed))))]
        if not changed:
            break
    return bytes(changed)


@pytest.mark.parametrize("name", FORMS)
def test_damage_is_one_error(tmp_path: Path, text_data, name: str) -> None:
    whole, random = FORMS[name](), np.random.default_rng(7)
    path = tmp_path / name
    path.write_bytes(whole)
    usable(text_data(path))
    for _ in range(25):
        path.write_bytes(damaged(whole, random))
        with contextlib.suppress(InputError):
            usable(text_data(path))
