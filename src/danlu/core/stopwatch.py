"""Wall time by what it was spent on, one thing at a time: the parts add up to the whole."""

from __future__ import annotations

import time


class Stopwatch:
    """Runs from the moment it is made; `turn` says what the time from here on belongs to."""

    def __init__(self, doing: str = "setup") -> None:
        self._spent: dict[str, float] = {}
        self._doing, self._since = doing, time.monotonic()

    def turn(self, to: str) -> None:
        """From here on, time belongs to `to`."""
        now = time.monotonic()
        self._spent[self._doing] = self._spent.get(self._doing, 0.0) + now - self._since
        self._doing, self._since = to, now

    def add(self, spent: dict[str, float]) -> None:
        """Takes over what another stopwatch had counted, that of a run before it was resumed."""
        for name, seconds in spent.items():
            self._spent[name] = self._spent.get(name, 0.0) + seconds

    def spent(self) -> dict[str, float]:
        """Seconds so far by what they were spent on."""
        return self._spent | {self._doing: self._spent.get(self._doing, 0.0) + time.monotonic() - self._since}

    def close(self) -> None:
        """Ends what runs beside the clock; nothing does in this one."""
