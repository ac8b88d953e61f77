"""Averages of weights over time, which are judged and kept in the place of the weights that are trained.

`ema`: after every step, average += (1 - d) (weights - average), d the smaller of `decay` and (1 + n) / (10 + n) at update n, so that a
short run does not remember its first weights (as TensorFlow and timm do). `swa`: the mean of the weights at the ends of epochs (Izmailov et
al. 2018, arXiv 1803.05407).

Batch norm: the statistics of a mean of weights are not the mean of their statistics. A moving average changes little from step to step, and
its statistics are averaged like its weights; those of `swa` are computed anew from the training rows, augmented, before it is judged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from danlu.train.shard import local
from danlu.train.step import forward

if TYPE_CHECKING:
    from danlu.train.loop import Job


@torch.no_grad()
def update(job: Job, steps: int, epoch_over: bool) -> None:
    """After step `job.state.step` out of `steps`: takes the weights into `job.average` if it is time."""
    spec, state = job.recipe.train.average, job.state
    if spec.method == "none" or state.step < spec.start * steps or (spec.method == "swa" and not epoch_over):
        return
    now = changing(job)
    if job.average is None:
        job.average = {name: tensor.clone() for name, tensor in now.items()}
    else:
        mine, new = [local(job.average[name]) for name in now], [local(tensor) for tensor in now.values()]
        torch._foreach_lerp_(mine, new, share(spec.method, spec.decay, state.averaged))
    state.averaged += 1


def share(method: str, decay: float | None, n: int) -> float:
    """How much of the new weights goes into an average that has taken in `n` before."""
    return 1 / (n + 1) if method == "swa" else 1 - min(decay, (1 + n) / (10 + n))


def changing(job: Job) -> dict[str, Tensor]:
    """What training changes, by name in the state dict: the optimizer's weights, those that it may only begin to train, and real buffers."""
    held = {id(p) for group in job.optimizer.param_groups for p in group["params"]}
    frozen = {name for name, p in job.model.named_parameters(remove_duplicate=False) if id(p) not in held}
    return {name: t.detach() for name, t in job.model.state_dict().items() if t.is_floating_point() and name not in frozen}


@contextmanager
def judged(job: Job, batches: Sequence[np.ndarray]) -> Iterator[None]:
    """Inside, the model has the averaged weights, if there are any yet. `batches` are those of an epoch, of training rows."""
    if job.average is None:
        yield
        return
    own = {name: tensor.clone() for name, tensor in job.model.state_dict().items()}
    job.model.load_state_dict(job.average, strict=False)
    try:
        if job.recipe.train.average.method == "swa":
            renew_statistics(job, batches)
        yield
    finally:
        job.model.load_state_dict(own)


@torch.no_grad()
def renew_statistics(job: Job, batches: Sequence[np.ndarray]) -> None:
    """Gives trained batch norms the statistics of the model's weights: the mean over `batches`."""
    norms = [m for m in job.model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats and (m.weight is None or m.weight.requires_grad)]
    if not norms:
        return
    job.model.eval()
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.train()
        norm.momentum = None  # torch's word for the plain mean
    for part, positions_B in enumerate(batches):
        forward(job, positions_B, part)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
