"""The loop: a generator that says what happened and never asks what is being learned.

Every draw is a function of (seed, epoch, step), so a run that is stopped anywhere and resumed gives the same bits as one that is not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from torch import Tensor

from danlu.bundle.predictor import BATCH, outputs
from danlu.core.errors import InputError, Stopped
from danlu.core.events import Evaluated, Event, Finished, Saved, Started, Stepped, Warned
from danlu.core.recipe import Metric, Recipe, Save
from danlu.core.stopwatch import Stopwatch
from danlu.data.batches import Size, count, plan
from danlu.data.contract import Encoded
from danlu.evaluate.metrics import point
from danlu.nn import adapt
from danlu.nn.model import Model, parameter_count
from danlu.tasks.task import Task
from danlu.train import average
from danlu.train.checkpoint import State
from danlu.train.machine import peak_memory
from danlu.train.non_finite import attempt
from danlu.train.step import Taken
from danlu.train.world import World

WATCHED = get_args(Metric)
Planned = Callable[[Sequence[int], Size, int, int], list[np.ndarray]]
_REPORTS = 20  # Stepped events in an epoch


@dataclass
class Job:
    """Everything the loop turns: the resolved recipe, what is learned from, and what is learned."""

    recipe: Recipe
    task: Task
    model: Model
    optimizer: torch.optim.Optimizer
    sides: dict[str, Encoded]
    device: torch.device
    precision: str
    state: State
    world: World = field(default_factory=World)
    watch: Stopwatch = field(default_factory=Stopwatch)
    best: dict[str, Tensor] | None = None
    average: dict[str, Tensor] | None = None  # of the weights that change, where the recipe wants one and it has begun
    save: Callable[[bool], Future[Path] | None] = lambda waited: (
        None
    )  # begins to write the state as it is now; whether training waits for it
    writing: Future[Path] | None = None  # the one under way: never more than one
    record: Callable[[State, Taken, np.ndarray], tuple[str, str]] = lambda state, taken, rows: ("", "")  # the file, and the rows in words
    go_back: Callable[[], int] = int  # puts the weights of the last regular checkpoint back; its step
    asked_to_stop: Callable[[], int] = lambda: 0  # the signal's number, or 0


def loop(job: Job, planned: Planned | None = None) -> Iterator[Event]:
    """Trains to the end of the recipe; at the end `job.best` holds the chosen weights. Stopped where a signal asked for it, after saving.

    `planned` stands in for `data.batches.plan` where only some batches are wanted.
    """
    state, spec = job.state, job.recipe.train
    train = job.sides["train"]
    lengths = [job.task.length(example) for example in train.examples]
    clock = _Clock(state)
    size = Size(spec.batch_size, spec.batch_tokens, job.model.padding_free)
    steps = count(lengths, size, job.recipe.seed, spec.epochs)
    yield Started(
        state.step,
        clock(),
        steps,
        spec.epochs,
        {name: len(side.rows) for name, side in job.sides.items()},
        _sizes(job.model),
        job.precision,
        str(job.device),
    )
    if spec.non_finite == "rollback" and not state.step:
        yield from _pause(job, clock, regular=True)
    while not state.done:
        job.watch.turn("steps")
        batches = (planned or plan)(lengths, size, job.recipe.seed, state.epoch)
        every = max(1, len(batches) // _REPORTS)
        adapt.begin_epoch(job.model, job.recipe.model.adapt, state.epoch)
        while state.batch < len(batches):
            taken = yield from attempt(job, clock, batches[state.batch], steps)
            state.loss_sum += float(taken.loss.total)
            state.loss_count += float(taken.loss.count)
            state.step, state.batch = state.step + 1, state.batch + 1
            average.update(job, steps, state.batch == len(batches))
            job.watch.turn("steps")
            if taken.divided:
                yield Warned(state.step, clock(), "train.divided", {"rows": state.micro_batch})
                clock.hurry()
            if state.loss_count and (state.batch % every == 0 or state.batch == len(batches)):
                yield _stepped(job, clock, taken)
            if state.batch < len(batches):
                yield from _pause(job, clock, regular=spec.save.unit == "steps" and clock.due(spec.save, state))
        state.epoch, state.batch = state.epoch + 1, 0
        answered = state.answered
        with average.judged(job, batches):
            job.watch.turn("evaluate")
            event = _judge(job, clock)
        if state.answered != answered:
            yield Warned(state.step, clock(), "train.divided-evaluation", {"rows": state.answered})
        if event:
            yield event
        job.watch.turn("save" if state.done else "steps")
        yield from _pause(job, clock, regular=spec.save.unit != "steps" or clock.due(spec.save, state))
    yield Finished(state.step, clock(), state.done, state.best_step, state.best_metrics)


def _stepped(job: Job, clock: _Clock, taken: Taken) -> Stepped:
    state = job.state
    event = Stepped(state.step, clock(), state.epoch, state.loss_sum / (state.loss_count or 1), taken.rate, taken.norm, state.loss_count)
    state.loss_sum, state.loss_count = 0.0, 0.0
    return event


def _judge(job: Job, clock: _Clock) -> Evaluated | None:
    """Scores the validation side, if there is one, keeps the best weights and decides whether training is over."""
    state, spec = job.state, job.recipe.train
    last = state.epoch >= spec.epochs
    side = job.sides.get("validation")
    if side is None or not len(side.rows):
        state.best_step = state.step
        state.done = "epochs" if last else ""
        job.best = _snapshot(job.model) if last and job.average else None
        return None
    metrics = validation_metrics(job, side)
    if not all(map(math.isfinite, metrics.values())):
        raise InputError("train.diverged-validation", f"step {state.step}", step=state.step)
    metric = spec.early_stopping.metric
    sign = -1.0 if metric == "log_loss" else 1.0
    score = [sign * metrics[metric], -metrics["log_loss"]]
    state.scores.append(score)
    better = state.best is None or score > state.best
    if better:
        state.best, state.best_step, state.best_metrics, state.waited = score, state.step, metrics, 0
        job.best = _snapshot(job.model)
    else:
        state.waited += 1
    patience = spec.early_stopping.patience
    state.done = "epochs" if last else "early-stopping" if patience and state.waited >= patience else ""
    return Evaluated(state.step, clock(), state.epoch, metrics, better)


def _snapshot(model: Model) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def validation_metrics(job: Job, side: Encoded) -> dict[str, float]:
    """The watched metrics on one side, in the precision of training."""
    state = job.state

    def told(rows: int) -> None:
        state.answered = rows

    job.world.level(job.model.buffers())
    count = len(side.examples)
    mine = [side.examples[i] for i in job.world.share(count)]
    logits_NC = outputs(job.task, job.model, mine, job.device, job.precision, state.answered or BATCH, told)
    logits_NC = job.world.gathered(logits_NC, count)
    targets_N = np.array([int(example["target"]) for example in side.examples])
    probabilities_NC = job.task.probabilities(logits_NC)
    return job.world.told({name: point(probabilities_NC, targets_N, name) for name in WATCHED})


def _pause(job: Job, clock: _Clock, regular: bool) -> Iterator[Event]:
    """Begins to save where it is time to; ends the run, saved, where a signal came to any process. Says what is saved meanwhile.

    `regular`: the step is one at which every run of this recipe would save, so that a step undone may go back to it.
    """
    state, spec = job.state, job.recipe.train
    yield from _landed(job, clock)
    regular = regular and spec.non_finite == "rollback"
    due = clock.due(spec.save, state) and not (job.writing and spec.save.unit == "seconds")  # a disk slower than that is not waited for
    signal, due = job.world.most(job.asked_to_stop(), due and job.world.leads)
    if not (signal or due or regular or state.done):
        return
    yield from _landed(job, clock, wait=True)
    state.seconds, state.spent = clock(), job.watch.spent()
    state.peak_memory = max(state.peak_memory, peak_memory())
    state.anchor = state.step if regular else state.anchor
    waited = bool(signal or state.done)
    job.writing = job.save(waited)
    clock.saved(state)
    if waited:
        yield from _landed(job, clock, wait=True)
    if signal and not state.done:
        job.world.most(0)  # the first process has saved
        raise Stopped("train.stopped", signal, step=state.step)


def _landed(job: Job, clock: _Clock, wait: bool = False) -> Iterator[Event]:
    """Says when the checkpoint under way is on the disk; raises what kept it from getting there."""
    writing = job.writing
    if writing and (wait or writing.done()):
        job.writing = None
        path = writing.result()
        yield Saved(int(path.name.removeprefix("step-")), clock(), path.name)


def _sizes(model: Model) -> dict[str, int]:
    return {"total": parameter_count(model), "trained": sum(p.numel() for p in model.parameters() if p.requires_grad)}


class _Clock:
    """Seconds of training over all resumes, and when the next checkpoint is due."""

    def __init__(self, state: State) -> None:
        self._start = time.monotonic() - state.seconds
        self.saved(state)

    def __call__(self) -> float:
        return time.monotonic() - self._start

    def saved(self, state: State) -> None:
        self._last = {"seconds": self(), "steps": state.step, "epochs": state.epoch}

    def hurry(self) -> None:
        """Makes the next checkpoint due at once."""
        self._last = dict.fromkeys(self._last, -(2.0**60))

    def due(self, spec: Save, state: State) -> bool:
        """Seconds count from the last checkpoint, steps and epochs from the start, so that a resumed run saves where an unbroken one does."""
        if spec.unit == "seconds":
            return self() - self._last["seconds"] >= spec.every
        now = {"steps": state.step, "epochs": state.epoch}[spec.unit]
        return now // spec.every > self._last[spec.unit] // spec.every
