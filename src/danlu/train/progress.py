"""What a person sees while training: a live bar on a terminal or in a notebook, plain lines in a pipe. Everything goes to stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from danlu.core.events import Checked, Evaluated, Event, Finished, Saved, Started, Stepped, Warned
from danlu.core.words import say

_EVERY = 10.0  # seconds between plain lines


@contextmanager
def shown(wanted: bool = True) -> Iterator[list[Callable[[Event], None]]]:
    """Listeners that show progress, for the time of the block."""
    if not wanted:
        yield []
        return
    line(say("cli.preparing"))
    if sys.stderr.isatty() or _notebook():
        with _bar() as hear:
            yield [hear]
    else:
        yield [Lines()]


def line(text: str) -> None:
    """One line of people's words."""
    print(text, file=sys.stderr, flush=True)


def sentence(event: Event) -> str | None:
    """What an event says, where it says something lasting."""
    if isinstance(event, Checked):
        return "\n".join([*event.lines, ""])
    if isinstance(event, Started):
        return say(
            "cli.started",
            rows=event.rows.get("train", 0),
            epochs=event.epochs,
            total=f"{event.parameters['total']:,}",
            trained=f"{event.parameters['trained']:,}",
            precision=event.precision,
            device=event.device,
        ) + (f" {say('cli.continued', step=event.step)}" if event.step else "")
    if isinstance(event, Evaluated):
        metrics = "  ".join(f"{name} {value:.4f}" for name, value in event.metrics.items())
        return f"{say('cli.epoch', epoch=event.epoch)}  {metrics}{'  *' if event.best else ''}"
    if isinstance(event, Warned):
        return say(event.key, **event.values)
    if isinstance(event, Finished):
        ended = say(f"cli.finished-{event.reason}", seconds=f"{event.seconds:.0f}", step=event.best_step)
        return f"{ended}\n{say('cli.judging')}"
    return None


class Lines:
    """Lasting sentences, and a line of numbers now and then."""

    def __init__(self) -> None:
        self._last, self._start, self._first, self._steps = 0.0, time.monotonic(), 0, 0

    def __call__(self, event: Event) -> None:
        if isinstance(event, Started):
            self._start, self._first, self._steps = time.monotonic(), event.step, event.steps
            self._last = self._start
        if text := sentence(event):
            line(text)
        elif isinstance(event, Stepped) and time.monotonic() - self._last >= _EVERY:
            self._last = time.monotonic()
            rate = (event.step - self._first) / max(1e-9, self._last - self._start)
            line(
                say(
                    "cli.step",
                    step=event.step,
                    steps=self._steps,
                    loss=f"{event.loss:.4f}",
                    left=duration((self._steps - event.step) / max(rate, 1e-9)),
                )
            )


@contextmanager
def _bar() -> Iterator[Callable[[Event], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[numbers]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        tasks: dict[str, Any] = {}

        def hear(event: Event) -> None:
            if text := sentence(event):
                progress.console.print(text, highlight=False, markup=False)
            if isinstance(event, Started):
                tasks["run"] = progress.add_task(say("cli.training"), total=event.steps, completed=event.step, numbers="")
            elif isinstance(event, Stepped):
                progress.update(tasks["run"], completed=event.step, numbers=f"loss {event.loss:.4f}  lr {event.lr:.2g}")
            elif isinstance(event, Saved):
                progress.update(tasks["run"], completed=event.step)

        yield hear


def duration(seconds: float) -> str:
    """Seconds as 1:02:03 or 2:03."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def size(count: float) -> str:
    """Bytes as 1.23 GB or 4.5 MB."""
    return f"{count / 1e9:.2f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def _notebook() -> bool:
    ipython = sys.modules.get("IPython")
    return bool(ipython and getattr(ipython.get_ipython(), "kernel", None))
