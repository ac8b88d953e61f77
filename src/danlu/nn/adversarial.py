"""Texts moved for the worse: the vectors of a row's pieces, shifted along the loss's gradient (Miyato et al. 2017, arXiv 1605.07725).

Each row's shift has its own length epsilon, so it does not depend on the other rows of a batch. The vectors are not normalised first,
as the paper does, so that pretrained ones stay what they are: epsilon is in their own scale.
Shapes: B rows, N pieces of all rows laid end to end, T pieces of the longest row, D width.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from danlu.nn.packing import Rows


@contextmanager
def watched(embedding: nn.Module) -> Iterator[list[Tensor]]:
    """Inside, the list takes the layer's first output, which keeps its gradient. Stay inside until the backward pass is over."""
    seen: list[Tensor] = []

    def keep(module: nn.Module, args: object, output: Tensor) -> Tensor:
        output = output if output.requires_grad else output.requires_grad_()
        if not seen:
            output.retain_grad()
            seen.append(output)
        return output

    handle = embedding.register_forward_hook(keep)
    try:
        yield seen
    finally:
        handle.remove()


@contextmanager
def moved(embedding: nn.Module, shift: Tensor) -> Iterator[None]:
    """Inside, the layer's output is shifted. Stay inside until the backward pass is over: it may compute the layer again."""
    handle = embedding.register_forward_hook(lambda module, args, output: output + shift)
    try:
        yield
    finally:
        handle.remove()


def shift_of(gradient: Tensor, batch: dict[str, Tensor], epsilon: float, packs: bool) -> Tensor:
    """`epsilon` g / |g| with the norm over all of a row's vectors: as `gradient`, [B, D], [B, T, D] or [N, D]."""
    line, rows = rows_of(gradient, batch, packs), len(batch["target"])
    squares_B = gradient.new_zeros(rows).index_add(0, line, gradient.flatten(1).square().sum(dim=1))
    length_B = squares_B.sqrt().clamp(min=torch.finfo(gradient.dtype).tiny)
    return epsilon * gradient / length_B[line].view(-1, *[1] * (gradient.ndim - 1))


def rows_of(vectors: Tensor, batch: dict[str, Tensor], packs: bool) -> Tensor:
    """Which row of the batch each of `vectors` belongs to, counted along its first axis: int64. A prompt may stand ahead of each row."""
    rows = len(batch["target"])
    if vectors.ndim == 3 or "ids_lengths" not in batch:
        return torch.arange(rows, device=vectors.device)
    lengths_B, width, packed = batch["ids_lengths"], batch["ids"].shape[1], packs and vectors.device.type == "cpu"
    ahead = (len(vectors) - int(lengths_B.sum())) // rows if packed else len(vectors) // rows - width
    return Rows(lengths_B + ahead, width + ahead, packed).index_N // (width + ahead)
