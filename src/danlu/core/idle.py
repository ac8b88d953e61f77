"""Whether this machine has nothing else to do: asked before torch is loaded, so nothing here imports it."""

from __future__ import annotations

import os
import time

_LOOKS, _BETWEEN = 5, 0.002  # seconds


def idle() -> bool:
    """Whether no other thread of this machine wants a core just now; False where the system does not say.

    The fewest of a few looks count: what runs for a moment is no work.
    """
    least = None
    for _ in range(_LOOKS):
        try:
            with open("/proc/loadavg", encoding="utf8") as file:
                running = int(file.read().split()[3].partition("/")[0]) - 1  # this thread
        except (OSError, ValueError, IndexError):
            return False
        least = running if least is None else min(least, running)
        if least <= 0:
            return True
        time.sleep(_BETWEEN)
    return least + cores() <= (os.cpu_count() or 1)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
