"""From what a recipe names (a path, several, or a file for each side) to rows: the one place that knows every form of input."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import polars as pl

from danlu.core.errors import InputError
from danlu.core.recipe import Data
from danlu.core.words import say
from danlu.data.archive import is_archive, unpacked
from danlu.data.columns import choose
from danlu.data.folders import Wanted, read_folder
from danlu.data.idx import is_idx, partner, read_idx
from danlu.data.parts import two_parts
from danlu.data.source import Source
from danlu.data.tables import read_table


def gather(data: Data, kind: str) -> Source:
    """All rows that `data` names, each with the side it came with or "". `kind` is that of the input: text, image or audio."""
    wanted = Wanted(kind, data.header)
    split = data.split
    named = {
        side: value
        for side, value in (("train", split.train), ("validation", split.validation), ("test", split.test))
        if isinstance(value, str)
    }
    paths = data.path if isinstance(data.path, list) else [data.path or ""]
    if not all(paths or [""]) and not (named and data.path is None):
        raise InputError("data.no-path", "data.path")
    if data.path is not None and "train" in named:
        raise InputError("data.path-and-train", "data.split.train")
    sources: list[Source] = []
    if data.path is not None:
        for path in paths:
            source = read_path(path, wanted, sources[0] if sources else None)
            if named:
                source = _without(source, set(named))
            sources.append(source)
        if named and not any((source.side_N != "").any() for source in sources):
            sources = [source.with_side("train") for source in sources]
    for side, path in named.items():
        sources.append(_one_side(read_path(path, wanted, sources[0] if sources else None, f"data.split.{side}"), side))
    joined = Source.join(_alike(sources, data, kind), str(data.path or named))
    if set(joined.side_N.tolist()) <= {"", "train"} and not named:
        joined.side_N[:] = ""  # a lone part called train says nothing
    if not named and two_parts(set(joined.side_N.tolist()) - {""}):
        joined.side_N = np.where(joined.side_N == "validation", "test", joined.side_N).astype("U10")
        joined.dropped = [drop._replace(side="test") if drop.side == "validation" else drop for drop in joined.dropped]
        joined.notes.append({"key": "data.note-two-parts"})
    return joined


def read_path(path: str, wanted: Wanted, like: Source | None = None, key: str = "data.path") -> Source:
    """Rows of one file, folder or archive. `like` is what was read before it of the same data, `key` where the recipe names it."""
    if "://" in path:
        raise InputError("data.address", key, path=path)
    place = Path(os.path.expanduser(path))
    try:
        exists, directory = place.exists(), place.is_dir()
    except (OSError, ValueError):
        exists = directory = False
    if not exists:
        near = _near(place)
        raise InputError("data.no-such-path-near" if near else "data.no-such-path", key, path=path, near=near)
    if directory:
        return read_folder(place, wanted)
    if is_archive(place):
        folder = unpacked(place)
        try:
            source = read_folder(folder, wanted)
        except InputError as error:
            if "folder" not in error.values:
                raise
            raise InputError(error.code, place, **{**error.values, "folder": place.name}) from error
        source.files = [place.name if file == source.roots[i].name else file for i, file in enumerate(source.files)]
        source.notes = [{**note, "folder": place.name} if note.get("folder") == folder.name else note for note in source.notes]
        return source
    if not place.is_file():
        raise InputError("data.unreadable-file", place, file=path, reason=say("data.not-a-file"))
    if is_idx(place):
        return read_idx(partner(place), place.parent)
    return read_table(place, place.name, wanted.header, None if like and like.known else like)  # a folder's columns are its layout's


def _alike(sources: list[Source], data: Data, kind: str) -> list[Source]:
    """Where one is a folder for each class and another a table, columns of the same meaning get the names they have in the first."""
    if len({bool(source.known) for source in sources}) < 2:
        return sources
    names: dict[str, str] = {}
    for source in sources:
        meant, notes = source.known, []
        if not meant:
            here = set(source.frame.columns)
            given = {field: said for field, said in data.columns.items() if {*([said] if isinstance(said, str) else said)} <= here}
            fields, notes = choose(source, given, {kind: kind}, "label")
            meant = {field: columns[-1] for field, columns in fields.items()}
        names = names or meant
        source.frame = source.frame.with_columns(pl.col(meant[field]).alias(name) for field, name in names.items() if meant[field] != name)
        if source.known and names["label"] != "label":
            source.frame = source.frame.drop("label")
        source.known, source.notes = names, [*source.notes, *notes]
    return sources


def _one_side(source: Source, side: str) -> Source:
    """Everything as `side`; of data that has parts itself, only the part of that name where there is one."""
    mask_N = source.side_N == side
    if mask_N.any():
        source = source.keep(mask_N)
    return source.with_side(side)


def _without(source: Source, sides: set[str]) -> Source:
    """Rows of the main data but not of the sides that files of their own replace; two parts mean train and test here too."""
    found = set(source.side_N.tolist()) - {""}
    if two_parts(found) and "test" in sides:
        sides = sides | {"validation"}
    return source.keep(~np.isin(source.side_N, list(sides))) if found & sides else source


def _near(place: Path) -> str:
    """The nearest existing name beside a path that does not exist, for the hint."""
    import difflib

    parent = place.parent
    try:
        names = [name for name in os.listdir(parent) if name != place.name] if parent.is_dir() else []
    except OSError:
        names = []
    close = difflib.get_close_matches(place.name, names, n=1, cutoff=0.6)
    return str(parent / close[0]) if close else ""
