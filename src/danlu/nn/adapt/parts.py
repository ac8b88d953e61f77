"""Training a part of a model as it is: the head, the last layers, layers by name, or one more stage from the top as epochs pass."""

from __future__ import annotations

from difflib import get_close_matches
from fnmatch import fnmatchcase

from torch import nn

from danlu.core.errors import InputError
from danlu.core.recipe import Adapt
from danlu.nn.model import Model


def chosen(model: Model, adapt: Adapt) -> list[nn.Module | nn.Parameter]:
    """What of the model itself is trained from the first epoch to the last."""
    if adapt.method == "last":
        return model.stages()[-1 - adapt.layers :]
    return [model.head, *(named(model, adapt.names) if adapt.method == "named" else [])]


def named(model: Model, patterns: list[str]) -> list[nn.Module | nn.Parameter]:
    """Modules and parameters whose name on disk, or its end, a pattern fits (fnmatch). InputError for a pattern that fits none."""
    known = {name.removeprefix(model.prefix): part for name, part in [*model.named_modules(), *model.named_parameters()] if name}
    found: list[nn.Module | nn.Parameter] = []
    for pattern in patterns:
        fitting = [part for name, part in known.items() if fnmatchcase(name, pattern) or fnmatchcase(name, f"*.{pattern}")]
        if not fitting:
            ends = {".".join(name.split(".")[i:]) for name in known for i in range(name.count(".") + 1)}
            near = get_close_matches(pattern, sorted(ends), n=3, cutoff=0.5) or [name for name in known if "." not in name]
            raise InputError("adapt.no-name", "model.adapt.names", pattern=pattern, near=", ".join(near))
        found += fitting
    return found


def open_stages(model: Model, every: int, epoch: int) -> None:
    """Gradual unfreezing (Howard, Ruder 2018, arXiv 1801.06146): the head first, one more stage from the top each `every` epochs."""
    stages = model.stages()
    for depth, stage in enumerate(reversed(stages)):
        stage.requires_grad_(depth <= epoch // every)


def frozen_prefix(model: Model) -> list[nn.Module]:
    """The first stages, up to the first that is trained, where they hold frozen parameters at all."""
    prefix: list[nn.Module] = []
    for stage in model.stages():
        if any(p.requires_grad for p in stage.parameters()):
            break
        prefix.append(stage)
    return prefix if any(True for stage in prefix for _ in stage.parameters()) else []
