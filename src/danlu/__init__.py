"""Danlu (丹炉): a recipe turns rows into a bundle; a bundle turns rows into predictions.

>>> import danlu
>>> run = danlu.train("recipe.yaml")
>>> run.report["metrics"]["test"]["accuracy"]
>>> danlu.load(run.path).predict(["a new text"])
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

from danlu.core.idle import idle
from danlu.core.kernels import keep_some

# OpenMP's threads wait for each other thousands of times in a step. Spinning a little wakes them sooner, a step is a quarter shorter; on a
# machine that has other work, spinning threads take the core from those they wait for, and steps took three times as long.
# The library reads this once, when torch loads it, so it has to stand here.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    if idle():
        os.environ.setdefault("GOMP_SPINCOUNT", "3000")
keep_some()

__version__ = "0.1.0"
__all__ = ["check", "evaluate", "find_lr", "load", "prove", "resume", "serve", "train"]
_MODULES = ("api", "train", "evaluate", "serve")


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"danlu.{name}")
    if name in __all__:
        return getattr(import_module("danlu.api"), name)
    raise AttributeError(f"module 'danlu' has no attribute {name!r}")
