"""Vision transformer (Dosovitskiy et al., arXiv 2010.11929), pre-norm, without a class token: the mean over patches is classified, as in
Beyer, Zhai, Kolesnikov, "Better plain ViT baselines" (arXiv 2205.01580).

Shapes: B batch, C channels, H height, W width, T patches, D model width, N heads, K width of a head.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from danlu.nn.dropout import Dropout
from danlu.nn.image.model import ImageModel

_MOST_PATCHES = 100


class Shape(NamedTuple):
    width: int
    depth: int
    heads: int


SHAPES = {"small": Shape(128, 6, 4), "base": Shape(256, 8, 8)}


class Patches(nn.Module):
    """Square patches, each a vector with its place: [B, C, H, W] -> [B, T, D]. The last ones are filled up with the mean colour, 0."""

    def __init__(self, channels: int, height: int, width: int, outputs: int) -> None:
        super().__init__()
        side = 1
        while -(-height // side) * -(-width // side) > _MOST_PATCHES:
            side *= 2
        self.fill = (0, -width % side, 0, -height % side)
        self.cut = nn.Conv2d(channels, outputs, side, side)
        self.place_TD = nn.Parameter(torch.randn(-(-height // side) * -(-width // side), outputs) * 0.02)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.cut(F.pad(x_BCHW, self.fill)).flatten(2).transpose(1, 2) + self.place_TD


class Block(nn.Module):
    """Attention, then two dense layers, each on normed input and added to it."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention, self.norm_dense = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value, self.mix = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.dense = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.drop = Dropout(dropout)

    def forward(self, x_BTD: Tensor) -> Tensor:
        batch, patches, width = x_BTD.shape
        parts = self.query_key_value(self.norm_attention(x_BTD)).view(batch, patches, 3, self.heads, width // self.heads)
        query_BNTK, key_BNTK, value_BNTK = parts.permute(2, 0, 3, 1, 4)
        seen_BTD = F.scaled_dot_product_attention(query_BNTK, key_BNTK, value_BNTK).transpose(1, 2).reshape(batch, patches, width)
        x_BTD = x_BTD + self.drop(self.mix(seen_BTD))
        return x_BTD + self.drop(self.dense(self.norm_dense(x_BTD)))


class ViT(ImageModel):
    """At most 100 patches whatever the picture's size: the patch is the smallest power of two that gives so few."""

    def __init__(self, classes: int, size: str, **facts: Any) -> None:
        super().__init__(**facts)
        width, depth, heads = SHAPES[size]
        self.patches = Patches(self.channels, *self.sides, width)
        self.blocks = nn.ModuleList(Block(width, heads, 0.1) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.classify = nn.Linear(width, classes)

    def pool(self, x: Tensor, batch: dict[str, Tensor]) -> Tensor:
        return x.mean(dim=1)

    def stages(self) -> list[nn.Module]:
        return [self.patches, *self.blocks, self.norm, self.classify]
