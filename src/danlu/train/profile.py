"""`train --profile`: a stopwatch that also traces a few steps with torch's profiler, and the page that says in words where the time went.

The parts of a step are timed in the steps that are not traced, since tracing slows them down; in a run too short for that, in all.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from danlu.core.files import disk_errors, write_atomic, write_json
from danlu.core.stopwatch import Stopwatch
from danlu.evaluate.page import profile as page
from danlu.train.measures import STEP, useful_flops
from danlu.train.peak import peak_flops

if TYPE_CHECKING:
    from danlu.train.loop import Job

FOLDER = "profile"
_FIRST, _TRACED = 2, 4  # steps before the trace begins, and in it
_SHOWN = 10  # operators


class Profile(Stopwatch):
    """A stopwatch that waits for the device, names what it times in the trace, and traces a few steps of the run."""

    def __init__(self) -> None:
        super().__init__()
        os.environ.setdefault("KINETO_LOG_LEVEL", "9")  # or it writes to stderr
        self.steps, self.traced = 0, 0
        self._profiler: profile | None = None
        self._running = False
        self._range: AbstractContextManager | None = None
        self._others: dict[str, float] = {}  # seconds of steps that were traced, or made before the run was resumed

    def turn(self, to: str) -> None:
        stepped = self._doing == "optimizer" and to == "steps"
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
        if self._range is not None:
            self._range.__exit__(None, None, None)
            self._range = None
        super().turn(to)
        if stepped:
            self._stepped()
        if self._running and to in STEP:
            self._range = record_function(to)
            self._range.__enter__()

    def add(self, spent: dict[str, float]) -> None:
        super().add(spent)
        self._set_apart(spent, {})

    def close(self) -> None:
        """Ends the trace."""
        if not self._running:
            return
        now = self.spent()
        self._running = False
        self.turn("profiler")
        self._profiler.stop()
        self._set_apart(now, self._before)

    def step_seconds(self) -> tuple[dict[str, float], int]:
        """Seconds by part of a step, and of how many steps they are the sum."""
        spent, apart = self.spent(), self._others
        if self.steps < 2 * self.traced:  # as good as all steps were traced
            return {name: spent.get(name, 0.0) for name in STEP}, max(1, self.steps)
        return {name: spent.get(name, 0.0) - apart.get(name, 0.0) for name in STEP}, self.steps - self.traced

    def operators(self) -> list[dict[str, Any]]:
        """What the traced steps spent most time in: name, calls and milliseconds a step."""
        if not self.traced:
            return []
        cuda = torch.cuda.is_initialized()
        times = [
            (event.self_device_time_total if cuda else event.self_cpu_time_total, event.count, event.key)
            for event in self._profiler.key_averages()
            if event.key not in STEP and not event.key.startswith("ProfilerStep")
        ]
        return [
            {"name": name, "calls": round(calls / self.traced, 1), "ms": us / 1e3 / self.traced}
            for us, calls, name in sorted(times, reverse=True)[:_SHOWN]
        ]

    def export(self, file: Path) -> None:
        """Writes the trace for chrome://tracing or Perfetto."""
        if self.traced:
            with disk_errors(file):
                self._profiler.export_chrome_trace(str(file))

    def _stepped(self) -> None:
        """What the profiler needs to begin and to end is time of its own."""
        self.steps += 1
        if self._running:
            self.traced += 1
        if self.steps == _FIRST:
            self._before = self.spent()
            super().turn("profiler")
            cuda = [ProfilerActivity.CUDA] if torch.cuda.is_available() else []
            self._profiler = profile(activities=[ProfilerActivity.CPU, *cuda])
            self._profiler.start()
            self._running = True
            super().turn("steps")
        elif self.traced == _TRACED and self._running:
            self.close()
            super().turn("steps")

    def _set_apart(self, now: dict[str, float], before: dict[str, float]) -> None:
        for name in STEP:
            self._others[name] = self._others.get(name, 0.0) + now.get(name, 0.0) - before.get(name, 0.0)


def write(folder: Path, job: Job, lang: str | None) -> None:
    """Writes `profile/` into a run folder: the page, its numbers and the trace. The job has been trained with a Profile as its watch."""
    watch = job.watch
    watch.turn("profiler")
    seconds, steps = watch.step_seconds()
    spent = watch.spent()
    useful = useful_flops(job) * job.state.epoch / max(1, job.state.step)
    numbers = {
        "steps": steps,
        "traced": watch.traced,
        "parts": {name: seconds[name] / steps for name in STEP},
        "run": {name: spent.get(name, 0.0) for name in ("setup", "encode", "evaluate", "save")}
        | {"steps": sum(spent.get(n, 0.0) for n in STEP)},
        "operators": watch.operators(),
        "useful_flops_per_second": useful * steps / sum(seconds.values()),
        "peak_flops_per_second": peak_flops(job.device, job.precision, measure=True),
        "device": str(job.device),
        "precision": job.precision,
    }
    target = folder / FOLDER
    with disk_errors(target):
        target.mkdir(exist_ok=True)
    watch.export(target / "trace.json")
    write_json(target / "profile.json", numbers)
    write_atomic(target / "profile.html", page.page(numbers, lang))
