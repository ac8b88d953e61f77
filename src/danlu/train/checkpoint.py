"""Checkpoints: everything that resuming needs, written aside, hashed, renamed. The newest whole one is found by checking, never by trust."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from danlu.core.errors import RefusedError
from danlu.core.files import broken, folder_aside, read_json, write_json
from danlu.core.randomness import key
from danlu.core.recipe import Recipe
from danlu.nn.model import Model
from danlu.train.optim import optimizer_tensors, restore_optimizer

BESIDE = ("best", "average")  # weights beside those that are trained, where there are any
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
    loss_sum: float = 0.0  # since the last Stepped event
    loss_count: float = 0.0
    done: str = ""  # why training ended, once it has
    events: int = 0  # bytes of events.jsonl that belong to this state


def save(
    folder: Path, state: State, recipe: Recipe, model: Model, optimizer: torch.optim.Optimizer, beside: dict[str, dict[str, Tensor] | None]
) -> Path:
    """Writes `folder/step-N` whole, with the weights in `BESIDE`, then removes all but it and the one before; the path."""
    target = folder / f"step-{state.step}"
    with folder_aside(target) as aside:
        save_file(_plain(model.state_dict()), aside / "model.safetensors")
        save_file(_plain(optimizer_tensors(optimizer)), aside / "optimizer.safetensors")
        for name in BESIDE:
            if beside[name] is not None:
                save_file(_plain(beside[name]), aside / f"{name}.safetensors")
        write_json(aside / "state.json", {**asdict(state), "settings": _settings(recipe)})
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


def restore(path: Path, recipe: Recipe, model: Model, optimizer: torch.optim.Optimizer) -> tuple[State, dict[str, dict[str, Tensor] | None]]:
    """Fills model and optimizer from a checkpoint; its state and the weights in `BESIDE`. RefusedError for one of another recipe or Danlu."""
    try:
        stored = read_json(path / "state.json")
        if stored.pop("settings") != _settings(recipe):
            raise ValueError
        model.load_state_dict(load_file(path / "model.safetensors"))
        restore_optimizer(optimizer, load_file(path / "optimizer.safetensors"))
        files = {name: path / f"{name}.safetensors" for name in BESIDE}
        beside = {name: load_file(file) if file.exists() else None for name, file in files.items()}
        own = model.state_dict()
        if any(own[name].shape != tensor.shape for tensors in beside.values() for name, tensor in (tensors or {}).items()):
            raise ValueError
        return State(**stored), beside
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        raise RefusedError("train.checkpoint-differs", path, path=path) from error


def _settings(recipe: Recipe) -> int:
    """A number that stands for every setting on which the weights depend; where the data lies and what watches may change."""
    train = recipe.train.model_dump(mode="json", exclude={"device", "threads", "precision", "save", "listeners"})
    return key(json.dumps([recipe.task, recipe.model.model_dump(mode="json", exclude={"pretrained"}), train, recipe.seed]))


def _plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copies without shared memory, as safetensors wants them."""
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
