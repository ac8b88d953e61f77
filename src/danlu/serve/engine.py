"""From a body to predictions, and the question whether that works at the moment."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from danlu.core.errors import DanluError
from danlu.core.types import Prediction
from danlu.serve.answers import Refusal
from danlu.serve.batching import Batcher, checked
from danlu.serve.lane import Lane
from danlu.serve.limits import Limits
from danlu.serve.metrics import Metrics
from danlu.serve.parse import Asked, parse
from danlu.serve.samples import sample

log = logging.getLogger("danlu.serve")
_TURN = 8  # texts that one request may encode before it is another's turn; of pictures and sounds it is one


class Engine:
    """Two threads: one turns bodies into examples, one runs the model. `start` proves the model with a row of our own."""

    def __init__(self, predictor: Any, metrics: Metrics, limits: Limits) -> None:
        self._predictor, self._limits = predictor, limits
        self._encoding, self._running = Lane("encode"), Lane("model")
        self.batcher = Batcher(predictor, self._running, metrics, limits.max_batch, limits.linger_s)
        self.draining = self.proven = False
        self._tasks: list[asyncio.Task] = []

    def start(self) -> None:
        """Starts the threads and the self-test; called in the event loop."""
        for lane in (self._encoding, self._running):
            lane.start()
        self._tasks = [asyncio.ensure_future(self.batcher.run()), asyncio.ensure_future(self._prove())]

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        for lane in (self._encoding, self._running):
            lane.stop()

    async def parse(self, content_type: str, body: bytes) -> Asked:
        """The rows of a body, read in the encoding thread."""
        return await self._encoding.run(parse, content_type, body, self._predictor.task.inputs, self._limits)

    async def predict(self, asked: Asked) -> list[Prediction]:
        """Predictions in order. The error of the first row that has one, with where it stands."""
        turn = _TURN if set(self._predictor.task.inputs.values()) == {"text"} else 1
        examples: list = []
        for start in range(0, len(asked.rows), turn):
            examples += await self._encoding.run(self._encode, asked, start, start + turn)
        for i, outcome in enumerate(outcomes := await self.batcher.predict(examples)):
            if isinstance(outcome, Exception):
                raise self._placed(outcome, asked, i)
        return outcomes

    def closed(self) -> str | None:
        """Why no work is taken at the moment, as an error's name; None when all is well."""
        if self.draining:
            return "serve.draining"
        if not self.proven:
            return "serve.starting"
        return "serve.stuck" if self.busy_for > self._limits.stuck_s or not self.alive else None

    @property
    def busy_for(self) -> float:
        return max(self._encoding.busy_for, self._running.busy_for)

    @property
    def alive(self) -> bool:
        """Whether both threads and the batcher can still get anywhere."""
        lost = any(task.done() for task in self._tasks[:1]) or not (self._encoding.alive and self._running.alive)
        return not lost and self.busy_for <= 6 * self._limits.stuck_s

    def _encode(self, asked: Asked, start: int, end: int) -> list:
        examples = []
        for i, row in enumerate(asked.rows[start:end], start):
            try:
                examples.append(self._predictor.encode(row))
            except DanluError as error:
                raise self._placed(error, asked, i) from error
        return examples

    @staticmethod
    def _placed(error: Exception, asked: Asked, i: int) -> Exception:
        """The error with the row it is about, in the request's own terms."""
        if isinstance(error, DanluError):
            error.where = f"rows[{i}]" if asked.many else "body"
        return error

    async def _prove(self) -> None:
        """One row of our own through the whole way; the server is ready once it was answered with finite scores."""
        try:
            row = {field: sample(kind) for field, kind in self._predictor.task.inputs.items()}
            example = await self._encoding.run(self._predictor.encode, row)
            (prediction,) = await self._running.run(self._predictor.predict_examples, [example])
            if isinstance(found := checked(prediction), Refusal):
                raise found
            self.proven = True
        except Exception as error:
            log.error("the model did not pass its self-test", exc_info=error)
