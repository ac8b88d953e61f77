"""Adapters beside single layers, through peft: they are merged into those layers in the end.

LoRA (Hu et al. 2021, arXiv 2106.09685), DoRA (Liu et al. 2024, arXiv 2402.09353) and (IA)3 (Liu et al. 2022, arXiv 2205.05638). (IA)3 scales
what each layer of the body gives: the paper's keys, values and inner dense layers among them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from danlu.core.errors import InputError
from danlu.core.files import write_json
from danlu.nn.model import Model

METHODS = ("lora", "dora", "ia3")
ADAPTER = "default"
_BASE = ".base_layer."
_FITTING = {"lora": (nn.Conv1d, nn.Conv2d), "dora": (nn.Conv1d, nn.Conv2d), "ia3": (nn.Conv2d,)}  # beside linear layers


def inject(model: Model, method: str, rank: int) -> None:
    """Puts adapters beside the body's linear and convolutional layers; InputError where it has none."""
    from peft import IA3Config, LoraConfig, inject_adapter_in_model

    targets = [name for name, module in _body_layers(model) if _fits(module, method)]
    if not targets:
        raise InputError("adapt.no-layers", "model.adapt", method=method)
    if method == "ia3":
        config = IA3Config(target_modules=targets, feedforward_modules=[])
    else:
        config = LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules=targets, use_dora=method == "dora")
    inject_adapter_in_model(config, model, adapter_name=ADAPTER)
    for name, p in model.named_parameters():
        p.is_scale = ".ia3_l." in name or ".lora_magnitude_vector." in name


def merged(model: Model, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """`weights` (by names on disk) under their plain names, the adapters added into the layers that they stand beside."""
    adapted = dict(_adapted(model))
    beside = tuple(f"{name.removeprefix(model.prefix)}." for name in adapted)
    plain = {name.replace(_BASE, "."): tensor for name, tensor in weights.items() if _BASE in name or not name.startswith(beside)}
    for name, module in adapted.items():
        plain |= {f"{name.removeprefix(model.prefix)}.{part}": tensor for part, tensor in _merged_layer(module).items()}
    return plain


def learned(model: Model) -> dict[str, Tensor]:
    """What the adapters learned, by peft's names in a folder."""
    from peft import get_peft_model_state_dict

    found = get_peft_model_state_dict(model, adapter_name=ADAPTER, save_embedding_layers=False)
    return {f"base_model.model.{name.removeprefix(model.prefix)}": tensor for name, tensor in found.items()}


def write(model: Model, folder: Path, config: Any, tensors: dict[str, Tensor]) -> None:
    """Adapter and head in peft's format; `config` is peft's."""
    inner = "base_model." if config.is_prompt_learning else "base_model.model."
    head = {id(p) for p in model.head.parameters()}
    names = [name.removeprefix(model.prefix) for name, p in model.named_parameters() if id(p) in head]
    weights = model.weights()
    if not config.is_prompt_learning:
        config.target_modules = sorted(name.removeprefix(model.prefix) for name, _ in _adapted(model))
    config.modules_to_save = sorted({name.rpartition(".")[0] for name in names})
    config.inference_mode = True
    folder.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(folder)
    _save(tensors | {f"{inner}{name}": weights[name] for name in names}, folder)


def write_plain(tensors: dict[str, Tensor], folder: Path, about: dict[str, Any]) -> None:
    """An adapter that peft has no format for, by names on disk."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "adapter.json", about)
    _save(tensors, folder)


def _save(tensors: dict[str, Tensor], folder: Path) -> None:
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    save_file(plain, folder / "adapter_model.safetensors", metadata={"format": "pt"})


def _merged_layer(module: nn.Module) -> dict[str, Tensor]:
    """Weight and bias with the adapter merged in by peft; the layer is left as it was, bit for bit."""
    base = module.get_base_layer()
    before = {name: p.data.clone() for name, p in base.named_parameters()}
    with torch.no_grad():
        module.merge()
    found = {name: p.data for name, p in base.named_parameters()}
    for name, p in base.named_parameters():
        p.data = before[name]
    module.merged_adapters.clear()
    return found


def _body_layers(model: Model) -> Iterator[tuple[str, nn.Module]]:
    """Modules outside the head by name; those inside attention that reads its weights by itself are left out."""
    reading = [module for module in model.modules() if isinstance(module, nn.MultiheadAttention)]
    hidden = {id(inner) for module in [model.head, *reading] for inner in module.modules()}
    return ((name, module) for name, module in model.named_modules() if id(module) not in hidden)


def _fits(module: nn.Module, method: str) -> bool:
    whole = isinstance(module, _FITTING[method]) and module.groups == 1 and set(module.dilation) == {1}
    if not (whole or isinstance(module, nn.Linear)):
        return False
    return method != "dora" or bool(module.weight.flatten(1).norm(dim=1).all())  # by which DoRA divides


def _adapted(model: Model) -> Iterator[tuple[str, nn.Module]]:
    return ((name, module) for name, module in model.named_modules() if hasattr(module, "base_layer") and hasattr(module, "merge"))
