"""A predictor of the real one's shape that needs no training, and a started application with a client that needs no socket."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator
from types import SimpleNamespace

import httpx
import numpy as np

from danlu.core.errors import InputError
from danlu.core.types import Prediction
from danlu.data.media import open_value
from danlu.serve.app import Service, make_app

LABELS = ["long", "short"]


class FakePredictor:
    """Short texts are "short", long ones "long"; some texts misbehave.

    `delay` seconds a batch but the first; `open` is an event that a batch waits for; `batches` records the size of each."""

    def __init__(self, inputs: dict[str, str] | None = None, delay: float = 0.0) -> None:
        self.task = SimpleNamespace(inputs=inputs or {"text": "text"}, length=lambda example: example["cost"])
        self.delay = delay
        self.open = threading.Event()
        self.open.set()
        self.batches: list[int] = []

    def encode(self, row, number=1):
        values = [open_value(kind, row[field]) for field, kind in self.task.inputs.items()]
        if isinstance(values[0], str) and values[0] == "unencodable":
            raise InputError("data.want-text", "/secret/place", type="test")
        if isinstance(values[0], str) and values[0] == "encoder breaks":
            raise KeyError("/secret/place")
        return {"values": values, "cost": len(values[0]) if isinstance(values[0], str) else 1}

    def predict_examples(self, examples):
        self.batches.append(len(examples))
        if len(self.batches) > 1:  # the self-test is quick
            time.sleep(self.delay)
        self.open.wait(20)
        texts = [example["values"][0] for example in examples]
        if any(isinstance(text, str) and text == "poison" for text in texts):
            raise RuntimeError("/secret/place")
        return [self.answer(text) for text in texts]

    @staticmethod
    def answer(value) -> Prediction:
        if isinstance(value, str):
            share = float("nan") if value == "nan" else min(len(value), 100) / 100
        else:
            share = float(np.asarray(value[0]).mean()) / 255
        return Prediction("long" if share > 0.5 else "short", max(share, 1 - share), {"long": share, "short": 1 - share})

    def describe(self):
        metrics = {"test": {"accuracy": {"value": 0.9132, "low": 0.897, "high": 0.928, "n": 1200}}}
        return {"task": "text-classification", "labels": LABELS, "inputs": self.task.inputs, "model": "bag", "metrics": metrics}


@contextlib.asynccontextmanager
async def serving(predictor: FakePredictor | None = None, wait: bool = True, **options) -> AsyncIterator[tuple[Service, httpx.AsyncClient]]:
    """An application between its lifespan's start and end, ready unless `wait` is False."""
    app = make_app(predictor or FakePredictor(), **options)
    inbox: asyncio.Queue = asyncio.Queue()
    await inbox.put({"type": "lifespan.startup"})

    async def ignore(message: dict) -> None:
        pass

    life = asyncio.create_task(app({"type": "lifespan"}, inbox.get, ignore))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:8000") as client:
        try:
            while not app.engine.alive or (wait and app.engine.closed()):
                await asyncio.sleep(0.005)
            yield app, client
        finally:
            await inbox.put({"type": "lifespan.shutdown"})
            await life


def counts(app: Service) -> dict[tuple[str, str, str], float]:
    """What /metrics says of requests: (route, outcome, reason) -> number."""
    return {
        (s.labels["route"], s.labels["outcome"], s.labels["reason"]): s.value
        for metric in app.metrics.registry.collect()
        for s in metric.samples
        if s.name == "danlu_requests_total"
    }
