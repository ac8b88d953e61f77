"""A side for every row: the one its file, folder or column gives, and for the rest one that Danlu cuts as the recipe says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from danlu.core.errors import InputError
from danlu.core.recipe import Split
from danlu.data.columns import existing, side_column
from danlu.data.parts import side_of
from danlu.data.split import cut, moments, shares

if TYPE_CHECKING:
    from danlu.data.dataset import Dataset


def assign(dataset: Dataset, split: Split) -> None:
    """Give every row without a side one, and say how. Sides that came with the data are kept; what it lacks is cut from train."""
    _take_given(dataset, split)
    sides_N = dataset.source.side_N
    came = bool((sides_N != "").any())
    dataset.came = frozenset(sides_N.tolist()) - {""}
    open_N = np.isin(sides_N, ("", "train"))
    cut_shares = shares(split, set(sides_N.tolist()))
    dataset.split_by = "given" if came else (split.by or "stratified")
    sides_N = np.where(sides_N == "", "train", sides_N).astype("U10")
    if cut_shares and open_N.any():
        how = split.by if split.by in ("random", "group", "time") else ("stratified" if dataset.target else "random")
        sides_N[open_N] = _cut_open(dataset, np.flatnonzero(open_N), how, split.column, cut_shares)
        if came:
            dataset.notes.append({"key": f"data.note-cut-{'both' if len(cut_shares) > 1 else next(iter(cut_shares))}"})
    dataset.sides = dataset.source.side_N = sides_N


def _take_given(dataset: Dataset, split: Split) -> None:
    """The sides that a column tells, where the files and folders tell none. InputError for a split that names the wrong things."""
    source, frame, by = dataset.source, dataset.frame, split.by
    if by in ("group", "time") and not split.column:
        raise InputError("data.needs-column", "data.split.column", by=by)
    column = existing(split.column, frame, "data.split.column") if split.column else None
    came = bool((source.side_N != "").any())
    if by is None and not came:
        taken = {name for names in dataset.fields.values() for name in names}
        column = side_column(frame, taken, column)
    if split.column and column is None:
        raise InputError("data.column-without-by", "data.split.by", column=split.column)
    if by == "given" and column is None and not came:
        raise InputError("data.not-given", "data.split.by")
    if column is not None and by in (None, "given"):
        source.side_N = _sides_of_cells(frame[column].to_list(), column, dataset)
        dataset.split_column = column
        if not split.column:
            dataset.notes.append({"key": "data.note-side-column", "column": column})


def _cut_open(dataset: Dataset, rows: np.ndarray, how: str, column: str | None, cut_shares: dict[str, float]) -> np.ndarray:
    keys: Any = [None] * len(rows)
    if how == "stratified":
        keys = [dataset.labels[i] for i in rows.tolist()]
    elif column is not None:
        keys = dataset.frame[column].gather(rows).to_list()
        if how == "time":
            keys = moments(keys, column)
        elif len(set(keys)) < 2:
            raise InputError("data.one-group", "data.split.column", column=column)
    return cut(how, cut_shares, dataset.units[rows], keys, dataset.seed)


def _sides_of_cells(cells: list[str | None], column: str, dataset: Dataset) -> np.ndarray:
    found = [side_of(cell) if cell else "" for cell in cells]
    if None in found:
        i = found.index(None)
        raise InputError("data.no-such-side", dataset.origin(i), column=column, value=cells[i])
    return np.array(found, dtype="U10")
