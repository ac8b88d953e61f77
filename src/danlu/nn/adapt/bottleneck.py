"""Bottleneck adapters, one behind each stage of the body but the first (one a layer, as in Pfeiffer et al. 2021, arXiv 2005.00247).

peft has none, so they are Danlu's own; they are not linear and cannot be merged into weights.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from danlu.core.errors import InputError
from danlu.nn.added import Bottleneck
from danlu.nn.model import Model


def widths(model: Model, batch: dict[str, Tensor]) -> dict[str, int]:
    """The width of what each stage of the body gives, by the name of its module; InputError where none gives plain vectors."""
    bodies = [_called(stage) for stage in model.stages()[1:-1]]
    names = {id(module): name for name, module in model.named_modules()}
    found: dict[str, int] = {}

    def look(module: nn.Module, args: Any, output: Any) -> None:
        first = output[0] if isinstance(output, tuple) else output
        if isinstance(first, Tensor) and first.is_floating_point() and first.ndim >= 2:
            found[names[id(module)]] = first.shape[1 if first.ndim == 4 else -1]

    hooks = [module.register_forward_hook(look) for module in bodies]
    training = model.training
    try:
        with torch.no_grad():
            model.eval()(batch)
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    if not found:
        raise InputError("adapt.no-layers", "model.adapt", method="bottleneck")
    return found


def add(model: Model, found: dict[str, int], narrow: int) -> None:
    """Puts an adapter behind each module of `found`, which is inside it from now on."""
    for name, width in found.items():
        module = model.get_submodule(name)
        module.add_module("adapter", Bottleneck(width, narrow))
        if not isinstance(module, nn.Sequential):  # which runs what it holds
            module.register_forward_hook(_through, prepend=True)
    model.adapter = {"method": "bottleneck", "width": narrow, "widths": found}


def _through(module: nn.Module, args: Any, output: Any) -> Any:
    return (module.adapter(output[0]), *output[1:]) if isinstance(output, tuple) else module.adapter(output)


def _called(stage: nn.Module) -> nn.Module:
    return stage[0] if isinstance(stage, nn.ModuleList) and len(stage) else stage
