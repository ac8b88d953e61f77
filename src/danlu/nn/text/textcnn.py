"""Convolutions of several widths over pieces, each answer the strongest anywhere in the text (Kim 2014, arXiv 1408.5882).

Shapes: B rows, T pieces, D width, F filters, C classes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from danlu.nn.dropout import Dropout
from danlu.nn.text.token_model import Pieces, TokenModel, real

SHAPES = {"small": (128, 128), "base": (300, 256)}  # width of a piece's vector, filters of each width
KERNELS = (1, 3, 5)


class TextCNN(TokenModel):
    """One layer of convolutions, maximum over time, dropout, linear."""

    def __init__(self, classes: int, size: str, vocabulary: int, max_length: int) -> None:
        super().__init__()
        width, filters = SHAPES[size]
        self.pieces = Pieces(vocabulary, width, 0.3)
        self.convolutions = Convolutions(width, filters)
        self.classify = nn.Sequential(Dropout(0.5), nn.Linear(filters * len(KERNELS), classes))

    def step(self, stage: nn.Module, x: Any, batch: dict[str, Tensor]) -> Tensor:
        if stage is self.classify:
            return stage(x)
        return stage(batch["ids"] if stage is self.pieces else x, batch["ids_lengths"])

    @property
    def embedding(self) -> nn.Module:
        return self.pieces.table

    def stages(self) -> list[nn.Module]:
        return [self.pieces, self.convolutions, self.classify]


class Convolutions(nn.Module):
    """[B, T, D] with zeros in the padding -> [B, F * widths]. Both ends see zeros, so a text shorter than a filter has an answer."""

    def __init__(self, width: int, filters: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv1d(width, filters, kernel, padding=kernel // 2) for kernel in KERNELS)

    def forward(self, x_BTD: Tensor, lengths_B: Tensor) -> Tensor:
        x_BDT = x_BTD.transpose(1, 2)
        padding_B1T = ~real(lengths_B, x_BTD.shape[1])[:, None, :]
        found = [layer(x_BDT).relu().masked_fill(padding_B1T, 0).amax(dim=2) for layer in self.layers]
        return torch.cat(found, dim=1)
