"""A model divided over the memory of several processes (FSDP2), and its tensors put together again. Whole tensors pass through unchanged."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from danlu.core.errors import InputError
from danlu.core.recipe import Optimizer
from danlu.nn.model import Model

WHOLE = ("adafactor", "muon")  # optimizers that look at whole matrices


def shard(model: Model, device: torch.device, size: int, run: Callable[[Model], object]) -> None:
    """Divides every stage, and last what is left, over `size` processes; their gradients are then means over them.

    Only what a forward pass calls as a module can gather its weights by itself: one pass, `run`, shows which. Sharding works in place.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device.type, (size,))
    model.to(memory_format=torch.contiguous_format)  # FSDP2 takes no other
    marks = {name: dict(vars(p)) for name, p in model.named_parameters()}
    for stage in _called(model, run):
        fully_shard(stage, mesh=mesh)
    fully_shard(model, mesh=mesh)
    model.to(device)  # buffers
    for name, p in model.named_parameters():
        vars(p).update(marks[name])


def can_shard(spec: Optimizer) -> None:
    """InputError for an optimizer that a divided matrix would mislead."""
    if spec.name in WHOLE:
        raise InputError("train.fsdp-optimizer", "train.optimizer", name=spec.name)


def step_by_tensor(optimizer: torch.optim.Optimizer) -> None:
    """Takes torch's fused steps away, most of which know no divided tensors; what an optimizer computes stays the same."""
    for group in optimizer.param_groups:
        if group.get("fused"):
            group.update(fused=None, foreach=True)


def whole(tensor: Tensor) -> Tensor:
    """The whole of a tensor that may be divided; all processes ask at once."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def like(tensor: Tensor, own: Tensor) -> Tensor:
    """A whole tensor where `own` is, and divided as it is."""
    tensor = tensor.to(own.device)
    if not hasattr(own, "full_tensor"):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(tensor, own.device_mesh, own.placements, src_data_rank=None)


def local(tensor: Tensor) -> Tensor:
    """The part of a tensor that is in this process's memory."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def _called(model: Model, run: Callable[[Model], object]) -> list[nn.Module]:
    """The stages, lists of modules taken apart, that a forward pass calls and that hold parameters."""
    called: set[int] = set()
    stages = [part for stage in model.stages() for part in _parts(stage) if any(True for _ in part.parameters())]
    hooks = [stage.register_forward_hook(lambda module, args, output: called.add(id(module))) for stage in stages]
    training = model.training
    with torch.no_grad():
        run(model.eval())
    model.train(training)
    for hook in hooks:
        hook.remove()
    return [stage for stage in stages if id(stage) in called]


def _parts(stage: nn.Module) -> list[nn.Module]:
    return [part for child in stage for part in _parts(child)] if isinstance(stage, nn.ModuleList) else [stage]
