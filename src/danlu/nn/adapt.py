"""Which part of a model is trained: all of it, the head, the last layers, or low-rank adapters beside frozen layers (LoRA, Hu et al. 2021).

Works on any Model through its `stages()`. Whatever the method, the head is trained.
"""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from danlu.core.errors import InputError
from danlu.core.recipe import Adapt
from danlu.nn.model import Model

ADAPTER = "default"
_BASE = ".base_layer."


def apply(model: Model, adapt: Adapt) -> None:
    """Sets `requires_grad`; `lora` puts adapters beside the body's linear and convolutional layers, an InputError where it has none."""
    if adapt.method == "full":
        return
    stages = model.stages()
    trained = stages[-1:] if adapt.method in ("head", "lora") else stages[-1 - adapt.layers :]
    model.requires_grad_(False)
    if adapt.method == "lora":
        _inject(model, adapt.rank)
    for stage in trained:
        stage.requires_grad_(True)


def frozen_eval(model: Model) -> None:
    """After `model.train()`: frozen first stages answer as in evaluation (no dropout), frozen batch norms keep their statistics."""
    for stage in _frozen_prefix(model):
        stage.eval()
    for module in model.modules():
        if isinstance(module, _BatchNorm) and module.weight is not None and not module.weight.requires_grad:
            module.eval()


def merged(model: Model) -> dict[str, Tensor]:
    """All weights under their plain names on disk, adapters added into the layers that they stand beside."""
    plain = {name.replace(_BASE, "."): tensor for name, tensor in model.weights().items() if not _is_adapter(name)}
    for name, module in _adapted(model).items():
        on_disk = f"{name.removeprefix(model.prefix)}.weight"
        plain[on_disk] = plain[on_disk] + module.get_delta_weight(ADAPTER).detach().to(plain[on_disk].dtype)
    return plain


def adapter_files(model: Model, folder: Path) -> None:
    """Writes `folder/adapter` in peft's format where the model has adapters: what was learned, the head included, without the base."""
    if not _adapted(model):
        return
    head = {id(p) for p in model.head.parameters()}
    names = [name.removeprefix(model.prefix) for name, p in model.named_parameters() if id(p) in head]
    weights = model.weights()
    learned = {name.replace(f".{ADAPTER}.", "."): tensor for name, tensor in weights.items() if _is_adapter(name)}
    learned |= {name: weights[name] for name in names}
    config = model.peft_config[ADAPTER]
    config.target_modules = sorted(name.removeprefix(model.prefix) for name in _adapted(model))
    config.modules_to_save = sorted({name.rpartition(".")[0] for name in names})
    config.inference_mode = True
    target = folder / "adapter"
    target.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(target)
    tensors = {f"base_model.model.{name}": tensor.detach().cpu().contiguous() for name, tensor in learned.items()}
    save_file(tensors, target / "adapter_model.safetensors", metadata={"format": "pt"})


def _inject(model: Model, rank: int) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    targets = [name for name, module in _body_layers(model).items() if _can_adapt(module)]
    if not targets:
        raise InputError("adapt.no-layers", "model.adapt")
    config = LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules=targets)
    inject_adapter_in_model(config, model, adapter_name=ADAPTER)


def _body_layers(model: Model) -> dict[str, nn.Module]:
    """Modules outside the head by name; those inside attention that reads its weights by itself are left out."""
    hidden = {id(inner) for module in [model.head, *_self_reading(model)] for inner in module.modules()}
    return {name: module for name, module in model.named_modules() if id(module) not in hidden}


def _self_reading(model: Model) -> list[nn.Module]:
    return [module for module in model.modules() if isinstance(module, nn.MultiheadAttention)]


def _can_adapt(module: nn.Module) -> bool:
    if isinstance(module, nn.Linear):
        return True
    return isinstance(module, nn.Conv1d | nn.Conv2d) and module.groups == 1 and set(module.dilation) == {1}


def _adapted(model: Model) -> dict[str, nn.Module]:
    return {name: module for name, module in model.named_modules() if hasattr(module, "base_layer") and hasattr(module, "lora_A")}


def _is_adapter(name: str) -> bool:
    return ".lora_" in name


def _frozen_prefix(model: Model) -> list[nn.Module]:
    """The first stages, up to the first that is trained, where they hold frozen parameters at all."""
    prefix: list[nn.Module] = []
    for stage in model.stages():
        if any(p.requires_grad for p in stage.parameters()):
            break
        prefix.append(stage)
    return prefix if any(True for stage in prefix for _ in stage.parameters()) else []
