"""Sides for rows that came without one: a pure function of (seed, rows). Exact duplicates are one unit and stay together."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np

from danlu.core.errors import InputError
from danlu.core.randomness import key
from danlu.core.recipe import Split
from danlu.data.header import is_number

DEFAULT_SHARE = 0.1


def shares(split: Split, has: set[str]) -> dict[str, float]:
    """What Danlu cuts: the share of each side the data lacks; validation and test are a tenth each unless the recipe says otherwise."""
    wanted = {"test": split.test, "validation": split.validation}
    cut = {
        side: DEFAULT_SHARE if share is None else float(share)
        for side, share in wanted.items()
        if side not in has and not isinstance(share, str)
    }
    if sum(cut.values()) >= 1:
        raise InputError("data.shares", "data.split", total=round(sum(cut.values()), 3))
    return {side: share for side, share in cut.items() if share > 0}


def cut(how: str, cut_shares: dict[str, float], units_N: np.ndarray, keys_N: Sequence[str | None], seed: int) -> np.ndarray:
    """Sides [N] as str. `units_N` int64: rows with the same number stay together. `keys_N` is the label (stratified), group or time."""
    side_N = np.full(len(units_N), "train", dtype="U10")
    if not len(units_N) or not cut_shares:
        return side_N
    if how == "group":
        units_N = _merged(units_N, keys_N)
    first_U, unit_N = _first_rows(units_N)
    side_U = np.full(len(first_U), "train", dtype="U10")
    size_U = np.bincount(unit_N, minlength=len(first_U))
    if how == "time":
        order_U = np.argsort(_earliest(keys_N, unit_N, len(first_U)), kind="stable")
        _fill(side_U, order_U[::-1], size_U, cut_shares, whole=False)
    elif how == "group":
        _fill(side_U, _shuffled(len(first_U), seed, "group"), size_U, cut_shares, whole=True)
    else:
        strata = [keys_N[row] if how == "stratified" else "" for row in first_U]
        for name, members in _grouped(strata).items():
            order = members[_shuffled(len(members), seed, name)]
            _deal(side_U, order, cut_shares)
    return side_U[unit_N]


def _shuffled(n: int, seed: int, name: object) -> np.ndarray:
    return np.random.Generator(np.random.Philox(key(seed, "split", name))).permutation(n)


def _first_rows(units_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first row of every unit in order of appearance, and for every row the number of its unit in that order."""
    _, first, inverse = np.unique(units_N, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    order = np.argsort(first)
    rank[order] = np.arange(len(first))
    return first[order], rank[inverse.ravel()]


def _grouped(names: Sequence[Any]) -> dict[Any, np.ndarray]:
    found: dict[Any, list[int]] = {}
    for i, name in enumerate(names):
        found.setdefault(name, []).append(i)
    return {name: np.array(members) for name, members in found.items()}


def _deal(side_U: np.ndarray, order: np.ndarray, cut_shares: dict[str, float]) -> None:
    """Rounded shares of one class. From three units on every side gets one; of two, one is train and one the first side asked for."""
    n, start = len(order), 0
    for rank, (side, share) in enumerate(cut_shares.items()):
        room = n - 1 - start
        least = 1 if rank + 2 <= n else 0
        count = min(room, max(least, int(n * share + 0.5)))
        side_U[order[start : start + count]] = side
        start += count


def _fill(side_U: np.ndarray, order_U: np.ndarray, size_U: np.ndarray, cut_shares: dict[str, float], whole: bool) -> None:
    """Sides one after the other until each has its share of rows; `whole` skips units that would overshoot by more than they help."""
    total = int(size_U.sum())
    free = list(order_U)
    for side, share in cut_shares.items():
        goal, have, left = total * share, 0, []
        for unit in free:
            size = int(size_U[unit])
            fits = have + size / 2 <= goal if whole else have < goal - 0.5
            if fits and len(free) > 1:
                side_U[unit], have = side, have + size
            else:
                left.append(unit)
        if not have and len(left) > 1:
            smallest = min(left, key=lambda unit: size_U[unit]) if whole else left[0]
            side_U[smallest] = side
            left.remove(smallest)
        free = left


def _merged(units_N: np.ndarray, groups_N: Sequence[str | None]) -> np.ndarray:
    """Units joined where they share a group and groups joined where they share a unit (union-find with path halving).

    A row without a group stands alone.
    """
    parent: dict[object, object] = {}

    def root(node: object) -> object:
        while parent.setdefault(node, node) != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for unit, group in zip(units_N.tolist(), groups_N, strict=True):
        if group is not None:
            parent[root(("unit", unit))] = root(("group", group))
    numbers: dict[object, int] = {}
    return np.array([numbers.setdefault(root(("unit", unit)), len(numbers)) for unit in units_N.tolist()], dtype=np.int64)


def moments(cells: Sequence[str | None], column: str) -> np.ndarray:
    """Times as seconds (or as the numbers they are): float64 [N]. InputError with the first cell that is no time."""
    if all(cell is not None and is_number(cell) for cell in cells):
        return np.array([float(cell.strip().rstrip("%")) for cell in cells])
    return np.array([_moment(cell, row, column) for row, cell in enumerate(cells)])


_FORMS = (
    "%Y/%m/%d",
    "%Y/%m/%d %H:%M:%S",
    "%Y/%m/%d %H:%M",
    "%m/%d/%Y",
    "%m/%d/%Y %H:%M:%S",
    "%d.%m.%Y",
    "%Y年%m月%d日",
    "%Y-%m",
    "%Y年%m月",
)


def _moment(cell: str | None, row: int, column: str) -> float:
    if cell is None:
        raise InputError("data.no-time", "data.split.column", column=column, row=row + 1, value="")
    text = cell.strip()
    for read in (datetime.fromisoformat, *(lambda value, form=form: datetime.strptime(value, form) for form in _FORMS)):
        try:
            moment = read(text)
        except ValueError:
            continue
        return moment.timestamp() if moment.tzinfo else (moment - datetime(1970, 1, 1)).total_seconds()
    raise InputError("data.no-time", "data.split.column", column=column, row=row + 1, value=text[:40])


def _earliest(times_N: Any, unit_N: np.ndarray, units: int) -> np.ndarray:
    """For every unit the time of its first row: a text that comes again later belongs to the past."""
    earliest_U = np.full(units, np.inf)
    np.minimum.at(earliest_U, unit_N, times_N)
    return earliest_U
