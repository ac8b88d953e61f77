"""A table of vectors whose gradient is written row by row into one lasting tensor.

A batch looks up a thousand rows of a table of thirty thousand. Torch makes a new gradient of the table's size for each batch, all of it
zeroed; that is a tenth of what a small model allocates, and no hole in memory is ever large enough for the next one. Here the rows that the
last batch wrote are zeroed, and those of this one added up. Shapes: N pieces, V rows of the table, D width.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

_LARGE = 1 << 20  # values in a table that is worth it


class Embedding(nn.Embedding):
    """`nn.Embedding` that adds its gradient to `weight.grad` itself, on a CPU and where the table is whole."""

    def forward(self, input: Tensor) -> Tensor:  # torch's own name for it
        weight = self.weight
        if not (weight.requires_grad and torch.is_grad_enabled()) or type(weight) is not nn.Parameter or weight.device.type != "cpu":
            return super().forward(input)
        return _LookedUp.apply(input, weight, self)

    def take(self, ids_N: Tensor, grad_ND: Tensor) -> None:
        """Adds the vectors' gradients to their rows."""
        if self.padding_idx is not None:
            real_N = ids_N != self.padding_idx
            ids_N, grad_ND = ids_N[real_N], grad_ND[real_N]
        if self.weight.grad is None:
            self.weight.grad = self._zeroed()
        self.weight.grad.index_add_(0, ids_N, grad_ND.to(self.weight.dtype))
        vars(self).setdefault("_written", []).append(ids_N)

    def _zeroed(self) -> Tensor:
        lasting = vars(self).get("_lasting")
        if lasting is None or lasting.shape != self.weight.shape or lasting.dtype != self.weight.dtype:
            lasting = self._lasting = torch.zeros_like(self.weight)
        else:
            for ids_N in self._written:
                lasting.index_fill_(0, ids_N, 0.0)
        self._written: list[Tensor] = []
        return lasting


class _LookedUp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, ids: Tensor, weight: Tensor, table: Embedding) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.table = table
        return embedding(ids, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, None, None]:
        (ids,) = ctx.saved_tensors
        ctx.table.take(ids.flatten(), grad.flatten(0, -2))
        return None, None, None


def replace_embeddings(model: nn.Module) -> None:
    """Makes every large plain table inside `model`, another library's, one of these; its weight and its place stay.

    Not where the weight is another module's too, as in language models: that one's gradients would stay in the lasting tensor.
    """
    owners = Counter(id(weight) for module in model.modules() for weight in module.parameters(recurse=False))
    for module in model.modules():
        if (
            type(module) is nn.Embedding
            and owners[id(module.weight)] == 1
            and module.weight.numel() >= _LARGE
            and not (module.sparse or module.scale_grad_by_freq or module.max_norm)
        ):
            module.__class__ = Embedding
