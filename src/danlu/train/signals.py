"""SIGINT and SIGTERM ask for a stop after the running step; the same signal again stops at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def asked_to_stop() -> Iterator[Callable[[], int]]:
    """Inside the block: a function that gives the number of the signal that came, or 0. Only the main thread can listen."""
    came: list[int] = []

    def hear(number: int, frame: object) -> None:
        if came:
            os._exit(128 + number)
        came.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield lambda: 0
        return
    before = {number: signal.signal(number, hear) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: came[0] if came else 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
