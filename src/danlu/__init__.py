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

# OpenMP's threads spin while they wait, and on a machine that is not idle they spin each other out: steps took three times as long.
# The library reads this once, when torch loads it, so it has to stand here.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# oneDNN keeps 1,024 compiled kernels, one for each shape: rows laid end to end have a new shape in each batch, and hundreds of megabytes
# went into kernels that never ran again.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128")

__version__ = "0.1.0"
__all__ = ["check", "evaluate", "find_lr", "load", "prove", "resume", "serve", "train"]
_MODULES = ("api", "train", "evaluate", "serve")


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"danlu.{name}")
    if name in __all__:
        return getattr(import_module("danlu.api"), name)
    raise AttributeError(f"module 'danlu' has no attribute {name!r}")
