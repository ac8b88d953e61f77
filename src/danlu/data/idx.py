"""The idx format of the MNIST family: big-endian sizes, then bytes (http://yann.lecun.com/exdb/mnist, section "file formats")."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import polars as pl

from danlu.core.errors import InputError
from danlu.data.archive import file_digest, read_file
from danlu.data.source import Source

_NAME = re.compile(r"(?P<part>.*?)[-_.]?(?P<what>images|labels)[-_.]idx(?P<axes>[13])[-_.]ubyte(\.gz)?", re.IGNORECASE)


def is_idx(path: Path) -> bool:
    return bool(_NAME.fullmatch(path.name))


def read_idx(paths: Iterable[Path], where: Path) -> Source:
    """Pictures [N, H, W, 1] and labels of every pair of files; the part called train is train, t10k or test is the test."""
    parts: dict[str, dict[str, Path]] = {}
    for path in sorted(paths):
        match = _NAME.fullmatch(path.name)
        parts.setdefault(match["part"].lower(), {}).setdefault(match["what"].lower(), path)
    sources = [_part(part, files, where) for part, files in parts.items()]
    return Source.join(sorted(sources, key=lambda source: source.side_N[0] != "train"), str(where))


def partner(path: Path) -> list[Path]:
    """The pair of files of which one was named."""
    match = _NAME.fullmatch(path.name)
    found = [other for other in path.parent.iterdir() if is_idx(other) and _NAME.fullmatch(other.name)["part"] == match["part"]]
    return sorted(found)


def _part(part: str, files: dict[str, Path], where: Path) -> Source:
    if set(files) != {"images", "labels"}:
        have = next(iter(files.values())).name
        raise InputError("data.idx-alone", where, file=have, what="labels" if "images" in files else "images")
    images_NHW, labels_N = _array(files["images"], 3), _array(files["labels"], 1)
    if len(images_NHW) != len(labels_N):
        raise InputError("data.idx-counts", files["labels"], images=len(images_NHW), labels=len(labels_N))
    name = files["images"].name
    frame = pl.DataFrame(
        {"image": [f"{name}:{i}" for i in range(1, len(labels_N) + 1)], "label": pl.Series(labels_N).cast(pl.String)},
        schema={"image": pl.String, "label": pl.String},
    )
    source = Source.of(
        frame,
        name,
        files["images"].parent,
        range(1, len(labels_N) + 1),
        known={"image": "image", "label": "label"},
        arrays={"image": images_NHW[..., None]},
        digests=[file_digest(path) for path in files.values()],
    )
    side = {"train": "train", "t10k": "test", "test": "test"}.get(part, "validation" if part.startswith("val") else "")
    return source.with_side(side)


def _array(path: Path, axes: int) -> np.ndarray:
    """The uint8 array of one file; InputError where header and length disagree."""
    data = read_file(path)
    size = 4 + 4 * axes
    if len(data) < size or data[:4] != bytes((0, 0, 8, axes)):
        raise InputError("data.bad-idx", path, file=path.name)
    shape = struct.unpack(f">{axes}I", data[4:size])
    if len(data) - size != int(np.prod(shape, dtype=object)) or 0 in shape:
        raise InputError("data.bad-idx", path, file=path.name)
    return np.frombuffer(data, np.uint8, offset=size).reshape(shape).copy()
