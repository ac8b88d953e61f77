"""The dataset: the user's rows untouched, what their columns mean, and a fixed side of the split for each row."""

from __future__ import annotations

import base64
import hashlib
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from danlu.core.errors import InputError
from danlu.core.recipe import Data, Split
from danlu.core.types import SIDES, Row
from danlu.data.columns import choose
from danlu.data.gather import gather
from danlu.data.locate import locate
from danlu.data.media import open_value
from danlu.data.sides import assign
from danlu.data.source import Source

_CHUNK = 256  # files decoded by one thread in one go
_KEEP_BYTES = 1 << 30  # decoded pictures and sounds held in memory


class Fault(NamedTuple):
    """Why a row cannot be used: a key in `core/words/data.toml` and what was wrong with its file, if it has one."""

    reason: str
    detail: str = ""


class Rows(Sequence[Row]):
    """Rows of a dataset by position, decoded when they are asked for."""

    def __init__(self, dataset: Dataset, indices: np.ndarray) -> None:
        self.dataset, self.indices = dataset, np.asarray(indices, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            return Rows(self.dataset, self.indices[at])
        return self.dataset.row(int(self.indices[at]))

    def __iter__(self) -> Iterator[Row]:
        return (self.dataset.row(i) for i in self.indices.tolist())


class Dataset:
    """[N] rows. `frame` holds the user's columns as text or null, `fields` the columns of every field, `sides` [N] "train", "validation"
    or "test", `notes` the guesses a user should see as {"key": ..., values}. A dataset never changes after it is made.
    """

    def __init__(self, source: Source, fields: dict[str, list[str]], inputs: Mapping[str, str], target: str | None, seed: int = 0) -> None:
        self.source, self.frame, self.fields = source, source.frame, fields
        self.inputs, self.target, self.seed = dict(inputs), target, seed
        self.sides = source.side_N
        self.split_by, self.split_column, self.notes = "given", "", list(source.notes)
        self.came: frozenset[str] = frozenset(self.sides.tolist()) - {""}  # the sides that Danlu did not cut
        self._decoded: dict[tuple[int, str], Any] = {}
        self._held = 0

    @classmethod
    def of(
        cls, rows: Iterable[Row], inputs: Mapping[str, str], target: str | None, sides: Sequence[str] | None = None, seed: int = 0
    ) -> Dataset:
        """A dataset from rows in memory; media may be anything that `open_value` takes. Without `sides` it is split as a file would be."""
        rows = list(rows)
        columns = {field: [row.get(field) for row in rows] for field in [*inputs, *([target] if target else [])]}
        named = {
            field: values if inputs.get(field, "text") == "text" else [f"{field}:{i + 1}" for i in range(len(rows))]
            for field, values in columns.items()
        }
        frame = pl.DataFrame({field: pl.Series(field, cells, dtype=pl.String) for field, cells in named.items()})
        source = Source.of(frame, "rows", Path(), range(1, len(rows) + 1))
        if sides is not None:
            source.side_N = np.asarray(sides, dtype="U10")
        dataset = cls(source, {field: [field] for field in columns}, inputs, target, seed)
        for field, kind in inputs.items():
            if kind != "text":
                for i, value in enumerate(columns[field]):
                    dataset._decoded[i, field] = open_value(kind, value, f"rows:{i + 1}")
        if sides is None:
            assign(dataset, Split())
        return dataset

    # -- rows ----------------------------------------------------------------------------------------------------
    def __len__(self) -> int:
        return len(self.frame)

    def indices(self, side: str) -> np.ndarray:
        """The usable rows of a side, in the order of the data: those without a fault."""
        mask_N = self.sides == side
        mask_N[list(self.faults)] = False
        return np.flatnonzero(mask_N)

    def rows(self, indices: np.ndarray | Sequence[int]) -> Rows:
        return Rows(self, np.asarray(indices, dtype=np.int64))

    def row(self, i: int) -> Row:
        """Fields of one row, media decoded. InputError where that is not possible."""
        row = {field: self._value(i, field, kind) for field, kind in self.inputs.items()}
        if self.target is not None:
            label = self.labels[i]
            if label is not None:
                row[self.target] = label
        return row

    def raw(self, i: int, field: str) -> str | Path | np.ndarray:
        """What a report shows: the text, the path of the media file, or the picture itself where it is no file."""
        if self.inputs.get(field) in (None, "text"):
            return (self.labels if field == self.target else self.texts[field])[i] or ""
        column = self.fields[field][0]
        if column in self.source.arrays:
            return self.source.arrays[column][i]
        path = Path(self.paths[field][i] or "")
        return path if path.is_file() else self._decoded.get((i, field), path)

    def origin(self, i: int) -> str:
        """`news.csv:17`, the line a row begins on (the row's number in parquet and json), or a media file's path as shown."""
        file, line = self.source.files[self.source.file_N[i]], int(self.source.line_N[i])
        return f"{file}:{line}" if line else str(self.frame["file"][i])

    @property
    def extra_columns(self) -> list[str]:
        """Columns that are neither input nor target and can cut the data into slices."""
        used = {name for names in self.fields.values() for name in names}
        return [name for name in self.frame.columns if name not in used and name not in ("file", self.split_column)]

    # -- values --------------------------------------------------------------------------------------------------
    @cached_property
    def labels(self) -> list[str | None]:
        """The target of every row, stripped; None where empty."""
        if self.target is None:
            return [None] * len(self)
        return [(cell.strip() or None) if cell is not None else None for cell in self.frame[self.fields[self.target][0]].to_list()]

    @cached_property
    def texts(self) -> dict[str, list[str | None]]:
        """Every text field: its columns joined with a newline; None where all are blank."""
        return {
            field: _joined([self.frame[name].to_list() for name in self.fields[field]])
            for field, kind in self.inputs.items()
            if kind == "text"
        }

    @cached_property
    def paths(self) -> dict[str, list[str | None]]:
        """Every media field that is a file: its path, which need not exist."""
        source, found = self.source, {}
        for field, kind in self.inputs.items():
            column = self.fields[field][0]
            if kind != "text" and column not in source.arrays:
                cells, roots = self.frame[column].to_list(), [source.roots[file] for file in source.file_N.tolist()]
                listed = not source.line_N.any()  # from the disk itself: no need to look again
                found[field] = (
                    [os.path.join(root, cell) for root, cell in zip(roots, cells, strict=True)] if listed else locate(cells, roots, kind)
                )
        return found

    def _value(self, i: int, field: str, kind: str) -> Any:
        if kind == "text":
            return self.texts[field][i] or ""
        arrays = self.source.arrays.get(self.fields[field][0])
        if arrays is not None:
            return arrays[i]
        if (i, field) in self._decoded:
            return self._decoded[i, field]
        path = self.paths[field][i]
        if path is None:
            raise InputError("data.no-media-file", self.origin(i))
        value = open_value(kind, path, self._shown(i, field))
        size = value.nbytes if isinstance(value, np.ndarray) else value.samples.nbytes
        if self._held + size <= _KEEP_BYTES:
            self._decoded[i, field] = value
            self._held += size
        return value

    def _shown(self, i: int, field: str) -> str:
        cell = self.frame[self.fields[field][0]][i]
        return f"{self.origin(i)} {cell}" if self.source.line_N[i] else str(cell)

    @cached_property
    def faults(self) -> dict[int, Fault]:
        """Rows that cannot be used and why, found once: no label, no input, or media that does not decode (decoded here, in parallel)."""
        found: dict[int, Fault] = {}
        if self.target is not None:
            found.update((i, Fault("data.drop-no-label")) for i, label in enumerate(self.labels) if label is None)
        for texts in self.texts.values():
            found.update((i, Fault("data.drop-no-input")) for i, text in enumerate(texts) if text is None)
        for field, paths in self.paths.items():
            kind = self.inputs[field]
            rows = [i for i in range(len(paths)) if i not in found and (i, field) not in self._decoded]
            with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
                parts = [rows[start : start + _CHUNK] for start in range(0, len(rows), _CHUNK)]
                for faults in pool.map(lambda part: {i: self._media_fault(i, field, kind) for i in part}, parts):  # noqa: B023
                    found.update((i, fault) for i, fault in faults.items() if fault)
        return found

    def _media_fault(self, i: int, field: str, kind: str) -> Fault | None:
        path = self.paths[field][i]
        if path is None:
            return Fault("data.drop-no-input")
        try:
            self._value(i, field, kind)
        except InputError as error:
            if error.code == "data.needs-audio":
                raise
            return Fault("data.drop-no-file" if error.code == "data.no-media-file" else "data.drop-unreadable", error.message)
        return None

    # -- identity ------------------------------------------------------------------------------------------------
    @cached_property
    def units(self) -> np.ndarray:
        """int64 [N]: rows with the same number have the same inputs (texts up to white space, media by bytes)."""
        keys = [self._identities(field, kind) for field, kind in self.inputs.items()]
        numbers: dict[Any, int] = {}
        return np.array(
            [numbers.setdefault(key, len(numbers)) for key in (keys[0] if len(keys) == 1 else zip(*keys, strict=True))], np.int64
        )

    def _identities(self, field: str, kind: str) -> list[Any]:
        if kind == "text":
            return [("empty", i) if text is None else " ".join(text.split()) for i, text in enumerate(self.texts[field])]
        arrays = self.source.arrays.get(self.fields[field][0])
        if arrays is not None:
            return [hashlib.blake2b(value.tobytes(), digest_size=16).digest() for value in arrays]
        return [self._media_identity(i, field, path) for i, path in enumerate(self.paths[field])]

    def _media_identity(self, i: int, field: str, path: str | None) -> Any:
        value = self._decoded.get((i, field))
        try:
            with open(path or "", "rb") as stream:
                return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).digest()
        except (OSError, ValueError):
            if value is None:
                return ("empty", i)
            array = value if isinstance(value, np.ndarray) else value.samples
            return hashlib.blake2b(array.tobytes(), digest_size=16).digest()

    @cached_property
    def fingerprint(self) -> str:
        """BLAKE2 over the bytes of every table and the names and bytes of every media file: equal data, equal fingerprint."""
        digest = hashlib.blake2b(digest_size=16)
        for part in self.source.digests:
            digest.update(part.encode())
        if not self.source.digests or self.paths:
            for name in self.frame.columns:
                digest.update("\x1e".join(cell or "" for cell in self.frame[name].to_list()).encode())
            for field, kind in self.inputs.items():
                for identity in self._identities(field, kind) if kind != "text" else ():
                    digest.update(identity if isinstance(identity, bytes) else b"-")
        return digest.hexdigest()

    def describe(self) -> dict[str, Any]:
        """What a run keeps in `data.json`: where the rows came from, what their columns mean and each row's side, as JSON values."""
        codes_N = np.select([self.sides == side for side in SIDES], [0, 1, 2]).astype(np.uint8)
        return {
            "files": self.source.files[:100],
            "fingerprint": self.fingerprint,
            "rows": len(self),
            "fields": self.fields,
            "inputs": self.inputs,
            "target": self.target,
            "split": {"by": self.split_by, "column": self.split_column, "seed": self.seed},
            "counts": {side: int((self.sides == side).sum()) for side in SIDES},
            "notes": self.notes,
            "sides": {
                "encoding": "base64 of zlib of one byte a row: 0 train, 1 validation, 2 test",
                "data": base64.b64encode(zlib.compress(codes_N.tobytes())).decode(),
            },
        }


def sides_from(described: Mapping[str, Any]) -> np.ndarray:
    """The sides [N] that `describe` wrote."""
    codes_N = np.frombuffer(zlib.decompress(base64.b64decode(described["sides"]["data"])), np.uint8)
    return np.array(SIDES, dtype="U10")[codes_N]


def open_dataset(data: Data, inputs: dict[str, str], target: str | None, seed: int) -> Dataset:
    """Read what the recipe names, find the columns, give every row its side. `inputs` maps each input field to text, image or audio."""
    source = gather(data, next(iter(inputs.values())))
    fields, notes = choose(source, data.columns, inputs, target)
    source = _without_unlabelled_parts(source, fields, target)
    if not len(source.frame):
        raise InputError("data.empty", source.files[0], file=source.files[0])
    dataset = Dataset(source, fields, inputs, target, seed)
    dataset.notes += notes
    assign(dataset, data.split)
    return dataset


def _joined(columns: list[list[str | None]]) -> list[str | None]:
    if len(columns) == 1:
        return [cell if cell is not None and not cell.isspace() and cell else None for cell in columns[0]]
    return ["\n".join(cell for cell in cells if cell and not cell.isspace()) or None for cells in zip(*columns, strict=True)]


def _without_unlabelled_parts(source: Source, fields: dict[str, list[str]], target: str | None) -> Source:
    """A validation or test part without a single label (as competitions give out) cannot score anything and is left out, with a note."""
    if target is None:
        return source
    empty_N = source.frame[fields[target][0]].fill_null("").str.strip_chars().eq("").to_numpy()
    for side in ("validation", "test"):
        mask_N = source.side_N == side
        if mask_N.any() and empty_N[mask_N].all() and not empty_N.all():
            source.notes.append({"key": "data.note-unlabelled-part", "side": side, "n": int(mask_N.sum())})
            source, empty_N = source.keep(~mask_N), empty_N[~mask_N]
    return source
