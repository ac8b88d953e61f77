"""Checkpoints: everything that resuming needs, written aside, hashed, renamed. The newest whole one is found by checking, never by trust."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from danlu.core.errors import RefusedError
from danlu.core.files import broken, folder_aside, read_json, write_json
from danlu.core.randomness import key
from danlu.core.recipe import Recipe
from danlu.nn.model import Model
from danlu.train.optim import optimizer_tensors, restore_optimizer
from danlu.train.shard import like, whole

_KEPT = 2  # the newest, and one to fall back to should the disk damage it


@dataclass
class State:
    """Where a run stands. Order, augmentation and dropout are functions of (seed, epoch, step), so no generator needs saving."""

    step: int = 0
    epoch: int = 0
    batch: int = 0  # batches of this epoch already done
    best: list[float] | None = None  # the chosen metric, then minus the log-loss that breaks ties
    best_step: int = 0
    best_metrics: dict[str, float] = field(default_factory=dict)
    scores: list[list[float]] = field(default_factory=list)  # of every evaluation, as in `best`
    averaged: int = 0  # weights that the average has taken in
    waited: int = 0  # evaluations since the best one
    seconds: float = 0.0
    spent: dict[str, float] = field(default_factory=dict)  # seconds by what they were spent on
    peak_memory: int = 0  # bytes
    loss_sum: float = 0.0  # since the last Stepped event
    loss_count: float = 0.0
    done: str = ""  # why training ended, once it has
    events: int = 0  # bytes of events.jsonl that belong to this state


class Tensors(NamedTuple):
    """The files of tensors; the last two, weights beside those that are trained, where there are any."""

    model: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    best: dict[str, Tensor] | None = None
    average: dict[str, Tensor] | None = None


def collect(
    model: Model, optimizer: torch.optim.Optimizer, best: dict[str, Tensor] | None = None, average: dict[str, Tensor] | None = None
) -> Tensors:
    """Copies of all that a checkpoint keeps, whole and in main memory; where the model is divided, every process must ask."""
    beside = (None if tensors is None else _plain(tensors) for tensors in (best, average))
    return Tensors(_plain(model.state_dict()), _plain(optimizer_tensors(optimizer)), *beside)


def save(folder: Path, state: State, recipe: Recipe, tensors: Tensors) -> Path:
    """Writes `folder/step-N` whole, then removes all but it and the one before; the path."""
    target = folder / f"step-{state.step}"
    with folder_aside(target) as aside:
        for name, kept in tensors._asdict().items():
            if kept is not None:
                save_file(kept, aside / f"{name}.safetensors")
        write_json(aside / "state.json", {**asdict(state), "settings": settings(recipe)})
    for old in _by_step(folder)[_KEPT:]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def newest(folder: Path) -> tuple[Path | None, list[Path]]:
    """The newest whole checkpoint, and the damaged ones that are newer than it."""
    damaged: list[Path] = []
    for path in _by_step(folder):
        if broken(path) is None:
            return path, damaged
        damaged.append(path)
    return None, damaged


def _by_step(folder: Path) -> list[Path]:
    """Checkpoints, newest first."""
    found = [path for path in folder.glob("step-*") if path.name.removeprefix("step-").isdigit()]
    return sorted(found, key=lambda path: int(path.name.removeprefix("step-")), reverse=True)


def read(path: Path, recipe: Recipe) -> tuple[State, Tensors]:
    """What a checkpoint holds. RefusedError for one of another recipe or Danlu."""
    with _refused(path):
        stored = read_json(path / "state.json")
        if stored.pop("settings") != settings(recipe):
            raise ValueError
        files = {name: path / f"{name}.safetensors" for name in Tensors._fields}
        return State(**stored), Tensors(**{name: load_file(file) if file.exists() else None for name, file in files.items()})


def restore(path: Path, tensors: Tensors, model: Model, optimizer: torch.optim.Optimizer) -> Tensors:
    """Fills model and optimizer with the tensors of the checkpoint at `path`; gives them back where and divided as the model's own are."""
    with _refused(path):
        own = model.state_dict()
        model.load_state_dict(_placed(tensors.model, own))
        restore_optimizer(optimizer, tensors.optimizer)
        best, average = (None if beside is None else _placed(beside, own) for beside in (tensors.best, tensors.average))
        return tensors._replace(best=best, average=average)


@contextmanager
def _refused(path: Path) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise RefusedError("train.checkpoint-differs", path, path=path) from error


def _placed(tensors: dict[str, Tensor], own: dict[str, Tensor]) -> dict[str, Tensor]:
    if any(own[name].shape != tensor.shape for name, tensor in tensors.items()):
        raise ValueError
    return {name: like(tensor, own[name]) for name, tensor in tensors.items()}


def settings(recipe: Recipe) -> int:
    """A number that stands for every setting on which the weights depend; where the data lies and what watches may change."""
    train = recipe.train.model_dump(mode="json", exclude={"device", "parallel", "threads", "precision", "save", "listeners"})
    return key(json.dumps([recipe.task, recipe.model.model_dump(mode="json", exclude={"pretrained"}), train, recipe.seed]))


def _plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copies without shared memory, as safetensors wants them."""
    return {name: whole(tensor.detach()).cpu().clone().contiguous() for name, tensor in tensors.items()}
