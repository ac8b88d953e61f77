"""A bundle on disk: written whole, checked whole, loaded without running anything that stands in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from danlu.bundle.folder import ABOUT, FORMAT, TASK, WEIGHTS, find, problem_of, read_about
from danlu.core.errors import RefusedError
from danlu.core.files import folder_aside, read_json, write_json
from danlu.core.recipe import Model as ModelSpec
from danlu.nn import adapt
from danlu.nn.model import Model
from danlu.tasks.table import OWN_MODEL, OWN_TASK, allow, build_task
from danlu.tasks.task import Task

CARD = "card.md"


@dataclass(frozen=True)
class Bundle:
    """A loaded bundle: the folder, what `danlu.json` says, the task with its facts and the model in evaluation mode."""

    path: Path
    about: dict[str, Any]
    task: Task
    model: Model


def save(folder: Path, task: Task, model: Model, about: dict[str, Any], card: str) -> None:
    """Writes the bundle aside and renames it into place; an older one there is replaced at the end.

    With adapters `model.safetensors` holds the merged weights, and `adapter/` the adapter beside them. What cannot be merged stands in
    `adapter/` alone, and `danlu.json` says under `adapter` how the model is put together.
    """
    spec = task.model.model_copy(update={"pretrained": None, "adapt": ModelSpec().adapt}).model_dump(mode="json")
    facts = {
        "format": FORMAT,
        "task": {"name": about["task_name"], **task.options.model_dump(mode="json")},
        "model": spec,
        **about,
        **({"adapter": model.adapter} if model.adapter else {}),
    }
    with folder_aside(folder, ABOUT, facts) as aside:
        write_json(aside / TASK, task.state())
        save_file(
            {name: t.detach().cpu().contiguous() for name, t in adapt.merged(model).items()}, aside / WEIGHTS, metadata={"format": "pt"}
        )
        (aside / CARD).write_text(card, encoding="utf8")
        task.export(aside)
        adapt.adapter_files(model, aside)


def load(path: str | Path) -> Bundle:
    """Checks every hash, rebuilds task and model and fills in the weights. RefusedError says what does not fit."""
    folder = find(path)
    about = read_about(folder)
    try:
        name, options = about["task"]["name"], {k: v for k, v in about["task"].items() if k != "name"}
        spec = ModelSpec.model_validate(about["model"])
        allow(name, OWN_TASK)
        allow(spec.architecture or "", OWN_MODEL)
        task = build_task(name, options, spec)
        task.restore(read_json(folder / TASK))
        model = task.build()
        if about.get("adapter"):
            adapt.rebuild(model, about["adapter"])
    except RefusedError:
        raise
    except Exception as error:  # whatever a damaged or hand-made file provokes, the answer is the same
        raise RefusedError("bundle.bad-file", folder, path=folder, problem=problem_of(error)) from error
    weights = read_weights(folder / WEIGHTS, folder)
    if model.adapter:
        weights |= adapt.stored(model, read_weights(folder / adapt.FILE, folder))
    fill(model, weights, folder)
    model.settle()
    return Bundle(folder, about, task, model.eval())


def read_weights(file: Path, folder: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file; RefusedError for a damaged one or one with NaN."""
    try:
        weights = load_file(file)
    except (SafetensorError, OSError, ValueError) as error:
        raise RefusedError("bundle.bad-file", folder, path=folder, problem=problem_of(error)) from error
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise RefusedError("bundle.nan-weights", folder, path=folder, name=name)
    return weights


def fill(model: Model, weights: dict[str, Tensor], folder: Path) -> None:
    """`model.load_weights` with the refusal that names the tensor."""
    try:
        model.load_weights(weights)
    except (RuntimeError, KeyError) as error:
        first = next((line.strip() for line in str(error).splitlines()[1:]), problem_of(error))  # torch lists every tensor
        raise RefusedError("bundle.bad-weights", folder, path=folder, problem=first[:120].rstrip(". ")) from error
