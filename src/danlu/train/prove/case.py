"""What is proven on: a recipe with a few of its rows, from which jobs and short trainings are made as training makes them."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from danlu.core.events import Event
from danlu.core.recipe import Clip, Recipe
from danlu.data.contract import Encoded
from danlu.tasks.table import task_class
from danlu.train import step
from danlu.train.checkpoint import collect
from danlu.train.loop import Job
from danlu.train.prepare import Prepared, prepare
from danlu.train.run import Run
from danlu.train.train import fit, make_job
from danlu.train.world import World

ROWS = {"train": 96, "validation": 32}  # at most: minutes, whatever the data
BATCH = 16  # rows at most
STAND_IN = "text-classification"


class Gradient(NamedTuple):
    """A step's mean loss and the gradient of every trained parameter, before the weights change."""

    loss: float
    parts: dict[str, Tensor]


class Trained(NamedTuple):
    """A short training: the job of the whole model and everything that resuming must give back."""

    job: Job
    tensors: dict[str, Tensor]
    losses: list[float]
    steps: int


class Case:
    """A recipe with few rows, short epochs and a checkpoint at each step. `folder` holds its runs."""

    def __init__(self, recipe: Recipe, folder: Path) -> None:
        self.folder, self.recipe = folder, _short(recipe)
        self.prepared = _few(prepare(self.recipe))
        self._made = 0

    def job(self, **train: Any) -> Job:
        """A job of the recipe with the settings `train` changed."""
        return make_job(self._run(), self._with(train), World())[0]

    def train(self, run: Run | None = None, listen: Sequence[Callable[[Event], None]] = (), **train: Any) -> Trained:
        """Trains to the end, from the newest checkpoint of `run` where it has one."""
        run = run or self._run()
        full, job, finished = fit(run, self._with(train), World(), listen)
        return Trained(full, everything(job), losses(run), finished.step)

    def train_together(self, run: Run, world: World, **train: Any) -> None:
        """The same as one of several processes."""
        fit(run, self._with(train), world, ())

    def new_run(self) -> Run:
        """An empty run folder."""
        return self._run()

    def positions(self, count: int = BATCH) -> np.ndarray:
        """Training rows of one batch, spread over the data."""
        rows = len(self.prepared.sides["train"].rows)
        return np.unique(np.linspace(0, rows - 1, min(count, rows)).astype(np.int64))

    def _with(self, train: dict[str, Any]) -> Prepared:
        recipe = self.prepared.recipe
        return replace(self.prepared, recipe=recipe.model_copy(update={"train": recipe.train.model_copy(update=train)}))

    def _run(self) -> Run:
        self._made += 1
        run = Run(self.folder / f"run-{self._made}")
        run.path.mkdir(parents=True)
        return run


def stand_in(folder: Path) -> Recipe:
    """A small text model on a few rows that Danlu brings along."""
    folder.mkdir(parents=True)
    with (folder / "rows.csv").open("w", encoding="utf8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows([row["text"], row["label"]] for row in task_class(STAND_IN).tiny())
    tree = {"task": STAND_IN, "data": {"path": str(folder / "rows.csv")}, "model": {"architecture": "transformer"}}
    return Recipe.model_validate(tree)


def gradient(job: Job, positions_B: np.ndarray) -> Gradient:
    """As a step computes it, without what looks at one micro-batch at a time (dropout, the means of batch norms)."""
    job.model.eval()
    job.optimizer.zero_grad(set_to_none=True)
    with torch.backends.cudnn.flags(enabled=False):  # its recurrent layers learn in training mode only
        loss = step.accumulate(job, positions_B, step.micro_batch(job))
    found = {name: p.grad for name, p in job.model.named_parameters() if p.grad is not None}
    step.scale_and_clip(list(found.values()), loss.count, Clip(by="none"))
    return Gradient(float(loss.total) / float(loss.count), {name: grad.detach().clone() for name, grad in found.items()})


def apart(one: Gradient, other: Gradient) -> float:
    """The larger of the relative differences of the losses and of all gradients as one vector; infinite where others exist."""
    if one.parts.keys() != other.parts.keys():
        return float("inf")
    length = sum(float(grad.double().square().sum()) for grad in one.parts.values()) ** 0.5
    gap = sum(float((grad.double() - other.parts[name].double()).square().sum()) for name, grad in one.parts.items()) ** 0.5
    return _number(max(abs(one.loss - other.loss) / (abs(one.loss) or 1.0), gap / (length or 1.0)))


def everything(job: Job) -> dict[str, Tensor]:
    """Copies of weights, optimizer, best and averaged weights."""
    kept = collect(job.model, job.optimizer, job.best, job.average)
    return {f"{part}.{name}": tensor for part, tensors in kept._asdict().items() for name, tensor in (tensors or {}).items()}


def losses(run: Run) -> list[float]:
    """Every loss and validation metric in the run's record, in order."""
    found: list[float] = []
    for event in run.events():
        found += (
            [event["loss"]] if event["event"] == "Stepped" else sorted(event["metrics"].values()) if event["event"] == "Evaluated" else []
        )
    return found


def curve(run: Run) -> list[float]:
    """The losses of the run's steps, in order."""
    return [event["loss"] for event in run.events() if event["event"] == "Stepped"]


def unequal(one: Trained, other: Trained) -> float:
    """The largest difference of any number of two trainings: 0 says that they are equal to the bit."""
    if one.tensors.keys() != other.tensors.keys() or len(one.losses) != len(other.losses):
        return float("inf")
    pairs = [(tensor, other.tensors[name]) for name, tensor in one.tensors.items()]
    pairs.append((torch.tensor(one.losses, dtype=torch.float64), torch.tensor(other.losses, dtype=torch.float64)))
    if any(a.shape != b.shape for a, b in pairs):
        return float("inf")
    return _number(max(float((a.double() - b.double()).abs().max()) for a, b in pairs if a.numel()))


def _number(difference: float) -> float:
    """NaN is no equality."""
    return float("inf") if difference != difference else difference


def _short(recipe: Recipe) -> Recipe:
    """Two epochs, small batches, a checkpoint at each step; everything else as it is."""
    spec = recipe.train
    quick: dict[str, Any] = {"epochs": 2, "listeners": []}
    if not spec.batch_tokens:
        quick["batch_size"] = min(spec.batch_size or BATCH, BATCH)
    save = spec.save.model_copy(update={"every": 1, "unit": "steps"})
    stopping = spec.early_stopping.model_copy(update={"patience": 0})
    return recipe.model_copy(update={"train": spec.model_copy(update={**quick, "save": save, "early_stopping": stopping})})


def _few(prepared: Prepared) -> Prepared:
    """A few rows of the training and validation side, spread over each."""
    sides = {}
    for name, most in ROWS.items():
        if side := prepared.sides.get(name):
            chosen = np.unique(np.linspace(0, len(side.rows) - 1, min(most, len(side.rows))).astype(np.int64))
            sides[name] = Encoded(side.rows[chosen], [side.examples[i] for i in chosen])
    return replace(prepared, sides=sides)
