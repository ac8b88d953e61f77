"""Danlu (丹炉): a recipe turns rows into a bundle; a bundle turns rows into predictions.

>>> import danlu
>>> run = danlu.train("recipe.yaml")
>>> run.report["metrics"]["test"]["accuracy"]
>>> danlu.load(run.path).predict(["a new text"])
"""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"
__all__ = ["check", "evaluate", "load", "resume", "train"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from importlib import import_module

        return getattr(import_module("danlu.cli.api"), name)
    raise AttributeError(name)
