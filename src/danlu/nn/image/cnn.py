"""Plain convolutions in pairs, each pair at half the size and more channels: the fastest way to a good score on a CPU.

`base` has the widths of Keller Jordan's airbench94 (arXiv 2404.00498) and `small` half of them; grey pictures above 16 px get half again,
since shapes alone need fewer filters.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from danlu.nn.image.model import ImageModel, conv_norm

WIDTHS = {"small": (32, 64, 128), "base": (64, 128, 256)}


class CNN(ImageModel):
    """A stem, three pairs of convolutions, then the mean over the picture. Pictures above 64 px are quartered by the stem."""

    def __init__(self, classes: int, size: str, **facts: Any) -> None:
        super().__init__(**facts)
        slim = self.channels == 1 and max(self.sides) > 16
        widths = [width // 2 if slim else width for width in WIDTHS[size]]
        first = widths[0] // 2
        side = min(self.sides)
        if self.is_small:
            self.stem = conv_norm(self.channels, first)
        else:
            self.stem = nn.Sequential(conv_norm(self.channels, first, 5, 2), conv_norm(first, first, 3, 2))
            side //= 4
        blocks, before = [], first
        for channels_out in widths:
            pool = [nn.MaxPool2d(2)] if side >= 4 else []
            blocks.append(nn.Sequential(conv_norm(before, channels_out), *pool, conv_norm(channels_out, channels_out)))
            before, side = channels_out, side // 2 if pool else side
        self.body = nn.Sequential(*blocks)
        self.classify = nn.Linear(before, classes)
        self.to(memory_format=torch.channels_last)

    def pool(self, x: Tensor, batch: dict[str, Tensor]) -> Tensor:
        return x.mean(dim=(2, 3))

    def stages(self) -> list[nn.Module]:
        return [self.stem, *self.body, self.classify]
