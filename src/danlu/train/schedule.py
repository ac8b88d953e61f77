"""Learning-rate schedules: pure functions of the step, and of the validation scores so far where a schedule looks at them.

One-cycle is Smith and Topin's (2017, arXiv 1708.07120; without the cycle of momentum), cosine and its restarts Loshchilov and Hutter's
(2017, arXiv 1608.03983; parts of equal length), warm-up-stable-decay as Hägele et al. have it (2024, arXiv 2405.18392: falling by 1 - sqrt).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from danlu.core.recipe import Schedule

_CYCLE_START = 0.04  # of the peak: where one-cycle begins


def factor(schedule: Schedule, step: int, steps: int, scores: Sequence[Sequence[float]] = ()) -> float:
    """The learning rate of optimizer step `step` (from 0) out of `steps`, as a share of its peak.

    `scores` are those of every evaluation before it, larger ones better.
    """
    warm = max(1, round(schedule.warmup * steps)) if schedule.warmup else 0
    if step < warm:
        if schedule.name == "one-cycle":
            return _between(_CYCLE_START, 1.0, _wave(1 - step / warm))
        return (step + 1) / warm
    if schedule.name == "plateau":
        return schedule.factor ** falls(scores, schedule.patience)
    return _after(schedule, (step - warm) / max(1, steps - warm))


def falls(scores: Sequence[Sequence[float]], patience: int) -> int:
    """How many times `patience` evaluations in a row were no better than the best before them."""
    best, waited, found = None, 0, 0
    for score in scores:
        if best is None or score > best:
            best, waited = score, 0
            continue
        waited += 1
        if waited == patience:
            waited, found = 0, found + 1
    return found


def _after(schedule: Schedule, done: float) -> float:
    """The share of the peak when `done` (0 to 1) of the steps after warm-up are over."""
    name, final = schedule.name, schedule.final
    if name == "step":
        return schedule.factor ** int(done * schedule.parts)
    if name == "exponential":
        return final**done
    if name == "linear":
        return _between(final, 1.0, 1 - done)
    if name in ("cosine", "one-cycle"):
        return _between(final, 1.0, _wave(done))
    if name == "cosine-restarts":
        return _between(final, 1.0, _wave(done * schedule.parts % 1))
    if name == "wsd":
        fallen = max(0.0, (done - (1 - schedule.decay)) / schedule.decay)
        return _between(final, 1.0, 1 - math.sqrt(fallen))
    return 1.0


def _wave(x: float) -> float:
    """Half a cosine: from 1 at 0 to 0 at 1."""
    return 0.5 * (1 + math.cos(math.pi * x))


def _between(low: float, high: float, share: float) -> float:
    return low + (high - low) * share
