"""uvicorn's HTTP/1.1 protocol with the deadlines it lacks: for a request's head, for a body nobody wants, for a reader that does not read.

uvicorn by itself keeps a client that sends one header byte a minute for ever.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from danlu.serve.answers import SECURITY, Refusal, error_bytes
from danlu.serve.metrics import Metrics


def protocol(metrics: Metrics, connections: int, head_s: float, write_s: float) -> type[asyncio.Protocol]:
    """A protocol class for `uvicorn.Config(http=...)`: at most `connections` at a time; `head_s` seconds from a request's first byte (or
    the connection) to the end of its head; `write_s` seconds without the client taking a byte of its answer."""

    class Patient(DeadlineProtocol):
        pass

    Patient.metrics, Patient.most, Patient.head_s, Patient.write_s = metrics, connections, head_s, write_s
    return Patient


class DeadlineProtocol(H11Protocol):
    metrics: Metrics
    most: int
    head_s: float
    write_s: float

    _head_timer: asyncio.TimerHandle | None = None
    _write_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        # asyncio sets this only where the listener was made with proto=IPPROTO_TCP; without it every answer waits 40 ms for an ACK
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if len(self.connections) > self.most:
            transport.abort()
        else:
            self._start_head_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_head_timer()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._answering:
            self._stop_head_timer()
        elif self._head_timer is None:
            self._start_head_timer()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._write_timer = self.loop.call_later(self.write_s, self.transport.abort)

    def resume_writing(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self.loop.call_later(self.write_s, self.transport.abort)  # where the last answer still waits for its reader

    def send_400_response(self, msg: str) -> None:
        """In the shape of every error. A request that the application is reading at the moment is counted there."""
        too_long = getattr(sys.exception(), "error_status_hint", 400) == 431
        if self._answering:
            self.scope["danlu.malformed"] = True
            if self.cycle.response_started:
                self.transport.close()
                return
            self.cycle.response_started = self.cycle.response_complete = True
        else:
            self.metrics.count("other", "refused", "bad-http")
        self._end_with(Refusal(431, "serve.long-head") if too_long else Refusal(400, "serve.bad-http"))

    @property
    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _start_head_timer(self) -> None:
        self._head_timer = self.loop.call_later(self.head_s, self._head_too_slow)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_too_slow(self) -> None:
        """Half a head gets an answer; a body that nobody wants any more, or silence, gets none."""
        if self.transport.is_closing():
            return
        if self.conn.our_state is h11.IDLE and self.conn.trailing_data[0]:
            self.metrics.count("other", "refused", "too-slow")
            self._end_with(Refusal(408, "serve.too-slow", "head", seconds=self.head_s))
            self.loop.call_later(self.write_s, self.transport.abort)
        else:
            self.transport.abort()

    def _end_with(self, refusal: Refusal) -> None:
        """The last answer of this connection."""
        body = error_bytes(refusal)
        headers: list[tuple[str, Any]] = [*SECURITY.items(), ("content-type", "application/json"), ("connection", "close")]
        head = h11.Response(status_code=refusal.status, headers=[*headers, ("content-length", str(len(body)))], reason=b"")
        try:
            for event in (head, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event))
        except h11.LocalProtocolError:  # the connection is past answering
            self.transport.abort()
        self.transport.close()
