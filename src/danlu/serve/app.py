"""The ASGI application: one table of routes, and one place where every request is judged, answered and counted.

The order is the point. Gate (Host, origin, token), then route and method, then room in the queue, and only then is a body read.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from danlu.core.errors import InputError
from danlu.serve.admission import Admission
from danlu.serve.answers import SECURITY, Gone, Refusal, error_answer, json_answer, spoken
from danlu.serve.engine import Engine
from danlu.serve.gate import LOOPBACK, Gate
from danlu.serve.limits import Limits
from danlu.serve.metrics import Metrics
from danlu.serve.pages import Pages
from danlu.serve.schema import openapi, schema

log = logging.getLogger("danlu.serve")
_SECURITY = [(name.encode(), value.encode()) for name, value in SECURITY.items()]
Handler = Callable[[Request], Awaitable[Response]]


def make_app(predictor: Any, *, token: str | None = None, hosts: frozenset[str] | None = LOOPBACK, **limits: Any) -> Service:
    """The application that answers with `predictor` (see `danlu.bundle.predictor.Predictor`). Its threads start with the ASGI lifespan.

    `token` is asked of every request but `GET /health/live`; `hosts` are the names it may be addressed by (None: any); `limits` are
    fields of `Limits`: queue, max_batch, max_rows, max_body, ...
    """
    return Service(predictor, Gate(token, hosts), Limits(**limits))


class Service:
    """An ASGI 3 application. `drain()` stops taking work; what was accepted is still answered."""

    def __init__(self, predictor: Any, gate: Gate, limits: Limits) -> None:
        self.metrics = Metrics()
        self.engine = Engine(predictor, self.metrics, limits)
        self.admission = Admission(limits, limits.body(predictor.task.inputs), self.engine.closed)
        self.metrics.watch(lambda: len(self.engine.batcher), lambda: self.admission.held, lambda: self.engine.closed() is None)
        self._predictor, self._gate, self._limits = predictor, gate, limits
        self.abandoned = 0  # accepted, but cut off by the end of the drain
        pages = Pages(predictor.describe(), limits)
        self.routes: dict[str, dict[str, Handler]] = {
            "/": {"GET": pages.try_it},
            "/docs": {"GET": pages.docs},
            "/openapi.json": {"GET": self._openapi},
            "/schema": {"GET": self._schema},
            "/predict": {"POST": self._predict},
            "/health/live": {"GET": self._live},
            "/health/ready": {"GET": self._ready},
            "/metrics": {"GET": self._metrics},
            **{f"/static/{name}": {"GET": pages.static} for name in pages.files},
        }

    def drain(self) -> None:
        self.engine.draining = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._http(Request(scope, receive), send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        self.engine.start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self.drain()
        self.engine.stop()
        await send({"type": "lifespan.shutdown.complete"})

    # -- one request ---------------------------------------------------------------------------------------------------
    async def _http(self, request: Request, send: Send) -> None:
        started = time.perf_counter()
        route = request.scope["path"] if request.scope["path"] in self.routes else "other"
        try:
            response, outcome, reason = await self._answer(request)
        except Gone:
            malformed = request.scope.get("danlu.malformed")  # the protocol has answered 400 already
            self.metrics.count(route, *(("refused", "bad-http") if malformed else ("cancelled", "client-left")))
            return
        except asyncio.CancelledError:  # the time to drain is over
            self.abandoned += 1
            response, outcome, reason = error_answer(Refusal(503, "serve.draining"), spoken(request)), "failed", "shutdown"
        self.metrics.count(route, outcome, reason)
        if route == "/predict" and outcome == "accepted":
            self.metrics.seconds.observe(time.perf_counter() - started)
        response.raw_headers += _SECURITY
        await response(request.scope, request.receive, send)

    async def _answer(self, request: Request) -> tuple[Response, str, str]:
        """The response, and the outcome and reason it is counted under."""
        try:
            if (login := self._gate.admit(request)) is not None:
                return login, "accepted", "login"
            return await self._handler(request)(request), "accepted", ""
        except (Refusal, InputError) as error:
            response = error_answer(error, spoken(request))
            failed = response.status_code == 500 or error.code == "serve.too-late"
            return response, "failed" if failed else "refused", error.code.removeprefix("serve.")
        except Gone:
            raise
        except Exception as error:
            log.error("a request to %s failed", request.scope["path"], exc_info=error)
            return error_answer(Refusal(500, "serve.internal"), spoken(request)), "failed", "internal"

    def _handler(self, request: Request) -> Handler:
        methods = self.routes.get(request.scope["path"])
        if methods is None:
            raise Refusal(404, "serve.not-found", request.scope["path"][:100])
        method = "GET" if request.method == "HEAD" else request.method
        if method not in methods:
            raise Refusal(405, "serve.method", request.scope["path"], method=request.method[:20], allowed=", ".join(methods))
        return methods[method]

    # -- routes --------------------------------------------------------------------------------------------------------
    async def _predict(self, request: Request) -> Response:
        self.admission.check(request)
        body = await self.admission.body(request)
        try:
            with self.admission.hold() as slot:
                async with _until_gone(request), asyncio.timeout(self._limits.answer_s):
                    predictions, many = await self.engine.predict(request.headers.get("content-type", ""), body, slot.grow)
        except TimeoutError:
            raise Refusal(503, "serve.too-late", seconds=self._limits.answer_s) from None
        answers = [prediction.as_json() for prediction in predictions]
        return json_answer(answers if many else answers[0])

    async def _live(self, request: Request) -> Response:
        if not self.engine.alive:
            raise Refusal(503, "serve.stuck")
        return json_answer({"status": "live"})

    async def _ready(self, request: Request) -> Response:
        if (reason := self.engine.closed()) is not None:
            raise Refusal(503, reason)
        return json_answer({"status": "ready"})

    async def _metrics(self, request: Request) -> Response:
        return self.metrics.answer()

    async def _schema(self, request: Request) -> Response:
        return json_answer(schema(self._predictor.describe(), self._limits, str(request.base_url)))

    async def _openapi(self, request: Request) -> Response:
        return json_answer(openapi(self._predictor.describe(), self._limits, spoken(request)))


@contextlib.asynccontextmanager
async def _until_gone(request: Request) -> AsyncIterator[None]:
    """Cancels the block when the client leaves, and raises Gone then."""
    task, gone = asyncio.current_task(), False

    async def watch() -> None:
        nonlocal gone
        while (await request.receive())["type"] != "http.disconnect":
            pass
        gone = True
        task.cancel()

    watching = asyncio.ensure_future(watch())
    try:
        yield
    except asyncio.CancelledError:
        if gone and task.uncancel() == 0:
            raise Gone from None
        raise
    finally:
        watching.cancel()
