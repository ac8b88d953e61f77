"""From a recipe to what the loop turns, without torch: the data opened, the task fitted, every row accounted for, every default filled in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from danlu.bundle import folder as bundle_folder
from danlu.core.errors import InputError, RefusedError
from danlu.core.recipe import Model, Recipe
from danlu.core.recipe_file import explain, nearest
from danlu.core.stopwatch import Stopwatch
from danlu.data.contract import Contract, Encoded, account, usable
from danlu.data.dataset import Dataset, open_dataset
from danlu.nn.table import ARCHITECTURES
from danlu.tasks.table import OWN_MODEL, build_task, outside, task_class
from danlu.tasks.task import Task

_FALLBACK = {
    "train.epochs": 10,
    "train.batch_size": 32,
    "train.optimizer.name": "adamw",
    "train.optimizer.lr": 1e-3,
    "train.optimizer.weight_decay": 0.01,
    "train.early_stopping.patience": 5,
}

_OF_ADAMW = {  # learning rate and weight decay as multiples of AdamW's, where a recipe leaves them open
    "sgd": (25.0, 0.04),
    "adam": (1.0, 0.01),
    "adafactor": (10.0, 0.1),
    "rmsprop": (0.5, 0.01),
    "adagrad": (10.0, 0.01),
    "lion": (0.2, 5.0),
}


@dataclass(frozen=True)
class Prepared:
    """What stands before the first step. `recipe` is resolved: it says everything that was decided."""

    recipe: Recipe
    dataset: Dataset
    task: Task
    contract: Contract
    sides: dict[str, Encoded]
    watch: Stopwatch


def prepare(recipe: Recipe, watch: Stopwatch | None = None) -> Prepared:
    """Opens, splits, fits and encodes, timed by `watch`. InputError for data that cannot be read or that nothing can be learned from."""
    watch = watch or Stopwatch()
    cls = task_class(recipe.task_name)
    task = draft_task(recipe, cls)
    spec = task.model
    dataset = open_dataset(recipe.data, cls.inputs, cls.target, recipe.seed)
    usable(dataset)
    if spec.pretrained and bundle_folder.is_bundle(spec.pretrained):
        adopt(task, spec.pretrained)
    task.fit(dataset.rows(dataset.indices("train")))
    contract, sides = account(dataset, task, watch)
    decided = {**_FALLBACK, "train.early_stopping.metric": task.metric, **task.defaults(len(sides["train"].rows))}
    if not spec.pretrained:
        decided["model.architecture"] = spec.architecture
    if recipe.train.batch_tokens:
        del decided["train.batch_size"]
        if all(task.length(example) == 1 for example in sides["train"].examples):
            raise InputError("train.no-tokens", "train.batch_tokens")
    resolved = fill(recipe, for_optimizer(recipe.train.optimizer.name, decided))
    if resolved.train.schedule.name == "plateau" and not ("validation" in sides and len(sides["validation"].rows)):
        raise InputError("train.plateau-needs-validation", "train.schedule")
    return Prepared(resolved, dataset, task, contract, sides, watch)


def for_optimizer(name: str | None, decided: dict[str, Any]) -> dict[str, Any]:
    """`decided` for the optimizer that the recipe names: the task's rate and decay are AdamW's, and no other's are alike."""
    rate, decay = _OF_ADAMW.get(name or decided["train.optimizer.name"], (1.0, 1.0))
    scaled = {"train.optimizer.lr": rate, "train.optimizer.weight_decay": decay}
    return decided | {key: float(f"{decided[key] * times:.6g}") for key, times in scaled.items()}


def draft_task(recipe: Recipe, cls: type[Task]) -> Task:
    """The recipe's task with nothing learned yet: a wrong option or architecture is said before any data is read."""
    return build_task(recipe.task_name, recipe.task_options, model_spec(recipe, cls), recipe.data.augment)


def adopt(task: Task, bundle: str) -> None:
    """Gives the task what a bundle's task learned of its inputs; RefusedError where that is not what such a task learns."""
    facts = bundle_folder.start(bundle)[2]
    try:
        task.adopt(facts)
    except Exception as error:  # whatever a hand-made file provokes, the answer is the same
        raise RefusedError("bundle.bad-file", bundle, path=bundle, problem=bundle_folder.problem_of(error)) from error


def check(recipe: Recipe) -> Contract:
    """What training would keep, cut and drop. InputError where nothing can be learned."""
    return prepare(recipe).contract


def model_spec(recipe: Recipe, cls: type[Task]) -> Model:
    """The model with its architecture named: the recipe's, that of the bundle it starts from, or the task's default."""
    spec, kind = recipe.model, next(iter(cls.inputs.values()))
    if spec.pretrained and bundle_folder.is_bundle(spec.pretrained):
        found, base, _ = bundle_folder.start(spec.pretrained)
        if found != recipe.task_name:
            raise InputError("train.other-task", spec.pretrained, path=spec.pretrained, found=found, wanted=recipe.task_name)
        if base.architecture and ":" not in base.architecture and base.architecture not in ARCHITECTURES[kind]:
            raise RefusedError("bundle.bad-file", spec.pretrained, path=spec.pretrained, problem=base.architecture)
        return spec.model_copy(update={"architecture": base.architecture, "size": base.size})
    if spec.pretrained:
        if kind != "text":
            raise InputError("train.only-texts", "model.pretrained", name=spec.pretrained)
        return spec
    name = spec.architecture or cls.architecture
    if ":" in name:
        outside(name, OWN_MODEL)
    elif name not in ARCHITECTURES[kind]:
        near = nearest(name, ARCHITECTURES[kind])
        key = "recipe.unknown-architecture-near" if near else "recipe.unknown-architecture"
        raise InputError(key, "model.architecture", name=name, kind=kind, near=near, known=", ".join(ARCHITECTURES[kind]))
    return spec.model_copy(update={"architecture": name})


def fill(recipe: Recipe, decided: dict[str, Any]) -> Recipe:
    """The recipe with every open key that `decided` names (dotted) filled in."""
    tree = recipe.model_dump()
    for dotted, value in decided.items():
        *parents, last = dotted.split(".")
        here = tree
        for part in parents:
            here = here[part]
        if here[last] is None:
            here[last] = value
    try:
        return Recipe.model_validate(tree)
    except ValidationError as error:  # a setting that what was decided does not have
        raise explain(error, "recipe", {}, Recipe) from None
