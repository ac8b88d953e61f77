"""Every task by name. Adding one is one file and one line here; `tests/conformance` then covers it.

A recipe may also name `module:Class`, a task of the user's own. A bundle made with one is loaded only where `DANLU_MODULES` lists the
module, so that opening somebody's bundle never imports code that its owner chose.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

from pydantic import ValidationError

from danlu.core.errors import InputError, RefusedError
from danlu.core.recipe import Model
from danlu.core.recipe_file import explain, nearest
from danlu.tasks.task import Task

OWN_TASK, OWN_MODEL = "danlu.tasks.task:Task", "danlu.nn.model:Model"  # what a class of the user's own is made from
TASKS: dict[str, str] = {
    "text-classification": "danlu.tasks.text_classification:TextClassification",
    "image-classification": "danlu.tasks.image_classification:ImageClassification",
    "audio-classification": "danlu.tasks.audio_classification:AudioClassification",
}


def task_class(name: str) -> type[Task]:
    """The class of a task by name or `module:Class`; InputError with the nearest name otherwise."""
    if name in TASKS:
        return _import(TASKS[name])
    if ":" not in name:
        near = nearest(name, TASKS)
        raise InputError("recipe.unknown-task-near" if near else "recipe.unknown-task", "task", name=name, near=near, known=", ".join(TASKS))
    return outside(name, OWN_TASK)


def outside(name: str, base: str) -> Any:
    """A class of the user's own, `module:Class`, looked for beside the current folder too. InputError where it is no subclass of `base`."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = _import(name)
    except Exception as error:  # whatever the user's module does when it is imported
        raise InputError("recipe.no-module", name, name=name, problem=" ".join(str(error).split()) or type(error).__name__) from error
    if not isinstance(found, type) or base not in {f"{parent.__module__}:{parent.__qualname__}" for parent in found.__mro__}:
        raise InputError("recipe.wrong-class", name, name=name, base=base)
    return found


def build_task(name: str, options: dict[str, Any], model: Model, steps: list[str] | None = None) -> Task:
    """A task from plain values; an unknown option is an InputError with the nearest real one."""
    cls = task_class(name)
    try:
        checked = cls.Options.model_validate(options)
    except ValidationError as error:
        raise explain(error, "recipe", {}, cls.Options, prefix=("task",)) from None
    task = cls(checked, model)
    task.steps = steps
    return task


def allow(name: str, base: str) -> None:
    """Imports a class outside Danlu that a bundle names; RefusedError where neither this process nor `DANLU_MODULES` has named its module."""
    module = name.partition(":")[0]
    if ":" not in name:
        return
    if module not in sys.modules and module not in os.environ.get("DANLU_MODULES", "").split(","):
        raise RefusedError("bundle.outside-code", name, name=name, module=module)
    outside(name, base)


def _import(dotted: str) -> Any:
    module, _, attribute = dotted.partition(":")
    return getattr(import_module(module), attribute)
