"""Randomness without a hidden stream: every draw is a function of (seed, epoch, row), so order, batching, workers and resuming
cannot change it. The mixer is SplitMix64's finaliser (Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators").
"""

from __future__ import annotations

import hashlib

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _finalise(z: np.ndarray) -> np.ndarray:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def key(*parts: object) -> int:
    """A 63-bit seed from any values; equal values give equal seeds on every machine."""
    digest = hashlib.blake2b("\x1f".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def uniforms(seed: int, epoch: int, rows: np.ndarray, count: int, salt: str = "") -> np.ndarray:
    """`count` numbers in [0, 1) for each row: float32 [len(rows), count], the same whatever batch the rows are in."""
    base = np.uint64(key(seed, epoch, salt))
    with np.errstate(over="ignore"):
        lane = _finalise(np.asarray(rows).astype(np.uint64) * _GOLDEN + base)[:, None]
        bits = _finalise(lane + _GOLDEN * np.arange(1, count + 1, dtype=np.uint64)[None, :])
    return ((bits >> np.uint64(40)).astype(np.float32)) * np.float32(2**-24)


def permutation(seed: int, epoch: int, n: int) -> np.ndarray:
    """The order in which epoch `epoch` visits `n` rows: int64 [n]."""
    return np.random.Generator(np.random.Philox(key(seed, epoch, "order"))).permutation(n)
