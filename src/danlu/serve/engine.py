"""From a body to predictions, and the question whether that works at the moment."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from danlu.core.errors import DanluError
from danlu.core.types import Example, Prediction
from danlu.serve.batching import Batcher
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
        self._turn = _TURN if set(predictor.task.inputs.values()) == {"text"} else 1
        self._encoding, self._running = Lane("encode"), Lane("model")
        self.batcher = Batcher(predictor, self._running, metrics, limits.max_batch, limits.linger_s)
        self.draining = self.proven = False
        self._proving: asyncio.Task | None = None

    def start(self) -> None:
        """Starts the threads and the self-test; called in the event loop."""
        for lane in (self._encoding, self._running):
            lane.start()
        self._proving = asyncio.ensure_future(self._prove())

    def stop(self) -> None:
        if self._proving is not None:
            self._proving.cancel()
        for lane in (self._encoding, self._running):
            lane.stop()

    async def predict(self, content_type: str, body: bytes, announce: Callable[[int], None]) -> tuple[list[Prediction], bool]:
        """Predictions of a body's rows in order, and whether it asked with a list. `announce` hears how many rows there are as soon as
        that is known. Raises the error of the first row that has one, with where it stands."""
        asked, examples = await self._encoding.run(self._open, content_type, body)
        announce(len(asked.rows))
        while len(examples) < len(asked.rows):
            examples += await self._encoding.run(self._encode, asked, len(examples))
        outcomes = await self.batcher.predict(examples)
        for i, outcome in enumerate(outcomes):
            if isinstance(outcome, Exception):
                raise self._placed(outcome, asked, i)
        return outcomes, asked.many

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
        """Whether both threads are there and get somewhere."""
        return self._encoding.alive and self._running.alive and self.busy_for <= 6 * self._limits.stuck_s

    def _open(self, content_type: str, body: bytes) -> tuple[Asked, list[Example]]:
        """In the encoding thread: the rows of a body, and the first turn's examples."""
        asked = parse(content_type, body, self._predictor.task.inputs, self._limits)
        return asked, self._encode(asked, 0)

    def _encode(self, asked: Asked, start: int) -> list[Example]:
        """In the encoding thread: one turn's examples."""
        examples = []
        for i, row in enumerate(asked.rows[start : start + self._turn], start):
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
            (outcome,) = await self.batcher.predict([example])
            if isinstance(outcome, Exception):
                raise outcome
            self.proven = True
        except Exception as error:
            log.error("the model did not pass its self-test", exc_info=error)
