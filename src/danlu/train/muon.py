"""Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/) for the weight matrices of hidden layers, AdamW for all the rest.

A matrix moves along the nearest orthogonal matrix to its averaged gradient, scaled as in Liu et al. (2025, "Muon is Scalable for LLM
Training", arXiv 2502.16982), so that learning rate and decay are AdamW's for both. Torch has Muon from 2.9 on and for matrices alone; here
one object holds both kinds of groups, and a convolution kernel is a matrix with a line for each output channel, as in the author's airbench.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from danlu.nn.model import Model

_QUINTIC = 3.4445, -4.7750, 2.0315
_MATRICES = (nn.Linear, nn.modules.conv._ConvNd, nn.RNNBase, nn.MultiheadAttention)


class MuonAdamW(torch.optim.AdamW):
    """Groups with `muon: True` take Muon's step, the others AdamW's."""

    def __init__(self, params: Iterable[Any], lr: float, betas: tuple[float, float], momentum: float) -> None:
        groups = [{"muon": False, "momentum": momentum} | group for group in params]
        super().__init__(groups, lr=lr, betas=betas, fused=True)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        groups = self.param_groups
        for group in groups:
            if group["muon"]:
                self._turn(group)
        self.param_groups = [group for group in groups if not group["muon"]]
        try:
            super().step()
        finally:
            self.param_groups = groups

    def _turn(self, group: dict[str, Any]) -> None:
        rate, momentum = group["lr"], group["momentum"]
        for p in group["params"]:
            if p.grad is None:
                continue
            state = self.state[p]
            if not state:
                state |= {"step": torch.tensor(0.0), "average": torch.zeros_like(p)}  # AdamW's loading asks for a step
            state["step"] += 1
            average = state["average"].lerp_(p.grad, 1 - momentum)
            move = p.grad.lerp(average, momentum).flatten(1)
            scale = 0.2 * math.sqrt(max(move.shape))
            p.mul_(1 - rate * group["weight_decay"])
            p.add_(orthogonal(move).view(p.shape), alpha=-rate * scale)


def orthogonal(matrix: Tensor, dtype: torch.dtype | None = None, rounds: int = 5) -> Tensor:
    """Nearly U V^T of a matrix U S V^T, by Newton and Schulz's iteration: singular values end between 0.5 and 1.5.

    In bf16 on GPUs, as the authors have it; in float32 on CPUs, few of which multiply bf16 faster.
    """
    a, b, c = _QUINTIC
    tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if tall else matrix).to(dtype or (torch.float32 if matrix.device.type == "cpu" else torch.bfloat16))
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(rounds):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.T if tall else x).to(matrix.dtype)


def hidden_matrices(model: Model) -> set[int]:
    """Ids of the parameters that Muon turns: matrices and kernels of linear, convolutional, recurrent and attention layers below the head."""
    head = {id(p) for p in model.head.parameters()}
    found = set()
    for module in model.modules():
        if isinstance(module, _MATRICES) or type(module).__name__ == "Conv1D":  # transformers' linear layer of GPT-2
            found |= {id(p) for p in module.parameters(recurse=False) if p.ndim > 1 and id(p) not in head}
    return found
