"""A bundle on disk: written whole, checked whole, loaded without running anything that stands in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from danlu.core.errors import InputError, RefusedError
from danlu.core.files import broken, folder_aside, read_json, write_json
from danlu.core.recipe import Model as ModelSpec
from danlu.nn import adapt
from danlu.nn.model import Model
from danlu.tasks.table import allow, build_task
from danlu.tasks.task import Task

FORMAT = 1
ABOUT, TASK, WEIGHTS, CARD = "danlu.json", "task.json", "model.safetensors", "card.md"


@dataclass(frozen=True)
class Bundle:
    """A loaded bundle: the folder, what `danlu.json` says, the task with its facts and the model in evaluation mode."""

    path: Path
    about: dict[str, Any]
    task: Task
    model: Model


def save(folder: Path, task: Task, model: Model, about: dict[str, Any], card: str) -> None:
    """Writes the bundle aside and renames it into place; an older one there is replaced at the end.

    With adapters `model.safetensors` holds the merged weights, and `adapter/` the adapter beside them.
    """
    spec = task.model.model_copy(update={"pretrained": None, "adapt": ModelSpec().adapt}).model_dump(mode="json")
    facts = {
        "format": FORMAT,
        "task": {"name": about["task_name"], **task.options.model_dump(mode="json")},
        "model": spec | {"origin": "pretrained" if task.model.pretrained and not task.model.architecture else "scratch"},
        **about,
    }
    with folder_aside(folder, ABOUT, facts) as aside:
        write_json(aside / TASK, task.state())
        save_file({name: t.detach().cpu().contiguous() for name, t in adapt.merged(model).items()}, aside / WEIGHTS, metadata={"format": "pt"})
        (aside / CARD).write_text(card, encoding="utf8")
        task.export(aside)
        adapt.adapter_files(model, aside)


def find(path: str | Path) -> Path:
    """The bundle's folder, given itself or its run folder; InputError where there is none."""
    path = Path(path)
    for folder in (path, path / "bundle"):
        if (folder / ABOUT).is_file():
            return folder
    if (path / "recipe.yaml").is_file():
        raise InputError("bundle.unfinished", path, path=path)
    raise InputError("bundle.not-a-bundle", path, path=path)


def is_bundle(path: str | Path) -> bool:
    """Whether a folder is a bundle or a run that has one."""
    return any((folder / ABOUT).is_file() for folder in (Path(path), Path(path) / "bundle"))


def load(path: str | Path) -> Bundle:
    """Checks every hash, rebuilds task and model and fills in the weights. RefusedError says what does not fit."""
    folder = find(path)
    about = _about(folder)
    name = about["task"]["name"]
    allow(name)
    allow(about["model"].get("architecture") or "")
    try:
        options = {k: v for k, v in about["task"].items() if k != "name"}
        spec = ModelSpec.model_validate({k: v for k, v in about["model"].items() if k != "origin"})
        task = build_task(name, options, spec)
        task.restore(read_json(folder / TASK))
        model = task.build()
    except RefusedError:
        raise
    except Exception as error:  # whatever a damaged or hand-made file provokes, the answer is the same
        raise RefusedError("bundle.bad-file", folder, path=folder, problem=_problem(error)) from error
    fill(model, read_weights(folder / WEIGHTS, folder), folder)
    return Bundle(folder, about, task, model.eval())


def read_weights(file: Path, folder: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file; RefusedError for a damaged one or one with NaN."""
    try:
        weights = load_file(file)
    except (SafetensorError, OSError, ValueError) as error:
        raise RefusedError("bundle.bad-file", folder, path=folder, problem=_problem(error)) from error
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise RefusedError("bundle.nan-weights", folder, path=folder, name=name)
    return weights


def fill(model: Model, weights: dict[str, Tensor], folder: Path) -> None:
    """`model.load_weights` with the refusal that names the tensor."""
    try:
        model.load_weights(weights)
    except (RuntimeError, KeyError) as error:
        raise RefusedError("bundle.bad-weights", folder, path=folder, problem=_problem(error)) from error


def _about(folder: Path) -> dict[str, Any]:
    try:
        about = read_json(folder / ABOUT)
        found = about["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise RefusedError("bundle.bad-file", folder, path=folder, problem=_problem(error)) from error
    if found != FORMAT:
        raise RefusedError("bundle.newer", folder, path=folder, found=found, known=FORMAT)
    bad = broken(folder, ABOUT)
    if bad is None:
        bad = next((name for name in (TASK, WEIGHTS) if name not in about["files"]), None)
    if bad:
        raise RefusedError("bundle.damaged", folder, path=folder, name=bad)
    return about


def _problem(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
