"""Optimizers: which there are, which weights they group together, and their state as named tensors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softshrink

from danlu.core.errors import InputError
from danlu.core.recipe import Optimizer
from danlu.nn.model import Model, is_vector
from danlu.train.lion import Lion
from danlu.train.muon import MuonAdamW, hidden_matrices
from danlu.train.shard import like, local


def make_optimizer(model: Model, spec: Optimizer) -> torch.optim.Optimizer:
    """The optimizer over the trained parameters, in groups by rate and decay; fused where torch has it so, else foreach."""
    groups = parameter_groups(model, spec)
    name, lr, betas = spec.name, spec.lr, tuple(spec.betas or ())
    if name == "sgd":
        return torch.optim.SGD(groups, lr=lr, momentum=spec.momentum, nesterov=spec.momentum > 0, fused=True)
    if name == "adam":
        return torch.optim.Adam(groups, lr=lr, betas=betas, fused=True)
    if name == "adafactor":
        return torch.optim.Adafactor(groups, lr=lr, foreach=True)
    if name == "rmsprop":
        return torch.optim.RMSprop(groups, lr=lr, momentum=spec.momentum, foreach=True)
    if name == "adagrad":
        return torch.optim.Adagrad(groups, lr=lr, fused=True)
    if name == "lion":
        return Lion(groups, lr=lr, betas=betas)
    if name == "muon":
        return MuonAdamW(_turned(model, groups), lr=lr, betas=betas, momentum=spec.momentum)
    return torch.optim.AdamW(groups, lr=lr, betas=betas, fused=True)


def parameter_groups(model: Model, spec: Optimizer) -> list[dict[str, Any]]:
    """The model's own groups, divided by stage where lower stages learn more slowly; `peak` is a group's highest rate.

    Layer-wise decay (Howard and Ruder 2018, arXiv 1801.06146; Clark et al. 2020, arXiv 2003.10555): the head has its whole rate, the
    stage n below it `layer_decay` to the power n of what it would have.
    """
    groups = model.parameter_groups(spec.lr, spec.weight_decay)
    if spec.layer_decay < 1:
        stages = [stage for stage in model.stages() if any(True for _ in stage.parameters())]
        below = {id(p): len(stages) - 1 - i for i, stage in enumerate(stages) for p in stage.parameters()}
        divided = []
        for group in groups:
            for depth in range(len(stages)):
                part = [p for p in group["params"] if below.get(id(p), 0) == depth]
                rate = group.get("lr", spec.lr) * spec.layer_decay**depth
                divided += [group | {"params": part, "lr": rate}] if part else []
        groups = divided
    return [group | {"peak": group.get("lr", spec.lr)} for group in groups]


def _turned(model: Model, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The groups with those parameters apart that Muon turns; InputError where there are none."""
    hidden = hidden_matrices(model)
    divided = []
    for group in groups:
        for muon in (True, False):
            part = [p for p in group["params"] if (id(p) in hidden) == muon]
            divided += [group | {"params": part, "muon": muon}] if part else []
    if not any(group["muon"] for group in divided):
        raise InputError("train.no-matrices", "train.optimizer")
    return divided


def set_rate(optimizer: torch.optim.Optimizer, share: float) -> float:
    """Sets every group to `share` of its peak; that share of the recipe's rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * share
    return optimizer.defaults["lr"] * share


@torch.no_grad()
def shrink(optimizer: torch.optim.Optimizer, l1: float) -> None:
    """The proximal step of an L1 penalty, after the optimizer's own (Duchi and Singer 2009, "Forward Backward Splitting", JMLR 10).

    Every weight but norms and biases comes closer to 0 by `l1` times its rate, and is exactly 0 where that is further than it was away.
    A subgradient would be scaled by adaptive optimizers and leave no weight at 0.
    """
    if not l1:
        return
    for group in optimizer.param_groups:
        for p in group["params"]:
            if p.grad is not None and not is_vector(p):
                local(p).copy_(softshrink(local(p), group["lr"] * l1))


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state as named tensors, `INDEX.NAME`, for safetensors."""
    state = optimizer.state_dict()["state"]
    return {f"{i}.{name}": torch.as_tensor(value) for i, values in state.items() for name, value in values.items() if value is not None}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Takes back what `optimizer_tensors` gave, bit for bit; what has a parameter's shape is divided, and laid out in memory, as that is.

    Fused optimizers read a parameter and its state in one order, whatever their strides say.
    """
    state: dict[int, dict[str, Any]] = {}
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for name, tensor in tensors.items():
        index, _, key = name.partition(".")
        own = parameters[int(index)]
        state.setdefault(int(index), {})[key] = like(tensor, own) if tensor.shape == own.shape else tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    for parameter, kept in optimizer.state.items():
        for name, tensor in kept.items():
            if isinstance(tensor, Tensor) and tensor.shape == parameter.shape and tensor.stride() != parameter.stride():
                kept[name] = torch.empty_like(parameter, dtype=tensor.dtype).copy_(tensor)
