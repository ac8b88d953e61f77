"""Choosing a method for a model, and what its bundle keeps of it. Whatever the method, the head is trained.

`full` and `gradual` train everything, `head`, `last` and `named` parts of it; the others freeze it and train what they add. Low-rank and
scaling layers (nn/adapt/layers.py) are merged into the weights in the end. What cannot be merged stands in `model.adapter`: the bundle
records it and rebuilds it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from danlu.core.recipe import Adapt
from danlu.nn.adapt import bottleneck, layers, parts
from danlu.nn.added import Added, Vectors
from danlu.nn.model import Model

FILE = "adapter/adapter_model.safetensors"
_PROMPT = "prompt_embeddings"  # as peft names them


def apply(model: Model, adapt: Adapt, batch: dict[str, Tensor]) -> None:
    """Sets `requires_grad` and adds modules; `batch` is a few rows to try them on. InputError where the method makes no sense for the model."""
    if adapt.method in ("full", "gradual"):
        return
    model.requires_grad_(False)
    if adapt.method in layers.METHODS:
        layers.inject(model, adapt.method, adapt.rank)
    elif adapt.method == "bottleneck":
        bottleneck.add(model, bottleneck.widths(model, batch), adapt.width)
    elif adapt.method in ("prompt", "prefix"):
        _add_vectors(model, adapt.method, adapt.tokens)
    for part in parts.chosen(model, adapt):
        part.requires_grad_(True)


def rebuild(model: Model, adapter: dict[str, Any]) -> None:
    """Puts back what `model.adapter` said, with values to be filled in."""
    if adapter["method"] == "bottleneck":
        bottleneck.add(model, adapter["widths"], adapter["width"])
    else:
        _add_vectors(model, adapter["method"], adapter["tokens"])


def _add_vectors(model: Model, method: str, tokens: int) -> None:
    {"prompt": model.add_prompt, "prefix": model.add_prefix}[method](tokens)
    model.adapter = {"method": method, "tokens": tokens}


def begin_epoch(model: Model, adapt: Adapt, epoch: int) -> None:
    """Puts the model in training mode, opens what is trained in this epoch and lets what is frozen answer as in evaluation."""
    model.train()
    if adapt.method == "gradual":
        parts.open_stages(model, adapt.every, epoch)
    frozen_eval(model)


def frozen_eval(model: Model) -> None:
    """After `model.train()`: frozen first stages answer as in evaluation (no dropout), frozen batch norms keep their statistics."""
    for stage in parts.frozen_prefix(model):
        stage.eval()
    for module in model.modules():
        if isinstance(module, _BatchNorm) and module.weight is not None and not module.weight.requires_grad:
            module.eval()


def merged(model: Model) -> dict[str, Tensor]:
    """The weights under their plain names on disk: adapters are added into the layers that they stand beside, or left out (`model.adapter`)."""
    added = _added(model)
    plain = {name: tensor for name, tensor in model.weights().items() if not name.startswith(added)}
    return layers.merged(model, plain)


def adapter_files(model: Model, folder: Path) -> None:
    """Writes `folder/adapter` where the model has adapters: what was learned, without the base; in peft's format, with the head, where it has one."""
    if hasattr(model, "peft_config"):
        layers.write(model, folder / "adapter", model.peft_config[layers.ADAPTER], layers.learned(model))
    elif model.adapter is not None:
        weights, added = model.weights(), _added(model)
        learned = {name: tensor for name, tensor in weights.items() if name.startswith(added)}
        if model.adapter["method"] != "prompt":
            layers.write_plain(learned, folder / "adapter", model.adapter)
            return
        from peft import PromptTuningConfig

        (vectors_PD,) = learned.values()
        settings = {"num_virtual_tokens": len(vectors_PD), "token_dim": vectors_PD.shape[1], "num_transformer_submodules": 1}
        config = PromptTuningConfig(task_type="SEQ_CLS", **settings)
        layers.write(model, folder / "adapter", config, {_PROMPT: vectors_PD})


def stored(model: Model, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """What `adapter_files` wrote of a method that cannot be merged, by names on disk, from the tensors of its file."""
    if _PROMPT not in tensors:
        return tensors
    (name,) = (f"{name}.values" for name, module in model.named_modules() if isinstance(module, Vectors))
    return {name.removeprefix(model.prefix): tensors[_PROMPT]}


def _added(model: Model) -> tuple[str, ...]:
    """How the names on disk of what was added begin."""
    return tuple(f"{name.removeprefix(model.prefix)}." for name, module in model.named_modules() if isinstance(module, Added))
