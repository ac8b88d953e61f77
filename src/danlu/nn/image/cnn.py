"""Plain convolutions in pairs, each pair at half the size and more channels: the fastest way to a good score on a CPU.

The class of Keller Jordan's airbench networks (arXiv 2404.00498): a first layer of 2 x 2 filters that begin by whitening the patches of
the training pictures, then pairs of convolutions that pool before they normalise. `small` has half the widths of `base`; grey pictures
above 16 px get half again, since shapes alone need fewer filters.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from danlu.nn.image.model import BatchNorm, ImageModel, conv_norm

WIDTHS = {"small": (32, 64, 128), "base": (64, 128, 256)}
_TINY = 16  # pixels; up to here nothing of the border can be spared, and patches say little


class Pair(nn.Sequential):
    """Two convolutions, the first pooled to half the size: [B, C, H, W] -> [B, D, H / 2, W / 2].

    The first filters of each begin by passing their channel on as it is, as many as there are channels.
    """

    def __init__(self, inputs: int, outputs: int, pools: bool) -> None:
        pool = [nn.MaxPool2d(2)] if pools else []
        first = [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), *pool, BatchNorm(outputs), nn.ReLU(inplace=True)]
        super().__init__(*first, conv_norm(outputs, outputs))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                with torch.no_grad():
                    nn.init.dirac_(module.weight[: module.in_channels])


class CNN(ImageModel):
    """A stem, three pairs of convolutions, then the mean over the picture. Pictures above 64 px are quartered by the stem."""

    def __init__(self, classes: int, size: str, **facts: Any) -> None:
        super().__init__(**facts)
        side = min(self.sides)
        slim = self.channels == 1 and max(self.sides) > 16
        widths = [width // 2 if slim else width for width in WIDTHS[size]]
        before = widths[0] // 2
        if not self.is_small:
            self.stem = nn.Sequential(conv_norm(self.channels, before, 5, 2), conv_norm(before, before, 3, 2))
            side //= 4
        elif side <= _TINY:
            self.stem = conv_norm(self.channels, before)
        else:
            before, side = 8 * self.channels, side - 1
            self.stem = nn.Sequential(nn.Conv2d(self.channels, before, 2), nn.ReLU(inplace=True))
        pairs = []
        for width in widths:
            pairs.append(Pair(before, width, side >= 4))
            before, side = width, side // 2 if side >= 4 else side
        self.body = nn.Sequential(*pairs)
        self.classify = nn.Linear(before, classes)
        self.to(memory_format=torch.channels_last)

    def start(self, whitening_PP: Tensor) -> None:
        """Take the filters that make 2 x 2 patches of the training pictures white, each as it is and negated; P values in a patch."""
        first = self.stem[0]
        if isinstance(first, nn.Conv2d) and first.kernel_size == (2, 2):
            with torch.no_grad():
                first.weight.copy_(torch.cat([whitening_PP, -whitening_PP]).view_as(first.weight))
                first.bias.zero_()

    def pool(self, x: Tensor, batch: dict[str, Tensor]) -> Tensor:
        return x.mean(dim=(2, 3))

    def stages(self) -> list[nn.Module]:
        return [self.stem, *self.body, self.classify]
