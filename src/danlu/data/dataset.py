"""The dataset: the user's rows untouched, what their columns mean, and a fixed side of the split for each row."""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from danlu.core.errors import InputError
from danlu.core.recipe import Data, Split
from danlu.core.types import SIDES, Row
from danlu.data.columns import choose
from danlu.data.gather import gather
from danlu.data.media import open_value
from danlu.data.shelf import Fault, Shelf
from danlu.data.sides import assign
from danlu.data.source import Source


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
        self.shelves = {field: Shelf(kind, source, fields[field][0]) for field, kind in inputs.items() if kind != "text"}

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
        for field, shelf in dataset.shelves.items():
            shelf.put({i: open_value(shelf.kind, value, f"rows:{i + 1}") for i, value in enumerate(columns[field]) if value is not None})
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
        row = {field: self.shelves[field].value(i) if field in self.shelves else self.texts[field][i] or "" for field in self.inputs}
        if self.target is not None:
            label = self.labels[i]
            if label is not None:
                row[self.target] = label
        return row

    def raw(self, i: int, field: str) -> str | Path | bytes | np.ndarray:
        """What a report shows: the text, the path of the media file, or its bytes or pixels where it is no file."""
        if field in self.shelves:
            return self.shelves[field].raw(i)
        return (self.labels if field == self.target else self.texts[field])[i] or ""

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
    def faults(self) -> dict[int, Fault]:
        """Rows that cannot be used and why, found once: no label, no input, or media that does not decode (decoded here, in parallel)."""
        found: dict[int, Fault] = {}
        if self.target is not None:
            found.update((i, Fault("data.drop-no-label")) for i, label in enumerate(self.labels) if label is None)
        for texts in self.texts.values():
            found.update((i, Fault("data.drop-no-input")) for i, text in enumerate(texts) if text is None)
        for shelf in self.shelves.values():
            found.update(shelf.faults(i for i in range(len(self)) if i not in found))
        return found

    # -- identity ------------------------------------------------------------------------------------------------
    @cached_property
    def units(self) -> np.ndarray:
        """int64 [N]: rows with the same number have the same inputs (texts up to white space, media by bytes)."""
        keys = [self.shelves[field].identities if field in self.shelves else self._normal(field) for field in self.inputs]
        numbers: dict[Any, int] = {}
        return np.array(
            [numbers.setdefault(key, len(numbers)) for key in (zip(*keys, strict=True) if len(keys) > 1 else keys[0])], np.int64
        )

    def _normal(self, field: str) -> list[Any]:
        return [("none", i) if text is None else " ".join(text.split()) for i, text in enumerate(self.texts[field])]

    @cached_property
    def fingerprint(self) -> str:
        """BLAKE2 over the bytes of every table and the names and bytes of every media file: equal data, equal fingerprint."""
        digest = hashlib.blake2b(digest_size=16)
        for part in self.source.digests:
            digest.update(part.encode())
        if self.shelves or not self.source.digests:
            for name in self.frame.columns:
                digest.update("\x1e".join(cell or "" for cell in self.frame[name].to_list()).encode())
            for shelf in self.shelves.values():
                digest.update(b"".join(shelf.identities))
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
