"""`danlu serve`: the application behind uvicorn, from the first line on the terminal to the last accepted answer."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn

from danlu.core.errors import InputError
from danlu.core.words import say
from danlu.serve.app import Service, make_app
from danlu.serve.gate import LOOPBACK, is_loopback
from danlu.serve.protocol import protocol

_SAME = 1.0  # seconds; shells and supervisors send a signal to a process and to its group: that is one signal, not two


def run(
    bundle: str | Path, host: str = "127.0.0.1", port: int = 8000, token: str | None = None, *, drain_s: float = 30.0, **limits: Any
) -> int:
    """Serves a bundle until SIGTERM or SIGINT and gives the exit code.

    0: everything accepted was answered within `drain_s`. 128 + signal: a second signal, or the end of that time, cut answers off.
    `token` falls back to `DANLU_TOKEN`. InputError for a host beyond this machine without a token, and for a port that cannot be had;
    RefusedError for a damaged bundle.
    """
    token = token or os.environ.get("DANLU_TOKEN") or None
    local = is_loopback(host)
    if not local and not token:
        raise InputError("serve.needs-token", host, host=host)
    from danlu.bundle.predictor import Predictor

    with _listen(host, port) as listener:
        name = f"[{host}]" if ":" in host else host
        app = make_app(Predictor(bundle), token=token, hosts=LOOPBACK | {name.lower()} if local else None, **limits)
        address = f"http://{name}:{listener.getsockname()[1]}/"
        print(say("serve.listening-token" if token else "serve.listening", address=address), file=sys.stderr, flush=True)
        return serve(app, listener, drain_s)


def serve(app: Service, listener: socket.socket, drain_s: float = 30.0, head_s: float = 10.0, write_s: float = 30.0) -> int:
    """Runs the application on a bound socket; see `run` for the exit code."""
    for noisy in ("uvicorn.error", "python_multipart"):  # they warn of every bad request, which /metrics counts
        logging.getLogger(noisy).setLevel(logging.ERROR)
    sys.setswitchinterval(0.0005)  # else a busy event loop makes the model wait 5 ms for the interpreter after each of its operations
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    config = uvicorn.Config(
        app,
        http=protocol(app.metrics, max(16, min(1000, files - 128)), head_s, write_s),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=max(1, round(drain_s)),
    )
    server = DrainingServer(config, app)
    asyncio.run(server.serve([listener]))
    return server.exit_code


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=2048)
    except (OSError, OverflowError) as error:
        number = getattr(error, "errno", None) or 0
        problem = os.strerror(number) if number > 0 else str(error).partition(" (while")[0].rstrip(".")
        raise InputError("serve.no-port", f"{host}:{port}", host=host, port=port, problem=problem) from error


class DrainingServer(uvicorn.Server):
    """On a signal: not ready and taking no work at once, listening half a second more so that whoever asks hears it, then closed,
    then ended when the last accepted request is answered."""

    notice_s = 0.5

    def __init__(self, config: uvicorn.Config, app: Service) -> None:
        super().__init__(config)
        self._service = app
        self._signal: int | None = None
        self._since = 0.0
        self._told = False
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def exit_code(self) -> int:
        return 128 + self._signal if self._signal and (self.force_exit or self._service.abandoned) else 0

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn does, but a signal that was obeyed is not raised again afterwards: draining ends in exit code 0."""
        self._loop = asyncio.get_running_loop()
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._signal is None:
            self._signal, self._since = sig, time.monotonic()
            self._service.drain()
        elif time.monotonic() - self._since > _SAME:
            self.should_exit = self.force_exit = True
            self._loop.call_soon_threadsafe(self._cut)

    async def on_tick(self, counter: int) -> bool:
        if self._signal is not None:
            if not self._told:
                self._told = True
                print(say("serve.stopping", rows=self._service.admission.held), file=sys.stderr, flush=True)
            self.should_exit |= time.monotonic() - self._since >= self.notice_s
        return await super().on_tick(counter)

    def _cut(self) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()
