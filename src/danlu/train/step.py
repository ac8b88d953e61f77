"""One optimizer step, however its rows are divided: gradients of sums are added up and divided once by what was summed over.

A step taken in several micro-batches, or by several processes, therefore equals one large batch within float error, for every model whose
answer for a row does not depend on the other rows (dropout draws its zeros, and batch norm takes its means, from each micro-batch).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from danlu.bundle.predictor import to_device
from danlu.core.randomness import key
from danlu.core.recipe import Clip
from danlu.core.types import Loss
from danlu.data.batches import divide
from danlu.nn.adversarial import moved, shift_of, watched
from danlu.nn.device import autocast
from danlu.nn.memory import halving
from danlu.nn.model import running_statistics
from danlu.train.optim import set_rate, shrink
from danlu.train.schedule import factor
from danlu.train.shard import local, whole

if TYPE_CHECKING:
    from danlu.train.loop import Job


class Taken(NamedTuple):
    """The sum of the step's losses and its count, the gradient's norm before clipping and the learning rate.

    `divided`: memory did not suffice, and from this step on `job.state.micro_batch` rows are computed at a time.
    """

    loss: Loss
    norm: float
    rate: float
    divided: bool

    @property
    def finite(self) -> bool:
        return math.isfinite(self.norm) and math.isfinite(float(self.loss.total))


def take(job: Job, positions_B: np.ndarray, steps: int) -> Taken:
    """One optimizer step on the training rows at `positions_B`, number `job.state.step` of `steps`. One that is not finite changes no weight."""
    recipe, step = job.recipe, job.state.step
    rate = set_rate(job.optimizer, factor(recipe.train.schedule, step, steps, job.state.scores))
    loss, divided = fitting(job, positions_B)
    job.watch.turn("optimizer")
    gradients = [p.grad for p in job.model.parameters() if p.grad is not None]
    norm = scale_and_clip(gradients, loss.count, recipe.train.clip)
    job.watch.turn("sync")
    taken = Taken(loss, float(norm), rate, divided)
    if taken.finite:
        job.watch.turn("optimizer")
        job.optimizer.step()
        shrink(job.optimizer, recipe.train.optimizer.l1)
    return taken


def fitting(job: Job, positions_B: np.ndarray) -> tuple[Loss, bool]:
    """The gradients of the step in micro-batches that fit into memory, and whether they are smaller than before; the state remembers.

    A failed attempt leaves nothing behind: neither gradients nor what batch norm had seen.
    """
    statistics = running_statistics(job.model)
    before = [tensor.clone() for tensor in statistics]

    def attempt(size: int | None) -> Loss:
        job.optimizer.zero_grad(set_to_none=True)
        for tensor, value in zip(statistics, before, strict=True):
            tensor.copy_(value)
        return accumulate(job, positions_B, size)

    if job.world.size > 1:  # the others already wait for this one's gradients: all end
        return attempt(micro_batch(job)), False
    wanted = min(len(positions_B), micro_batch(job) or len(positions_B))
    loss, size = halving(attempt, wanted)
    if size < wanted:
        job.state.micro_batch = size
    return loss, size < wanted


def micro_batch(job: Job) -> int | None:
    """Rows computed at a time: what memory allowed so far in this run, else what the recipe says."""
    return job.state.micro_batch or job.recipe.train.micro_batch


def accumulate(job: Job, positions_B: np.ndarray, size: int | None) -> Loss:
    """Adds the gradients of the summed loss over all micro-batches (`size` rows each) of all processes; the sum and the count."""
    total: Tensor | float = 0.0
    count: Tensor | float = 0
    for part, rows_B, weight in job.world.mine(divide(positions_B, size, job.world.size)):
        loss = learn(job, rows_B, part, weight)
        total, count = total + weight * loss.total.detach(), count + weight * loss.count
    job.watch.turn("sync")
    return job.world.summed(job.model, Loss(total, count))


def learn(job: Job, positions_B: np.ndarray, part: int, weight: float) -> Loss:
    """Adds the gradients of one micro-batch's loss times `weight`, and where the recipe says so of that of its texts moved for the worse."""
    epsilon = job.recipe.train.adversarial.epsilon
    if not epsilon:
        loss = forward(job, positions_B, part)
        job.watch.turn("backward")
        (loss.total * weight).backward()
        return loss
    with watched(job.model.embedding) as seen:
        loss = forward(job, positions_B, part)
        job.watch.turn("backward")
        (loss.total * weight).backward()
    shift = shift_of(seen[0].grad, batch_of(job, positions_B), epsilon, job.model.packs)
    with moved(job.model.embedding, shift):
        total = forward(job, positions_B, part).total
        job.watch.turn("backward")
        (total * weight).backward()
    return loss


def forward(job: Job, positions_B: np.ndarray, part: int = 0) -> Loss:
    """The summed loss of micro-batch number `part` of this step; its randomness follows from (seed, step, part)."""
    torch.manual_seed(key(job.recipe.seed, "step", job.state.step, part))
    job.watch.turn("data")
    batch = batch_of(job, positions_B)
    job.watch.turn("forward")
    with autocast(job.precision, job.device):
        predicted = job.model(batch)
    return job.task.loss(predicted, batch)


def batch_of(job: Job, positions_B: np.ndarray) -> dict[str, Tensor]:
    """The training rows at `positions_B` as tensors, augmented for this epoch."""
    train = job.sides["train"]
    batch = to_device(job.task.collate([train.examples[i] for i in positions_B]), job.device)
    batch["row"] = torch.as_tensor(train.rows[positions_B].astype(np.int64))
    return job.task.augment(batch, job.recipe.seed, job.state.epoch)


def scale_and_clip(gradients: list[Tensor], count: Tensor | float, clip: Clip) -> Tensor:
    """Turns gradients of a sum into those of the mean, none larger than `clip` says; the norm of all before clipping."""
    norm = whole(torch.nn.utils.get_total_norm(gradients)) / count
    share = torch.clamp(clip.limit / (norm + 1e-6), max=1.0) if clip.by == "norm" else torch.ones_like(norm)
    mine = [local(gradient) for gradient in gradients]
    torch._foreach_mul_(mine, share / count)
    if clip.by == "value":
        torch._foreach_clamp_min_(mine, -clip.limit)
        torch._foreach_clamp_max_(mine, clip.limit)
    return norm
