"""How much is taken on at the same time. Decided before a byte of the body is read, so that refusing stays cheap when it matters."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from starlette.requests import ClientDisconnect, Request

from danlu.serve.answers import Gone, Refusal
from danlu.serve.limits import Limits


@dataclass(eq=False)
class Slot:
    """What one request holds of the queue: one row until its body is understood, then as many as it has."""

    rows: int = 1

    def grow(self, rows: int) -> None:
        self.rows = rows


class Admission:
    """Counts what is being received and what is waiting or being answered. Lives in the event loop: nothing to lock.

    `closed` says why nothing is taken at the moment, as the name of an error, or None.
    """

    def __init__(self, limits: Limits, max_body: int, closed: Callable[[], str | None]) -> None:
        self._limits, self._max_body, self._closed = limits, max_body, closed
        self._slots: list[Slot] = []
        self._receiving = 0

    @property
    def held(self) -> int:
        """Rows accepted and not yet answered."""
        return sum(slot.rows for slot in self._slots)

    def check(self, request: Request) -> None:
        """Refusal 503 when there is no room or the server is closed, 413 for an announced body beyond the limit. Reads nothing."""
        if (reason := self._closed()) is not None:
            raise Refusal(503, reason)
        if self.held >= self._limits.queue or self._receiving >= self._limits.receiving:
            raise Refusal(503, "serve.full")
        length = request.headers.get("content-length", "0")
        if length.isdigit() and int(length[:20]) > self._max_body:
            raise Refusal(413, "serve.too-large", "body", limit=self._max_body)
        if request.headers.get("content-encoding", "identity").lower() != "identity":
            raise Refusal(415, "serve.encoded", "content-encoding")

    async def body(self, request: Request) -> bytes:
        """The whole body. Refusal 413 as soon as it is too large, whatever it announced; 408 when it takes too long; Gone."""
        self._receiving += 1
        data = bytearray()
        try:
            async with asyncio.timeout(self._limits.receive_s):
                async for chunk in request.stream():
                    data += chunk
                    if len(data) > self._max_body:
                        raise Refusal(413, "serve.too-large", "body", limit=self._max_body)
        except TimeoutError:
            raise Refusal(408, "serve.too-slow", "body", seconds=self._limits.receive_s) from None
        except ClientDisconnect:
            raise Gone from None
        finally:
            self._receiving -= 1
        return bytes(data)

    @contextmanager
    def hold(self) -> Iterator[Slot]:
        """A place in the queue, given back at the end. Others may have filled it while the body came in: Refusal 503."""
        if self.held >= self._limits.queue:
            raise Refusal(503, "serve.full")
        slot = Slot()
        self._slots.append(slot)
        try:
            yield slot
        finally:
            self._slots.remove(slot)
