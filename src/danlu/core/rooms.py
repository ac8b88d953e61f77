"""`danlu.train` is a room of the house and a verb of the Python API: a room whose name is a verb can be called."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


def verb(module: str) -> None:
    """Makes the package `module` callable as the function of the same name in `danlu.api`."""

    class Room(ModuleType):
        def __call__(self, *args: Any, **named: Any) -> Any:
            return getattr(import_module("danlu.api"), module.rpartition(".")[2])(*args, **named)

    sys.modules[module].__class__ = Room
