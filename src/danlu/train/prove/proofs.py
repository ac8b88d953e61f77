"""The proofs, one function each: the difference that was measured between a shortcut and the plain way, and the bound it must keep.

Bounds of equal arithmetic in another order are relative: 32-bit floats have a rounding error of 6e-8, which sums of some thousand terms
and a few dozen layers make at most a thousand times larger.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from copy import copy
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

import danlu
from danlu.bundle import store
from danlu.bundle.predictor import Predictor, outputs
from danlu.core.events import Event, Saved
from danlu.core.files import write_json
from danlu.core.recipe import Recipe
from danlu.train.launch import launch
from danlu.train.loop import Job
from danlu.train.prefix import start_from_prefix
from danlu.train.prove.case import Case, Gradient, Trained, apart, curve, gradient, stand_in, unequal

EXACT = 0.0
ORDER = 1e-4  # the same numbers added in another order, in 32 bits
CURVE = 1e-3  # the same after some steps, each of which starts from the difference before it
BUNDLE = 1e-4  # of a probability: adapters are added into the weights before they are stored
BF16 = 0.2  # of the gradient: bf16 keeps 8 bits of each number, 0.4%, and layer after layer, forth and back, adds its errors
COMMAND = [sys.executable, "-m", "danlu.train.prove.rank"]


class Shown(NamedTuple):
    """What a proof measured; `stood_in` where the recipe's own model could not show it."""

    difference: float
    bound: float
    stood_in: bool = False


class Bench:
    """The recipe, if there is one, beside the small texts that stand in where its model cannot show something."""

    def __init__(self, recipe: Recipe | None, folder: Path) -> None:
        self._folder, self._recipe = folder, recipe

    @cached_property
    def small(self) -> Case:
        return Case(stand_in(self._folder / "texts"), self._folder / "small")

    @cached_property
    def own(self) -> Case:
        return Case(self._recipe, self._folder / "own") if self._recipe else self.small

    @cached_property
    def plain(self) -> Trained:
        """The recipe trained without a break."""
        return self.own.train()

    def first(self, show: Callable[[Case], float | None]) -> tuple[float, bool]:
        """What `show` measures on the recipe, or on the texts where that says nothing; whether it was on the texts."""
        difference = show(self.own)
        if difference is not None:
            return difference, False
        difference = show(self.small)
        return float("inf") if difference is None else difference, True


class _Killed(BaseException):
    """The end of a training in the midst of it: nothing is saved any more."""


def resumed(bench: Bench) -> Shown:
    """Killed after a third of its steps and taken up: weights, optimizer, averages and every loss."""
    run, middle = bench.own.new_run(), bench.plain.steps // 3 + 1

    def dies(event: Event) -> None:
        if isinstance(event, Saved) and event.step >= middle:
            raise _Killed

    try:
        bench.own.train(run, [dies])
    except _Killed:
        return Shown(unequal(bench.plain, bench.own.train(run)), EXACT)
    return Shown(float("inf"), EXACT)


def repeated(bench: Bench) -> Shown:
    """The same command twice."""
    return Shown(unequal(bench.plain, bench.own.train()), EXACT)


def accumulated(bench: Bench) -> Shown:
    """One large batch, and the same rows in micro-batches of unequal size."""
    positions_B = bench.own.positions()
    whole = gradient(bench.own.job(precision="fp32", micro_batch=None), positions_B)
    count = len(positions_B)
    size = next((size for size in range(max(2, count // 3), count) if count % size), 1)
    return Shown(apart(whole, gradient(bench.own.job(precision="fp32", micro_batch=size), positions_B)), ORDER)


def packed(bench: Bench) -> Shown:
    """Rows as training lays them (end to end, or in buckets of one length), and padded to the longest."""
    return Shown(*_bounded(bench.first(_packed)))


def _packed(case: Case) -> float | None:
    job, positions_B = case.job(precision="fp32", micro_batch=None), case.positions()
    lengths_B = np.array([job.task.length(job.sides["train"].examples[i]) for i in positions_B])
    if len(set(lengths_B.tolist())) == 1:
        return None
    if job.model.padding_free:
        dense = gradient(job, positions_B)
        job.model.packs = False
        return apart(gradient(job, positions_B), dense)
    return apart(gradient(job, positions_B), _in_buckets(job, positions_B, lengths_B))


def _in_buckets(job: Job, positions_B: np.ndarray, lengths_B: np.ndarray) -> Gradient:
    """The rows in batches of one length, without any padding."""
    parts = [gradient(job, positions_B[lengths_B == length]) for length in np.unique(lengths_B)]
    shares = [float((lengths_B == length).mean()) for length in np.unique(lengths_B)]
    whole = {name: sum(share * part.parts[name] for share, part in zip(shares, parts, strict=True)) for name in parts[0].parts}
    return Gradient(sum(share * part.loss for share, part in zip(shares, parts, strict=True)), whole)


def prefix(bench: Bench) -> Shown:
    """The head trained on what the frozen stages said once, and on what they say anew."""
    return Shown(*_bounded(bench.first(_prefix)))


def _prefix(case: Case) -> float | None:
    whole = case.job(precision="fp32", cache_limit=1.0)
    whole.model.requires_grad_(False)
    whole.model.head.requires_grad_(True)
    whole.task = copy(whole.task)
    whole.task.steps = []  # of augmentation: changed rows cannot be kept
    tail, _ = start_from_prefix(whole)
    if tail is whole:
        return None
    return apart(gradient(whole, case.positions()), _renamed(gradient(tail, case.positions()), whole, tail))


def _renamed(found: Gradient, whole: Job, tail: Job) -> Gradient:
    """Gradients of a part of the model by the names that its parameters have in the whole."""
    names = {id(p): name for name, p in whole.model.named_parameters()}
    own = {name: names[id(p)] for name, p in tail.model.named_parameters() if id(p) in names}
    return Gradient(found.loss, {own[name]: grad for name, grad in found.parts.items()})


def processes(bench: Bench) -> Shown:
    """The loss curve of one process, and of two that share its steps."""
    case = bench.own
    settings = {"precision": "fp32", "micro_batch": max(2, len(case.positions()) // 4), "epochs": 1, "threads": 1, "parallel": "ddp"}
    alone, together = case.new_run(), case.new_run()
    case.train(alone, **settings)
    tree = case.recipe.model_dump(mode="json")
    write_json(case.folder / "rank.json", {"recipe": tree, "settings": settings, "run": str(together.path)})
    if launch([*COMMAND, str(case.folder / "rank.json")], 2):
        return Shown(float("inf"), CURVE)
    one, two = curve(alone), curve(together)
    gaps = [abs(a - b) / max(abs(a), 1e-3) for a, b in zip(one, two, strict=False)]
    return Shown(float("inf") if len(one) != len(two) or not np.isfinite(gaps).all() else max(gaps), CURVE)


def bf16(bench: Bench) -> Shown:
    """Loss and gradient of a step in 16 and in 32 bits."""
    job = bench.own.job(precision="fp32", micro_batch=None)
    full = gradient(job, bench.own.positions())
    return Shown(apart(full, gradient(replace(job, precision="bf16"), bench.own.positions())), BF16)


def saved(bench: Bench) -> Shown:
    """The probabilities of the bundle on disk, and of the model in memory."""
    job, side = bench.plain.job, bench.own.prepared.sides["train"]
    folder = bench.own.folder / "bundle"
    about = {"danlu": danlu.__version__, "task_name": job.recipe.task_name, "labels": job.task.labels}
    store.save(folder, job.task, job.model, about, "")
    ours = job.task.probabilities(outputs(job.task, job.model, side.examples, job.device))
    again = Predictor(folder, device=str(job.device)).outputs(side.examples)
    return Shown(float(np.abs(job.task.probabilities(again) - ours).max()), BUNDLE)


def _bounded(measured: tuple[float, bool]) -> tuple[float, float, bool]:
    return measured[0], ORDER, measured[1]


PROOFS: dict[str, Callable[[Bench], Shown]] = {
    "resumed": resumed,
    "accumulated": accumulated,
    "packed": packed,
    "prefix": prefix,
    "processes": processes,
    "bf16": bf16,
    "saved": saved,
    "repeated": repeated,
}
