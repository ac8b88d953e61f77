"""Batch plans and collation. A plan is a pure function of (lengths, batch size, seed, epoch): nothing else can change it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from danlu.core.randomness import key, permutation
from danlu.core.types import Batch, Example

_POOL = 50  # batches of similar length are cut from pools of this many batches, so that order stays random in the large


def plan(lengths: Sequence[int], batch_size: int, seed: int, epoch: int) -> list[np.ndarray]:
    """The batches of one epoch as arrays of positions; every position stands in exactly one batch.

    Rows are shuffled, cut into pools, sorted by length inside a pool and the resulting batches shuffled again.
    """
    lengths_N = np.asarray(lengths)
    order_N = permutation(seed, epoch, len(lengths_N))
    if len(lengths_N) and lengths_N.min() != lengths_N.max():
        pool = batch_size * _POOL
        order_N = np.concatenate(
            [part[np.argsort(lengths_N[part], kind="stable")] for part in (order_N[i : i + pool] for i in range(0, len(order_N), pool))]
        )
    batches = [order_N[i : i + batch_size] for i in range(0, len(order_N), batch_size)]
    if len(batches) > 1 and len(batches[-1]) == 1:  # a batch of one has no spread to normalise by
        batches[-2:] = [np.concatenate(batches[-2:])]
    if len(batches) > 1 and lengths_N.min() != lengths_N.max():
        shuffle = np.random.Generator(np.random.Philox(key(seed, epoch, "batches"))).permutation(len(batches))
        batches = [batches[i] for i in shuffle]
    return batches


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
