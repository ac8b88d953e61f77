"""What a folder holds: parts of the split, tables, idx files, or a folder of pictures, sounds or texts for each class."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from danlu.core.errors import InputError
from danlu.data.archive import is_foreign, read_file
from danlu.data.header import MEDIA, plain
from danlu.data.idx import is_idx, read_idx
from danlu.data.locate import ENDINGS, locate, media_share
from danlu.data.parts import parts, side_of
from danlu.data.source import Source
from danlu.data.tables import is_table, read_table, suffix_of
from danlu.data.text_encoding import decode

_DEPTH = 4  # single folders that may stand around the data
_MANIFEST = re.compile(r"(meta_?data|manifest|labels?|index|annotations?|data)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Wanted:
    """What the task needs from a folder: the kind of its input, and whether tables begin with a line of names (None: find out)."""

    kind: str
    header: bool | None = None


def natural(text: str) -> list[tuple[int, int, str]]:
    """Sort key by which 2.png stands before 10.png."""
    return [(0, int(part), "") if part.isdecimal() and part.isascii() else (1, 0, part) for part in re.split(r"([0-9]+)", text) if part]


def read_folder(folder: Path, wanted: Wanted, base: Path | None = None, depth: int = 0) -> Source:
    """All rows below a folder. Origins are shown relative to `base`. InputError where nothing fits what is wanted."""
    base = base or folder
    entries = _visible(folder)
    directories = [path for path in entries if path.is_dir()]
    files = [path for path in entries if path.is_file()]
    source = (
        _idx(files, folder, wanted)
        or _tables(files, folder, wanted, base)
        or _side_folders(directories, folder, wanted, base)
        or _nested(directories, files, folder, wanted, base, depth)
        or _classes(directories, folder, wanted, base)
        or _odd_tables(files, wanted, base)
    )
    if source is None:
        loose = sum(path.suffix.lower() in ENDINGS[wanted.kind] for path in files)
        raise InputError(f"data.{'no-classes' if loose else 'nothing-here'}-{wanted.kind}", folder, folder=folder.name, n=loose)
    return source


def _visible(folder: Path) -> list[Path]:
    try:
        return sorted((path for path in folder.iterdir() if not is_foreign(path.name)), key=lambda path: natural(path.name))
    except OSError as error:
        raise InputError("data.unreadable-file", folder, file=folder.name, reason=error.strerror or str(error)) from error


def _idx(files: list[Path], folder: Path, wanted: Wanted) -> Source | None:
    found = [path for path in files if is_idx(path)]
    return read_idx(found, folder) if found and wanted.kind == "image" else None


def _tables(files: list[Path], folder: Path, wanted: Wanted, base: Path) -> Source | None:
    """Tables named for parts of the split, or the one table there is; for pictures and sounds only a table that names some."""
    tables = [path for path in files if is_table(path) or (path.suffix.lower() == ".txt" and side_of(path.stem))]
    if wanted.kind != "text":
        tables = [path for path in tables if _names_media(path, wanted, folder)]
    if not tables:
        return None
    found = parts(tables, folder)
    if found:
        return read_parts(found, wanted, base)
    if len(tables) > 1:
        named = [path for path in tables if _MANIFEST.match(path.name)]
        if len(named) != 1:
            raise InputError("data.several-tables", folder, folder=folder.name, files=", ".join(path.name for path in tables[:5]))
        tables = named
    return read_table(tables[0], _shown(tables[0], base), wanted.header)


def read_parts(found: dict[str, list[Path]], wanted: Wanted, base: Path) -> Source:
    """Tables by side, train first; the later ones are read as sisters of the first."""
    sources: list[Source] = []
    for side in sorted(found, key=["train", "validation", "test"].index):
        for path in found[side]:
            table = read_table(path, _shown(path, base), wanted.header, sources[0] if sources else None)
            sources.append(table.with_side(side))
    return Source.join(sources, str(base))


def _names_media(path: Path, wanted: Wanted, folder: Path) -> bool:
    """Whether the first rows of a table hold names of pictures or sounds (or a file of that name stands near)."""
    try:
        table = read_table(path, path.name, wanted.header)
    except InputError:
        return bool(_MANIFEST.match(path.name))  # then its own error is the one to show
    frame = table.frame.head(20)
    if table.arrays or any(media_share(frame[name].to_list(), wanted.kind) > 0.5 for name in frame.columns):
        return True
    places = [locate(frame[name].to_list(), [folder] * len(frame), wanted.kind) for name in frame.columns if plain(name) in MEDIA]
    return any(sum(bool(place) and os.path.isfile(place) for place in found) * 2 > len(found) for found in places)


def _side_folders(directories: list[Path], folder: Path, wanted: Wanted, base: Path) -> Source | None:
    sides: dict[str, Path] = {}
    for path in directories:
        side = side_of(path.name)
        if side in sides:
            raise InputError("data.several-sets", folder, folder=folder.name, files=f"{sides[side].name}, {path.name}")
        if side:
            sides[side] = path
    if "train" not in sides or (
        len(sides) == 1 < len(directories) and not any(path.is_dir() or is_table(path) for path in _visible(sides["train"]))
    ):
        return None  # the last: `train` among car and plane is a class
    sources = []
    for side in sorted(sides, key=["train", "validation", "test"].index):
        try:
            sources.append(read_folder(sides[side], wanted, base, _DEPTH).with_side(side))
        except InputError as error:
            if side == "train" or not error.code.startswith(("data.no-classes", "data.nothing-here")):
                raise
            note = {"key": "data.note-part-left", "folder": sides[side].name}
            sources[0].notes.append(note)
    return Source.join(sources, str(folder))


def _nested(directories: list[Path], files: list[Path], folder: Path, wanted: Wanted, base: Path, depth: int) -> Source | None:
    """One folder around everything, as archives have it."""
    if len(directories) != 1 or depth >= _DEPTH or any(path.suffix.lower() in ENDINGS[wanted.kind] - {".txt"} for path in files):
        return None
    inner = _visible(directories[0])
    if any(path.is_dir() or is_table(path) or is_idx(path) for path in inner) or (wanted.kind == "text" and len(inner) <= 4):
        return read_folder(directories[0], wanted, base, depth + 1)
    return None


def _classes(directories: list[Path], folder: Path, wanted: Wanted, base: Path) -> Source | None:
    names: list[str] = []
    labels: list[str] = []
    foreign = 0
    for directory in directories:
        found, others = media_below(directory, ENDINGS[wanted.kind])
        prefix = os.path.relpath(directory, base)
        names += [f"{prefix}/{name}".replace(os.sep, "/") for name in found]
        labels += [directory.name] * len(found)
        foreign += others
    if not names:
        return None
    frame = pl.DataFrame({"file": names, "label": labels}, schema={"file": pl.String, "label": pl.String})
    known = {wanted.kind: "file", "label": "label"}
    if wanted.kind == "text":
        texts = [decode(read_file(base / name), name)[0] for name in names]
        frame, known = frame.with_columns(pl.Series("text", texts, dtype=pl.String)), {"text": "text", "label": "label"}
    notes = [{"key": "data.note-foreign", "n": foreign, "folder": folder.name}] if foreign else []
    return Source.of(frame, folder.name, base, known=known, notes=notes)


def media_below(folder: Path, endings: frozenset[str]) -> tuple[list[str], int]:
    """Files with such an ending below a folder, relative to it, in natural order; and how many other visible files there are."""
    found: list[str] = []
    others = 0
    for root, directories, files in os.walk(folder):
        directories[:] = [name for name in directories if not is_foreign(name)]
        prefix = os.path.relpath(root, folder)
        for name in files:
            if is_foreign(name):
                continue
            if os.path.splitext(name)[1].lower() in endings:
                found.append(name if prefix == "." else os.path.join(prefix, name))
            else:
                others += 1
    return sorted(found, key=natural), others


def _odd_tables(files: list[Path], wanted: Wanted, base: Path) -> Source | None:
    """A lone text file without a table's ending (SMSSpamCollection), beside at most a readme."""
    odd = [path for path in files if suffix_of(path) in ("", ".txt", ".data") and "readme" not in path.name.lower()]
    return read_table(odd[0], _shown(odd[0], base), wanted.header) if wanted.kind == "text" and len(odd) == 1 else None


def _shown(path: Path, base: Path) -> str:
    return os.path.relpath(path, base).replace(os.sep, "/") if path.is_relative_to(base) else path.name
