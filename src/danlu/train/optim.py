"""Optimizers and learning-rate schedules. A schedule is a pure function of the step."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from danlu.core.recipe import Optimizer, Schedule
from danlu.nn.model import Model


def make_optimizer(model: Model, spec: Optimizer) -> torch.optim.Optimizer:
    """AdamW (Loshchilov, Hutter 2019) or SGD with Nesterov momentum over the trained parameters, in the model's own groups."""
    groups = model.parameter_groups(spec.lr, spec.weight_decay)
    for group in groups:
        group["peak"] = group.get("lr", spec.lr)
    if spec.name == "sgd":
        return torch.optim.SGD(groups, lr=spec.lr, momentum=spec.momentum, nesterov=spec.momentum > 0, fused=True)
    return torch.optim.AdamW(groups, lr=spec.lr, fused=True)


def factor(schedule: Schedule, step: int, steps: int) -> float:
    """The learning rate of optimizer step `step` (from 0) out of `steps`, as a share of its peak."""
    warm = max(1, round(schedule.warmup * steps)) if schedule.warmup else 0
    if step < warm:
        return (step + 1) / warm
    done = (step - warm) / max(1, steps - warm)
    if schedule.name == "cosine":
        return 0.5 * (1 + math.cos(math.pi * done))
    return 1 - done if schedule.name == "linear" else 1.0


def set_rate(optimizer: torch.optim.Optimizer, share: float) -> float:
    """Sets every group to `share` of its peak; the first group's rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * share
    return optimizer.param_groups[0]["lr"]


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state as named tensors, `INDEX.NAME`, for safetensors."""
    state = optimizer.state_dict()["state"]
    return {f"{i}.{name}": torch.as_tensor(value) for i, values in state.items() for name, value in values.items() if value is not None}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Takes back what `optimizer_tensors` gave, bit for bit."""
    state: dict[int, dict[str, Any]] = {}
    for name, tensor in tensors.items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
