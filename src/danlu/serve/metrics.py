"""What the server counts, in Prometheus' text form. Every answered request is counted once, under one outcome."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from starlette.responses import Response

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """Outcomes: `accepted` was answered as asked, `refused` was answered with an error before the model ran, `failed` is our fault,
    `cancelled` was left by its client. The reason is the error's code, which comes from a fixed list."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        names = ["route", "outcome", "reason"]
        self.requests = Counter("danlu_requests", "Requests by route, outcome and reason", names, registry=self.registry)
        self.seconds = Histogram(
            "danlu_predict_seconds", "From the request's headers to its answer, accepted ones", buckets=_SECONDS, registry=self.registry
        )
        self.batch_rows = Histogram("danlu_batch_rows", "Rows run together", buckets=_ROWS, registry=self.registry)
        self.batch_seconds = Histogram("danlu_batch_seconds", "The model's time for one batch", buckets=_SECONDS, registry=self.registry)
        self.rows = Counter("danlu_rows", "Rows that the model answered", registry=self.registry)

    def watch(self, waiting: Callable[[], float], held: Callable[[], float], ready: Callable[[], float]) -> None:
        """Gauges that are read when somebody asks."""
        for name, text, read in (
            ("danlu_waiting_rows", "Encoded rows that wait for the model", waiting),
            ("danlu_held_rows", "Rows accepted and not yet answered", held),
            ("danlu_ready", "1 while new work is taken", ready),
        ):
            Gauge(name, text, registry=self.registry).set_function(read)

    def count(self, route: str, outcome: str, reason: str = "") -> None:
        self.requests.labels(route, outcome, reason).inc()

    def answer(self) -> Response:
        return Response(generate_latest(self.registry), media_type="text/plain; version=0.0.4; charset=utf-8")
