"""What every picture architecture shares: it takes uint8 pictures of one size and normalises them itself, in training as in service.

Shapes: B batch, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from danlu.nn.model import Model

SMALL_SIDE = 64  # up to here a stem keeps the size


class ImageModel(Model):
    """`batch["image"]` is [B, C, H, W] of 0..255, uint8, or float after augmentation; `mean` and `std` are per channel, of 0..1."""

    bf16_on_cpu: ClassVar[bool] = True

    def __init__(self, channels: int, height: int, width: int, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.channels, self.sides = channels, (height, width)
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, channels, 1, 1) * 255)
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, channels, 1, 1) * 255)

    @property
    def is_small(self) -> bool:
        return max(self.sides) <= SMALL_SIDE

    def normalised(self, batch: dict[str, Tensor]) -> Tensor:
        """The batch's pictures with mean 0 and deviation 1 a channel: float32 [B, C, H, W], channels last in memory."""
        x_BCHW = (batch["image"].to(torch.float32) - self.mean) / self.std
        return x_BCHW.contiguous(memory_format=torch.channels_last)

    def enter(self, batch: dict[str, Tensor]) -> Tensor:
        return self.normalised(batch)

    @classmethod
    def example_facts(cls) -> dict[str, Any]:
        return {"channels": 3, "height": 32, "width": 32, "mean": [0.5, 0.45, 0.4], "std": [0.25, 0.25, 0.3]}

    @classmethod
    def example_batch(cls, n: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(n)
        return {"image": torch.randint(0, 256, (n, 3, 32, 32), generator=generator, dtype=torch.uint8)}


class BatchNorm(nn.BatchNorm2d):
    """Batch norm that takes its running statistics where a batch holds a single value a channel, which has no deviation."""

    def forward(self, x_BCHW: Tensor) -> Tensor:
        if self.training and x_BCHW.numel() == x_BCHW.shape[1]:
            return F.batch_norm(x_BCHW, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        return super().forward(x_BCHW)


def conv_norm(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, act: bool = True) -> nn.Sequential:
    """Convolution that keeps the size (over the stride), batch norm, ReLU."""
    layers = [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), BatchNorm(outputs)]
    return nn.Sequential(*layers, nn.ReLU(inplace=True)) if act else nn.Sequential(*layers)
