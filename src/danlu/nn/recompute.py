"""Stages that keep no activations: what the backward pass needs of them is computed again (Chen et al. 2016, arXiv 1604.06174).

Dropout draws the same zeros again, since the generator is put back to where it stood. Batch norm computes with the batch's own statistics
again, but counts the batch once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from danlu.nn.model import Model


def recompute(model: Model) -> None:
    """Makes every stage below the head keep its inputs alone; gradients and statistics stay the same, bit for bit."""
    for stage in model.stages()[:-1]:
        for part in stage if isinstance(stage, nn.ModuleList) else [stage]:
            part.forward = _forgetful(part, part.forward)


def _forgetful(part: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
    norms = [module for module in part.modules() if isinstance(module, _BatchNorm)]

    def again(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        return checkpoint(forward, *args, use_reentrant=False, context_fn=lambda: (nullcontext(), _counted(norms)), **kwargs)

    return again


@contextmanager
def _counted(norms: list[_BatchNorm]) -> Iterator[None]:
    """Inside, batch norms leave their running statistics as they are."""
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
        norm.num_batches_tracked = None if norm.num_batches_tracked is None else norm.num_batches_tracked.clone()
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count
