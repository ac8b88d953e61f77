"""The learning-rate range test (Smith, Cyclical Learning Rates for Training Neural Networks, 2017, arXiv 1506.01186).

Steps of training at a rate that grows exponentially, until the loss diverges. The suggestion is the rate at which the smoothed loss falls
fastest: there a step gains most, and what Smith reads off the curve lies on that slope. A tenth of the rate of the lowest loss, which fastai
(Howard, Gugger 2020, arXiv 2002.04688) offers too, was tried and given up: few rows are known by heart long before a rate is too large, and
their loss then stays at 0 up to any rate.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any, NamedTuple

import numpy as np

from danlu.core.recipe import Recipe
from danlu.data.batches import Size, plan
from danlu.nn import adapt
from danlu.train import step
from danlu.train.loop import Job
from danlu.train.optim import set_rate
from danlu.train.prefix import start_from_prefix
from danlu.train.prepare import prepare
from danlu.train.run import Run
from danlu.train.train import make_job
from danlu.train.world import World

STEPS = 200
LOWEST, HIGHEST = 1e-7, 10.0
_SMOOTHING = 0.9  # of the moving average of losses
_DIVERGED = 4.0  # times the lowest smoothed loss
_FEWEST = 20  # steps before anything is judged: the average needs some
_SPAN = 10  # steps over which a fall is measured, from its first: the average lags behind by as many
_FELL = 0.98  # share of the first loss below which it has fallen


class Point(NamedTuple):
    """One step: its learning rate, the loss before it, and the moving average of losses."""

    lr: float
    loss: float
    smoothed: float


class Found(NamedTuple):
    """What the test says; a suggestion is None where the loss did not fall at any rate."""

    suggestion: float | None
    minimum: float | None
    points: list[Point]

    def as_json(self) -> dict[str, Any]:
        return {**self._asdict(), "points": [point._asdict() for point in self.points]}


def measure(recipe: Recipe) -> Iterator[Point]:
    """The points of the test, one after the other. No run is touched and none is left."""
    prepared = prepare(recipe)
    with tempfile.TemporaryDirectory(prefix="danlu-rates-") as folder:
        full, _ = make_job(Run(folder), prepared, World())
        job, _ = start_from_prefix(full)
        yield from _climb(job)


def conclude(points: Sequence[Point]) -> Found:
    """The suggestion from the curve; the last point may be that of a loss that is no number."""
    known = [point for point in points if math.isfinite(point.smoothed)]
    judged = known[_FEWEST:]
    if not judged or (lowest := min(judged, key=lambda point: point.smoothed)).smoothed > _FELL * known[_FEWEST - 1].smoothed:
        return Found(None, None, known)
    falling = known[_FEWEST - 1 : known.index(lowest) + 1]
    slopes = [falling[min(i + _SPAN, len(falling) - 1)].smoothed - point.smoothed for i, point in enumerate(falling)]
    return Found(_rounded(falling[int(np.argmin(slopes))].lr), _rounded(lowest.lr), known)


def _climb(job: Job) -> Iterator[Point]:
    best, average = math.inf, 0.0
    adapt.begin_epoch(job.model, job.recipe.model.adapt, 0)
    for number, positions_B in zip(range(STEPS), _batches(job), strict=False):
        rate = LOWEST * (HIGHEST / LOWEST) ** (number / (STEPS - 1))
        loss = _step(job, positions_B, rate)
        average = _SMOOTHING * average + (1 - _SMOOTHING) * loss
        smoothed = average / (1 - _SMOOTHING ** (number + 1))
        yield Point(rate, loss, smoothed)
        if not math.isfinite(smoothed) or (number >= _FEWEST and smoothed > _DIVERGED * best):
            return
        best = min(best, smoothed)


def _batches(job: Job) -> Iterator[np.ndarray]:
    spec = job.recipe.train
    lengths = [job.task.length(example) for example in job.sides["train"].examples]
    for epoch in count():
        yield from plan(lengths, Size(spec.batch_size, spec.batch_tokens, job.model.padding_free), job.recipe.seed, epoch)


def _step(job: Job, positions_B: np.ndarray, rate: float) -> float:
    """One step at `rate` as the recipe means it: groups with rates of their own keep their share. The mean loss before it."""
    set_rate(job.optimizer, rate / job.recipe.train.optimizer.lr)
    loss, _ = step.fitting(job, positions_B)
    step.scale_and_clip([p.grad for p in job.model.parameters() if p.grad is not None], loss.count, job.recipe.train.clip)
    job.optimizer.step()
    job.state.step += 1
    return float(loss.total) / float(loss.count)


def _rounded(rate: float) -> float:
    """Two figures: the test knows no more."""
    return float(f"{rate:.1e}")
