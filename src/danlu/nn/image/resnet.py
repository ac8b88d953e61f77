"""Residual networks (He et al., "Deep Residual Learning", arXiv 1512.03385; stride on the 3x3 of a bottleneck, as in torchvision).

Pictures up to 64 px get the stem of CIFAR networks: one 3x3 convolution at full size, no pooling.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from danlu.nn.image.model import ImageModel, conv_norm


class Shape(NamedTuple):
    depths: tuple[int, int, int, int]
    width: int  # channels of the first group; doubled in each of the next three
    expansion: int  # 1: two 3x3 convolutions a block; 4: a bottleneck that gives four times its width


class Block(nn.Module):
    """Input plus what the convolutions make of it; the last norm starts at 0, so that a new block passes its input on."""

    def __init__(self, inputs: int, width: int, stride: int, expansion: int) -> None:
        super().__init__()
        outputs = width * expansion
        if expansion == 1:
            self.path = nn.Sequential(conv_norm(inputs, width, 3, stride), conv_norm(width, width, act=False))
        else:
            narrow = conv_norm(inputs, width, 1)
            self.path = nn.Sequential(narrow, conv_norm(width, width, 3, stride), conv_norm(width, outputs, 1, act=False))
        self.skip = nn.Identity() if stride == 1 and inputs == outputs else conv_norm(inputs, outputs, 1, stride, act=False)
        nn.init.zeros_(self.path[-1][-1].weight)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return F.relu(self.path(x_BCHW) + self.skip(x_BCHW), inplace=True)


class ResNet(ImageModel):
    """`small` has the depth of ResNet-18, `base` that of ResNet-50, both at half the width: what a CPU trains in minutes."""

    shapes: ClassVar[dict[str, Shape]] = {"small": Shape((2, 2, 2, 2), 32, 1), "base": Shape((3, 4, 6, 3), 32, 4)}

    def __init__(self, classes: int, size: str, **facts: Any) -> None:
        super().__init__(**facts)
        depths, width, expansion = self.shapes[size]
        if self.is_small:
            self.stem = conv_norm(self.channels, width)
        else:
            self.stem = nn.Sequential(conv_norm(self.channels, width, 7, 2), nn.MaxPool2d(3, 2, 1))
        blocks, before = [], width
        for group, depth in enumerate(depths):
            for i in range(depth):
                stride = 2 if group and i == 0 else 1
                blocks.append(Block(before, width << group, stride, expansion))
                before = (width << group) * expansion
        self.body = nn.Sequential(*blocks)
        self.classify = nn.Linear(before, classes)
        self.to(memory_format=torch.channels_last)

    def pool(self, x: Tensor, batch: dict[str, Tensor]) -> Tensor:
        return x.mean(dim=(2, 3))

    def stages(self) -> list[nn.Module]:
        return [self.stem, *self.body, self.classify]


class ResNet18(ResNet):
    sizes = ("small",)
    shapes: ClassVar[dict[str, Shape]] = dict.fromkeys(("small", "base"), Shape((2, 2, 2, 2), 64, 1))


class ResNet34(ResNet):
    sizes = ("small",)
    shapes: ClassVar[dict[str, Shape]] = dict.fromkeys(("small", "base"), Shape((3, 4, 6, 3), 64, 1))


class ResNet50(ResNet):
    sizes = ("small",)
    shapes: ClassVar[dict[str, Shape]] = dict.fromkeys(("small", "base"), Shape((3, 4, 6, 3), 64, 4))
