"""From a name in a table's cell to the file it means: relative to the table, or anywhere below its folder where only one file fits."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from danlu.data.archive import is_foreign

ENDINGS = {
    "image": frozenset((".png", ".jpg", ".jpeg", ".bmp", ".jfif", ".gif", ".webp", ".tif", ".tiff")),
    "audio": frozenset((".wav", ".flac", ".ogg", ".mp3")),
    "text": frozenset((".txt",)),
}
_MOST_FILES = 1_000_000  # looked through for a name: the table may lie at the root of a disk


def locate(cells: Sequence[str | None], roots: Sequence[Path], kind: str) -> list[str | None]:
    """The file of every cell, existing or not; None for an empty cell. Names without folder or ending are looked up below the root."""
    indexes: dict[Path, dict[str, str | None]] = {}
    found: list[str | None] = []
    for cell, root in zip(cells, roots, strict=True):
        if not cell or "\x00" in cell:
            found.append(None)
            continue
        place = os.path.join(root, os.path.expanduser(cell))
        if not _is_file(place):
            if root not in indexes:
                indexes[root] = _index(root, kind)
            place = _look_up(cell.replace("\\", "/"), indexes[root]) or place
        found.append(place)
    return found


def _is_file(place: str) -> bool:
    try:
        return os.path.isfile(place)
    except (OSError, ValueError):
        return False


def _look_up(cell: str, index: dict[str, str | None]) -> str | None:
    """By whole relative name, then by less and less of it."""
    parts = [part for part in cell.casefold().split("/") if part not in ("", ".")]
    for i in range(len(parts)):
        place = index.get("/".join(parts[i:]))
        if place is not None:
            return place
    return None


def _index(root: Path, kind: str) -> dict[str, str | None]:
    """Every tail of every media file's path, with and without its ending, in lower case; None where two files share one."""
    index: dict[str, str | None] = {}
    seen = 0
    for folder, directories, files in os.walk(root):
        seen += len(files)
        directories[:] = [name for name in directories if not is_foreign(name)] if seen < _MOST_FILES else []
        for name in files:
            stem, ending = os.path.splitext(name)
            if is_foreign(name) or ending.lower() not in ENDINGS[kind]:
                continue
            place = os.path.join(folder, name)
            parts = Path(os.path.relpath(place, root)).parts
            for i in range(len(parts)):
                for last in (name, stem):
                    tail = "/".join((*parts[i:-1], last)).casefold()
                    index[tail] = None if tail in index and index[tail] != place else place
    return index


def media_share(cells: list[str | None], kind: str) -> float:
    """Share of cells that end like a picture's or sound's file name."""
    filled = [cell for cell in cells if cell]
    return sum(os.path.splitext(cell)[1].lower() in ENDINGS[kind] for cell in filled) / len(filled) if filled else 0.0
