"""Batch plans and collation. A plan is a pure function of (lengths, size of a batch, seed, epoch): nothing else can change it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from danlu.core.randomness import key, permutation
from danlu.core.types import Batch, Example

_POOL = 50  # batches of similar length are cut from pools of this many batches, so that order stays random in the large


@dataclass(frozen=True)
class Size:
    """What one batch holds: `rows`, or as many rows as fit into `tokens`, their lengths added up where they are `packed`, else each as
    long as the longest, since padding costs what tokens cost."""

    rows: int | None = None
    tokens: int | None = None
    packed: bool = False


def plan(lengths: Sequence[int], size: Size, seed: int, epoch: int) -> list[np.ndarray]:
    """The batches of one epoch as arrays of positions; every position stands in exactly one batch.

    Rows are shuffled, cut into pools, sorted by length inside a pool and the resulting batches shuffled again, but for the largest, which
    comes first: what does not fit is met at once, and memory that grew with every larger batch would end in pieces, half as much again. A
    row that is longer than `size.tokens` is a batch of its own.
    """
    lengths_N = np.asarray(lengths)
    order_N = permutation(seed, epoch, len(lengths_N))
    unequal = len(lengths_N) > 0 and lengths_N.min() != lengths_N.max()
    if unequal:
        parts = np.split(order_N, _pools(lengths_N[order_N], size))
        order_N = np.concatenate([part[np.argsort(lengths_N[part], kind="stable")] for part in parts])
    batches = np.split(order_N, _ends(lengths_N[order_N], size)[:-1]) if len(order_N) else []
    if size.rows and len(batches) > 1 and len(batches[-1]) == 1:  # a batch of one has no spread to normalise by
        batches[-2:] = [np.concatenate(batches[-2:])]
    if len(batches) > 1 and unequal:
        shuffle = np.random.Generator(np.random.Philox(key(seed, epoch, "batches"))).permutation(len(batches))
        largest = max(range(len(batches)), key=lambda i: int(lengths_N[batches[i]].sum()))
        batches = [batches[i] for i in [largest, *shuffle[shuffle != largest]]]
    return batches


def count(lengths: Sequence[int], size: Size, seed: int, epochs: int) -> int:
    """The batches of epochs 0 to `epochs` - 1 together. Batches of so many rows are equally many in each epoch; token budgets fill otherwise."""
    if size.rows:
        return epochs * len(plan(lengths, size, seed, 0))
    return sum(len(plan(lengths, size, seed, epoch)) for epoch in range(epochs))


def _pools(lengths_N: np.ndarray, size: Size) -> np.ndarray:
    """Where pools after the first begin."""
    if size.rows:
        return np.arange(size.rows * _POOL, len(lengths_N), size.rows * _POOL)
    return np.flatnonzero(np.diff(np.cumsum(lengths_N) // (size.tokens * _POOL))) + 1


def _ends(lengths_N: np.ndarray, size: Size) -> list[int]:
    """Where each batch ends, rows being taken in their order as long as they fit."""
    if size.rows:
        return [*range(size.rows, len(lengths_N), size.rows), len(lengths_N)]
    sums_N, ends = np.cumsum(lengths_N), [0]
    while (start := ends[-1]) < len(lengths_N):
        if size.packed:
            fitting = np.searchsorted(sums_N, sums_N[start] - lengths_N[start] + size.tokens, side="right") - start
        else:
            longest_W = np.maximum.accumulate(lengths_N[start : start + size.tokens // max(1, lengths_N[start])])
            fitting = np.count_nonzero(longest_W * np.arange(1, len(longest_W) + 1) <= size.tokens)
        ends.append(start + max(1, int(fitting)))
    return ends[1:]


def divide(positions_B: np.ndarray, micro_batch: int | None, processes: int) -> list[np.ndarray]:
    """The parts in which a step is computed. With `micro_batch` they are the same however many processes share them; else one for each.

    No part has one row alone (a batch of one has no spread to normalise by), unless there is no other.
    """
    count = len(positions_B)
    if not micro_batch:
        parts = max(1, min(processes, count // 2))
        return [positions_B[start::parts] for start in range(parts)]
    ends = list(range(micro_batch, count, micro_batch))
    if micro_batch > 1 and ends and count - ends[-1] == 1:
        ends.pop()
    return np.split(positions_B, ends)


def plain_plan(lengths: Sequence[int], batch_size: int) -> list[np.ndarray]:
    """Batches for predicting: longest first, so that a batch that does not fit is met at once."""
    order_N = np.argsort(-np.asarray(lengths), kind="stable")
    return [order_N[i : i + batch_size] for i in range(0, len(order_N), batch_size)]


def collate(examples: Sequence[Example]) -> Batch:
    """Stack what has one shape; pad one-dimensional arrays of different lengths with 0 on the right.

    A padded key `ids` gets a companion `ids_lengths` int64 [B]. A key that some examples lack is left out.
    """
    batch: Batch = {}
    for name in examples[0]:
        if not all(name in example for example in examples):
            continue
        values = [np.asarray(example[name]) for example in examples]
        if values[0].ndim == 1:
            lengths_B = np.array([len(value) for value in values], dtype=np.int64)
            padded = np.zeros((len(values), max(1, int(lengths_B.max()))), dtype=values[0].dtype)
            for line, value in zip(padded, values, strict=True):
                line[: len(value)] = value
            batch[name], batch[f"{name}_lengths"] = padded, lengths_B
        else:
            batch[name] = np.stack(values)
    return batch
