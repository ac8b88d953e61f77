"""What architectures over pieces share: vectors of pieces, stages of their own, a linear head.

Shapes: B rows, T pieces padded to the longest row, D width, C classes.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from danlu.nn.dropout import Dropout
from danlu.nn.model import Model


class TokenModel(Model):
    """`batch` holds `ids` int64 [B, T], padded with 0 on the right, and `ids_lengths` int64 [B], at least 1."""

    reads: ClassVar[tuple[str, ...]] = ("ids",)

    def inner_lengths(self, batch: dict[str, Tensor], first: int) -> Tensor | None:
        return batch["ids_lengths"] if first < len(self.stages()) - 1 else None

    @classmethod
    def example_facts(cls) -> dict[str, Any]:
        return {"vocabulary": 16_000, "max_length": 128}

    @classmethod
    def example_batch(cls, n: int) -> dict[str, Tensor]:
        """Row i holds i + 1 pieces."""
        lengths_B = torch.arange(1, n + 1)
        ids_BT = torch.randint(3, 16_000, (n, n), generator=torch.Generator().manual_seed(n))
        return {"ids": ids_BT * real(lengths_B, n), "ids_lengths": lengths_B}


class Pieces(nn.Module):
    """Vectors of pieces, dropped out, with zeros where there is padding: [B, T] -> [B, T, D]."""

    def __init__(self, vocabulary: int, width: int, dropout: float) -> None:
        super().__init__()
        self.table = nn.Embedding(vocabulary, width, padding_idx=0)
        nn.init.normal_(self.table.weight, std=0.1)
        self.dropout = Dropout(dropout)
        with torch.no_grad():
            self.table.weight[0] = 0

    def forward(self, ids_BT: Tensor, lengths_B: Tensor) -> Tensor:
        return self.dropout(self.table(ids_BT)) * real(lengths_B, ids_BT.shape[1])[:, :, None]


def real(lengths_B: Tensor, width: int) -> Tensor:
    """True where a piece stands, False where there is padding: bool [B, width]."""
    return torch.arange(width, device=lengths_B.device)[None, :] < lengths_B[:, None]


def mean_and_max(x_BTD: Tensor, lengths_B: Tensor) -> Tensor:
    """Mean and maximum over the real pieces of each row: [B, 2 D]."""
    real_BT1 = real(lengths_B, x_BTD.shape[1])[:, :, None]
    mean_BD = (x_BTD * real_BT1).sum(dim=1) / lengths_B[:, None]
    max_BD = x_BTD.masked_fill(~real_BT1, float("-inf")).amax(dim=1)
    return torch.cat([mean_BD, max_BD], dim=1)
