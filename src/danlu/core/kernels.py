"""How many compiled kernels are kept in memory. Decided before torch is loaded, which reads it once, so nothing here imports it.

oneDNN, and torch once more before it, keep 1,024, one for each shape: rows laid end to end have a new shape in each batch, and hundreds of
megabytes went into kernels that never ran again. With too few, a network of ten convolutions compiles its own at every step.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from danlu.core.recipe import Recipe

_ONEDNN, _TORCH = "ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"
_FEW, _USUAL = "64", "256"


def keep_some() -> None:
    """Enough for any network; what the environment says already stays."""
    os.environ.setdefault(_ONEDNN, _USUAL)
    os.environ.setdefault(_TORCH, _FEW)


def keep_for(recipe: Recipe) -> None:
    """Fewer where the recipe trains a transformer on texts, whose products of matrices are compiled in no time and hardly ever come again.

    For a process that does nothing else; one that has loaded torch keeps what it has.
    """
    if "torch" not in sys.modules and os.environ.get(_ONEDNN) == _USUAL and recipe.task_name == "text-classification" and _is_transformer(recipe):
        os.environ[_ONEDNN] = _FEW


def _is_transformer(recipe: Recipe) -> bool:
    base = recipe.model.pretrained
    if not base:
        return recipe.model.architecture == "transformer"
    folder = Path(base)
    return not folder.exists() or any((folder / inside / "config.json").exists() for inside in ("", "bundle"))
