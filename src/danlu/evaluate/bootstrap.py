"""Resampling rows with replacement, and the 95% intervals that come of it. N rows, R resamples.

Percentile bootstrap: Efron 1979, "Bootstrap methods: another look at the jackknife". Where no resample can differ (every row right, or
every row wrong) it would claim certainty; there the exact binomial bound of Clopper and Pearson 1934 stands instead.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from danlu.core.randomness import key

RESAMPLES = 1000
_TAIL = 0.025
_BUDGET = 200_000_000  # rows x classes x resamples: some ten seconds; beyond it there are fewer resamples, never under 100
_BLOCK = 2_000_000  # counts held at a time


def resamples(rows: int, classes: int = 1) -> int:
    """How many resamples are drawn: 1,000, and fewer where rows x classes passes 200,000."""
    return int(np.clip(_BUDGET // max(1, rows * classes), 100, RESAMPLES))


def counts(rows: int, draws: int, seed: int) -> Iterator[np.ndarray]:
    """Blocks uint8 [N, r] of how often each row stands in each resample; all blocks together hold `draws` columns."""
    random = np.random.Generator(np.random.Philox(key(seed, "bootstrap", rows)))
    size = max(1, _BLOCK // rows)
    for start in range(0, draws, size):
        width = min(size, draws - start)
        picked_RN = random.integers(0, rows, size=(width, rows), dtype=np.int64)
        picked_RN += np.arange(width, dtype=np.int64)[:, None] * rows
        count_RN = np.bincount(picked_RN.ravel(), minlength=width * rows).reshape(width, rows)
        yield np.ascontiguousarray(np.minimum(count_RN, 255).astype(np.uint8).T)


def interval(draws_R: np.ndarray) -> tuple[float, float] | None:
    """The middle 95% of the resamples in which the metric is defined; None where there is none."""
    defined = draws_R[~np.isnan(draws_R)]
    if not len(defined):
        return None
    low, high = np.quantile(defined, (_TAIL, 1 - _TAIL))
    return float(low), float(high)


def exact(value: float, trials: int, rates: int = 1) -> tuple[float, float]:
    """The 95% interval of a mean of `rates` rates that came out as 0 or 1, one of them the least sure with `trials` trials."""
    reach = (1 - _TAIL ** (1 / max(1, trials))) / rates
    return (1 - reach, 1.0) if value >= 0.5 else (0.0, reach)
