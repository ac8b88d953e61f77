"""A thread of its own for work that must not hold up the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any


class Lane:
    """One daemon thread that does one thing after another and knows since when it has been at the present one.

    A daemon, since a thread stuck inside a library must not keep the process from ending.
    """

    def __init__(self, name: str) -> None:
        self._queue: SimpleQueue = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=f"danlu-{name}", daemon=True)
        self._since: float | None = None

    def start(self) -> None:
        self._thread.start()

    def stop(self, wait: float = 2.0) -> None:
        """Ends after the present piece of work, and waits for that at most `wait` seconds."""
        self._queue.put(None)
        self._thread.join(wait)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def busy_for(self) -> float:
        """Seconds spent on the present piece of work; 0 when idle."""
        since = self._since
        return 0.0 if since is None else time.monotonic() - since

    async def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """`function(*arguments)` in the thread; not begun any more if the caller is cancelled before its turn."""
        future = asyncio.get_running_loop().create_future()

        def work() -> None:
            if future.cancelled():
                return
            try:
                outcome = (function(*arguments), None)
            except Exception as error:
                outcome = (None, error)
            tell(future, _settle, *outcome)

        self.post(work)
        return await future

    def post(self, work: Callable[[], None]) -> None:
        """`work()` in the thread, when its turn comes; it raises nothing. Callable from any thread."""
        self._queue.put(work)

    def _work(self) -> None:
        while (work := self._queue.get()) is not None:
            self._since = time.monotonic()
            work()
            self._since = None


def tell(future: asyncio.Future, function: Callable[..., None], *arguments: Any) -> None:
    """`function(future, *arguments)` in the future's event loop, from another thread; nothing when the loop has closed meanwhile."""
    with contextlib.suppress(RuntimeError):
        future.get_loop().call_soon_threadsafe(function, future, *arguments)


def _settle(future: asyncio.Future, result: Any, error: Exception | None) -> None:
    if future.cancelled():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
