"""The pictures or sounds of one field: where each is, decoded when asked for and kept in memory while there is room."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from danlu.core.errors import InputError
from danlu.data.locate import locate
from danlu.data.media import open_value
from danlu.data.source import Source

KEEP_BYTES = 1 << 30  # decoded values held in memory
_CHUNK = 256  # files decoded by one thread in one go


class Fault(NamedTuple):
    """Why a row cannot be used: a key in `core/words/data.toml` and what was wrong with its file, if it has one."""

    reason: str
    detail: str = ""


class Shelf:
    """Values [N] of one column of a source. A source's array holds pictures as they are or, as objects, the bytes of files."""

    def __init__(self, kind: str, source: Source, column: str) -> None:
        self.kind, self.source, self.column = kind, source, column
        self.stored = source.arrays.get(column)
        self._decoded: dict[int, Any] = {}
        self._held = 0

    def put(self, values: Mapping[int, Any]) -> None:
        """Decoded values that come from memory, by row."""
        self._decoded.update(values)

    def value(self, i: int) -> Any:
        """The decoded value of a row. InputError where it cannot be."""
        if i in self._decoded:
            return self._decoded[i]
        if self.stored is not None and self.stored.dtype != object:
            return self.stored[i]
        place = self.paths[i] if self.stored is None else self.stored[i]
        if place is None:
            raise InputError("data.no-media-file", self._shown(i))
        value = open_value(self.kind, place, self._shown(i))
        size = value.nbytes if isinstance(value, np.ndarray) else value.samples.nbytes
        if self._held + size <= KEEP_BYTES:
            self._decoded[i] = value
            self._held += size
        return value

    def raw(self, i: int) -> Path | bytes | np.ndarray | Any:
        """The file's path where there is a file, else its bytes or the decoded value."""
        if self.stored is not None:
            return self.stored[i]
        path = Path(self.paths[i] or "")
        return path if path.is_file() else self._decoded.get(i, path)

    @cached_property
    def paths(self) -> list[str | None]:
        """The path of every row's file, which need not exist; None for an empty cell."""
        source = self.source
        cells, roots = source.frame[self.column].to_list(), [source.roots[file] for file in source.file_N.tolist()]
        if source.line_N.any():
            return locate(cells, roots, self.kind)
        return [os.path.join(root, cell) for root, cell in zip(roots, cells, strict=True)]  # listed from the disk itself

    def _shown(self, i: int) -> str:
        cell = str(self.source.frame[self.column][i])
        line = int(self.source.line_N[i])
        return f"{self.source.files[self.source.file_N[i]]}:{line} {cell}" if line else cell

    def faults(self, rows: Iterable[int]) -> dict[int, Fault]:
        """The rows among `rows` whose value is missing or does not decode. Decodes them, in parallel."""
        if self.stored is not None and self.stored.dtype != object:
            return {}
        rows = [i for i in rows if i not in self._decoded]
        found: dict[int, Fault] = {}
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            for faults in pool.map(self._faults, (rows[start : start + _CHUNK] for start in range(0, len(rows), _CHUNK))):
                found.update(faults)
        return found

    def _faults(self, rows: list[int]) -> dict[int, Fault]:
        return {i: fault for i in rows if (fault := self._fault(i)) is not None}

    def _fault(self, i: int) -> Fault | None:
        if (self.paths[i] if self.stored is None else self.stored[i]) is None:
            return Fault("data.drop-no-input")
        try:
            self.value(i)
        except InputError as error:
            if error.code == "data.needs-audio":
                raise
            return Fault("data.drop-no-file" if error.code == "data.no-media-file" else "data.drop-unreadable", error.message)
        return None

    @cached_property
    def identities(self) -> list[bytes]:
        """A digest of every row's file or pixels; one of its own for a row without."""
        return [self._identity(i) for i in range(len(self.source.frame))]

    def _identity(self, i: int) -> bytes:
        if self.stored is not None:
            value = self.stored[i]
            return _digest(f"none {i}".encode() if value is None else value if isinstance(value, bytes) else value.tobytes())
        try:
            with open(self.paths[i] or "", "rb") as stream:
                return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).digest()
        except (OSError, ValueError):
            value = self._decoded.get(i)
            if value is None:
                return _digest(f"none {i}".encode())
            return _digest((value if isinstance(value, np.ndarray) else value.samples).tobytes())


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()
