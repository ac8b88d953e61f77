"""Rows of many requests run through the model together: who shares a batch, and what happens when one row of it is poison."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from danlu.core.types import Example, Prediction
from danlu.serve.answers import Refusal
from danlu.serve.lane import Lane, tell
from danlu.serve.metrics import Metrics

log = logging.getLogger("danlu.serve")


class Waiting(NamedTuple):
    """An encoded row, what it costs (its length) and where its answer goes. Its client left if `answer` is cancelled."""

    example: Example
    cost: int
    answer: asyncio.Future


def choose(waiting: Sequence[Waiting], max_batch: int) -> list[Waiting]:
    """The oldest row and those nearest to it in length, as long as at least half of the padded batch is content.

    Nobody starves, since the oldest always goes; and a long text does not make forty short ones pay for its length.
    """
    anchor = waiting[0].cost
    batch: list[Waiting] = []
    longest = total = 0
    for row in sorted(waiting, key=lambda row: abs(row.cost - anchor)):
        longest, total = max(longest, row.cost), total + row.cost
        if len(batch) == max_batch or longest * (len(batch) + 1) > 2 * total:
            break
        batch.append(row)
    return batch


class Batcher:
    """Feeds the model's thread. That thread chooses its next batch itself: a busy event loop must not keep the model waiting."""

    def __init__(self, predictor: Any, lane: Lane, metrics: Metrics, max_batch: int, linger: float) -> None:
        self._predictor, self._lane, self._metrics = predictor, lane, metrics
        self._max_batch, self._linger = max_batch, linger
        self._lock = threading.Lock()  # over the two below
        self._waiting: list[Waiting] = []
        self._posted = False

    def __len__(self) -> int:
        return len(self._waiting)

    async def predict(self, examples: Sequence[Example]) -> list[Prediction | Exception]:
        """One prediction or exception an example, in order. Cancelling this takes back the examples that have not begun."""
        loop = asyncio.get_running_loop()
        rows = [Waiting(example, max(1, self._predictor.task.length(example)), loop.create_future()) for example in examples]
        with self._lock:
            self._waiting += rows
            post, self._posted = not self._posted, True
        if post:
            self._lane.post(self._batch)
        try:
            return [await row.answer for row in rows]
        finally:
            for row in rows:
                row.answer.cancel()

    def _batch(self) -> None:
        """In the model's thread: one batch, and then another as long as rows wait."""
        if len(self._waiting) < self._max_batch:
            time.sleep(self._linger)
        with self._lock:
            self._waiting = [row for row in self._waiting if not row.answer.cancelled()]
            if not self._waiting:
                self._posted = False
                return
            batch = choose(self._waiting, self._max_batch)
            chosen = {id(row) for row in batch}
            self._waiting = [row for row in self._waiting if id(row) not in chosen]
        outcomes = self._outcomes([row.example for row in batch])
        tell(batch[0].answer, _deliver, batch, outcomes)
        self._lane.post(self._batch)

    def _outcomes(self, examples: list[Example]) -> list[Prediction | Exception]:
        """All at once; where that raises, one by one, so that a poisoned row fails alone."""
        started = time.perf_counter()
        try:
            predictions = self._predictor.predict_examples(examples)
            if len(predictions) != len(examples):
                raise ValueError(f"{len(predictions)} predictions for {len(examples)} rows")
        except Exception as error:
            if len(examples) == 1:
                return [error]
            log.warning("a batch of %d rows raised %r; running them one by one", len(examples), error)
            return [outcome for example in examples for outcome in self._outcomes([example])]
        self._metrics.batch_rows.observe(len(examples))
        self._metrics.batch_seconds.observe(time.perf_counter() - started)
        self._metrics.rows.inc(len(examples))
        return [checked(prediction) for prediction in predictions]


def _deliver(_: asyncio.Future, batch: list[Waiting], outcomes: list[Prediction | Exception]) -> None:
    for row, outcome in zip(batch, outcomes, strict=True):
        if not row.answer.cancelled():
            row.answer.set_result(outcome)


def checked(prediction: Prediction) -> Prediction | Refusal:
    """The prediction, or what is wrong with it: a score that is not a number cannot be told in JSON and means nothing."""
    if all(map(math.isfinite, prediction.scores.values())) and math.isfinite(prediction.score):
        return prediction
    return Refusal(500, "serve.not-a-number")
