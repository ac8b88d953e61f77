"""A small residual network (He et al. 2016) on log-mel pictures. It pools over time only: where a sound lies in frequency matters.

Shapes: B rows, F frames, M mel bins, C channels.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn.functional import relu

from danlu.nn.audio.sound_model import AttentivePool, SoundModel
from danlu.nn.dropout import Dropout

_SIZES = {"small": ((32, 64, 128), 1), "base": ((64, 128, 256), 2)}  # channels of each level, blocks at each level


class CNN(SoundModel):
    """A stem, then levels of residual blocks, each level after the first halving time and frequency."""

    def __init__(self, classes: int, size: str = "small", *, dropout: float = 0.1, **facts: Any) -> None:
        super().__init__(**facts)
        widths, depth = _SIZES[size]
        self.body.append(Stem(widths[0]))
        bins, channels = halved(self.bins), widths[0]
        for level, width in enumerate(widths):
            for block in range(depth):
                stride = 2 if level and not block else 1
                self.body.append(Residual(channels, width, stride))
                bins, channels = halved(bins) if stride == 2 else bins, width
        self.body.append(Flatten(channels * bins, 2 * channels, dropout))
        self.finish(2 * channels, classes)


def halved(size: int) -> int:
    """The size after a 3-wide convolution with stride 2 and padding 1."""
    return (size + 1) // 2


class Stem(nn.Module):
    """[B, F, M] -> [B, C, F/2, M/2]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, width, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x_BFM: Tensor) -> Tensor:
        return relu(self.norm(self.conv(x_BFM[:, None])))


class Residual(nn.Module):
    """Two 3x3 convolutions beside a shortcut, which is projected where the shape changes."""

    def __init__(self, inputs: int, width: int, stride: int | tuple[int, int]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        same = stride == 1 and inputs == width
        self.shortcut = nn.Identity() if same else nn.Sequential(nn.Conv2d(inputs, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        y = relu(self.norm1(self.conv1(x)))
        return relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class Flatten(nn.Module):
    """[B, C, F, M] -> [B, D]: channels and bins of each frame mixed to `width`, then frames pooled."""

    def __init__(self, inputs: int, width: int, dropout: float) -> None:
        super().__init__()
        self.mix = nn.Linear(inputs, width)
        self.pool = AttentivePool(width)
        self.dropout = Dropout(dropout)

    def forward(self, x_BCFM: Tensor) -> Tensor:
        x_BFD = relu(self.mix(x_BCFM.transpose(1, 2).flatten(2)))
        return self.dropout(self.pool(x_BFD))
