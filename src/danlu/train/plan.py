"""What a run will need, before it is started: by formula at once, then measured on a few real steps in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from danlu.core.cache import cache_folder
from danlu.core.errors import InputError, ResourceError
from danlu.core.recipe import Optimizer, Recipe
from danlu.nn import adapt
from danlu.nn.model import Model, parameter_count
from danlu.train.checkpoint import KEPT
from danlu.train.muon import hidden_matrices
from danlu.train.prepare import Prepared, prepare
from danlu.train.progress import size
from danlu.train.start import few_rows

_BYTES = 4  # of a number in a weight, a gradient, a moment
_COPIES = {"adamw": 2, "adam": 2, "adagrad": 1, "lion": 1}  # of a trained weight that the optimizer keeps


@dataclass(frozen=True)
class Formula:
    """What follows from shapes alone. `least` is what weights, gradients, the optimizer and the best weights take: activations come on top."""

    parameters: int
    trainable: int
    least: int
    disk: int


@dataclass(frozen=True)
class Plan:
    """In bytes and seconds; peaks are those of the whole process. `largest_batch` is how many rows fit into `available` bytes."""

    parameters: int
    trainable: int
    peak_memory_bytes: dict[str, int]
    seconds_per_epoch: float
    disk_bytes: int
    largest_batch: int
    available_bytes: int
    batch: int

    @property
    def fits(self) -> bool:
        return self.batch <= self.largest_batch

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def plan(recipe: Recipe, hear: Callable[[Formula], None] = lambda formula: None) -> Plan:
    """Predicts a run of `recipe`; `hear` gets the formula first. InputError where `train` would refuse, ResourceError where not even a row fits."""
    available = available_bytes()
    prepared = prepare(recipe)
    shape = formula(prepared)
    hear(shape)
    if shape.least > available:
        raise ResourceError("plan.too-large", "model", least=size(shape.least), available=size(available))
    resolved = prepared.recipe
    epochs = resolved.train.epochs
    del prepared
    with tempfile.TemporaryDirectory(prefix="danlu-plan-") as folder:
        found = _probed(resolved, Path(folder))
        evaluated = _evaluated(resolved, Path(folder))
    seconds = found["epoch_s"] + (found["first_s"] + found["encode_s"]) / epochs
    saves = 1 + int(seconds * epochs / resolved.train.save.every) if resolved.train.save.unit == "seconds" else KEPT
    return Plan(
        shape.parameters,
        shape.trainable,
        {"train": found["peak"], "evaluate": evaluated or found["peak"]},
        seconds,
        found["disk"] + found["checkpoint"] * min(KEPT, saves),
        largest(found, available),
        available,
        found["rows"][1],
    )


def formula(prepared: Prepared) -> Formula:
    """Counts the model that the recipe describes, without its weights."""
    spec = prepared.recipe
    tried = spec.model.adapt.method in ("bottleneck", "prompt", "prefix")  # what they add follows from a forward pass
    with torch.device("cpu" if tried else "meta"):
        model = prepared.task.build()
    if tried:
        model.settle()
    if spec.model.pretrained:
        adapt.apply(model, spec.model.adapt, few_rows(prepared))
    total, trained = parameter_count(model), sum(p.numel() for p in model.parameters() if p.requires_grad)
    buffers = sum(buffer.numel() for buffer in model.buffers())
    weights = _BYTES * (total + buffers)
    moments = optimizer_bytes(model, spec.train.optimizer)
    return Formula(total, trained, 2 * weights + _BYTES * trained + moments, weights + KEPT * (2 * weights + moments))


def optimizer_bytes(model: Model, spec: Optimizer) -> int:
    """What the optimizer keeps of the trained weights, step counts left out."""
    trained = [p for p in model.parameters() if p.requires_grad]
    if spec.name == "adafactor":  # rows and columns of a matrix, all of a vector
        return _BYTES * sum(p.numel() // p.shape[-1] + p.numel() // p.shape[-2] if p.ndim > 1 else p.numel() for p in trained)
    if spec.name == "muon":
        hidden = hidden_matrices(model)
        return _BYTES * sum(p.numel() * (1 if id(p) in hidden else 2) for p in trained)
    copies = {"sgd": bool(spec.momentum), "rmsprop": 1 + bool(spec.momentum)} | _COPIES
    return _BYTES * copies[spec.name] * sum(p.numel() for p in trained)


def largest(found: dict[str, Any], available: int) -> int:
    """Rows of the costliest kind that fit into `available` bytes, by the peaks with half of such a batch and the whole."""
    (few, many), (low, high) = found["rows"], found["peaks"]
    row = (high - low) / max(1, many - few)
    room = available - found["peak"]
    return max(1, many + int(room / row)) if row > 0 else many if room >= 0 else 1


def available_bytes() -> int:
    """Memory that a new process may take: what the system says is left, and what the control group allows."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf8").splitlines()
        left = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        left = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(left, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    except (OSError, ValueError):
        return left


def _probed(recipe: Recipe, folder: Path) -> dict[str, Any]:
    """The probe's answer. Its cache is its own, so that frozen stages are computed as in a first run; archives stay unpacked."""
    train = recipe.train.model_copy(update={"epochs": 2})
    stop = train.early_stopping.model_copy(update={"patience": 0})
    file = folder / "recipe.json"
    file.write_text(
        recipe.model_copy(update={"train": train.model_copy(update={"early_stopping": stop})}).model_dump_json(), encoding="utf8"
    )
    (folder / "cache").mkdir()
    for room in cache_folder().iterdir() if cache_folder().is_dir() else ():
        if room.name != "prefix":
            (folder / "cache" / room.name).symlink_to(room.resolve())
    return _child(str(file), str(folder / "run"), cache=str(folder / "cache"))


def _evaluated(recipe: Recipe, folder: Path) -> int | None:
    """The peak of evaluating the bundle on the recipe's data, where that is one file or folder."""
    data = recipe.data.split.test if isinstance(recipe.data.split.test, str) else recipe.data.path
    return _child("evaluate", str(folder / "run"), data)["peak"] if isinstance(data, str) else None


def _child(*words: str, cache: str | None = None) -> dict[str, Any]:
    environment = {**os.environ} | ({"DANLU_CACHE": cache} if cache else {})
    command = [sys.executable, "-m", "danlu.train.probe", *words]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode in (3, -9):
        raise ResourceError("plan.no-room", "train.batch_size")
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        problem = (
            json.loads(lines[-1])["error"]["message"] if done.returncode in (1, 2, 4) and lines else done.stderr.strip().splitlines()[-1:]
        )
        raise InputError("plan.probe-failed", words[0], problem=problem)
    return json.loads(lines[-1])
