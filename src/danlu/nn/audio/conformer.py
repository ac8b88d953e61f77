"""The Conformer (Gulati et al. 2020, "Conformer: Convolution-augmented Transformer for Speech Recognition") for whole sounds.

Differences from the paper: positions are rotations of queries and keys (Su et al. 2021, RoFormer), the convolution is normalised over
channels instead of over the batch, each branch starts at zero, and the stem is a residual network: a few hundred sounds are enough to learn.
Shapes: B rows, F frames, M mel bins, C channels, H heads, D width, E width of a head.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import glu, scaled_dot_product_attention, silu

from danlu.nn.audio.cnn import Residual, Stem, halved
from danlu.nn.audio.sound_model import AttentivePool, SoundModel
from danlu.nn.dropout import Dropout

_SIZES = {"small": (128, 3, 4), "base": (256, 8, 4)}  # width, blocks, heads


class Conformer(SoundModel):
    """A residual stem that quarters time, Conformer blocks, attentive pooling."""

    def __init__(self, classes: int, size: str = "small", *, dropout: float = 0.1, **facts: Any) -> None:
        super().__init__(**facts)
        width, blocks, heads = _SIZES[size]
        self.body.append(Subsample(self.bins, width, dropout))
        self.body.extend(Block(width, heads, dropout) for _ in range(blocks))
        self.body.append(AttentivePool(width))
        self.finish(width, classes)


class Subsample(nn.Module):
    """[B, F, M] -> [B, F/4, D]."""

    def __init__(self, bins: int, width: int, dropout: float, channels: int = 32) -> None:
        super().__init__()
        self.stem = Stem(channels)
        self.levels = nn.Sequential(Residual(channels, 2 * channels, stride=2), Residual(2 * channels, 4 * channels, stride=(1, 2)))
        self.linear = nn.Linear(4 * channels * halved(halved(halved(bins))), width)
        self.dropout = Dropout(dropout)

    def forward(self, x_BFM: Tensor) -> Tensor:
        x_BCFM = self.levels(self.stem(x_BFM))
        return self.dropout(self.linear(x_BCFM.transpose(1, 2).flatten(2)))


class Block(nn.Module):
    """Half a feed-forward, attention, convolution, half a feed-forward, each added to what it read; at first each adds nothing."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.feed1 = feed_forward(width, dropout)
        self.attention = Attention(width, heads, dropout)
        self.convolution = Convolution(width, dropout)
        self.feed2 = feed_forward(width, dropout)
        self.norm = nn.LayerNorm(width)
        for last in (self.feed1[-2], self.feed2[-2], self.attention.out, self.convolution.out):
            nn.init.zeros_(last.weight)

    def forward(self, x_BFD: Tensor) -> Tensor:
        x_BFD = x_BFD + 0.5 * self.feed1(x_BFD)
        x_BFD = x_BFD + self.attention(x_BFD)
        x_BFD = x_BFD + self.convolution(x_BFD)
        return self.norm(x_BFD + 0.5 * self.feed2(x_BFD))


def feed_forward(width: int, dropout: float) -> nn.Sequential:
    """Four times as wide inside, with SiLU."""
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, width), Dropout(dropout))


class Attention(nn.Module):
    """Multi-head self-attention that sees relative positions."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.dropout = Dropout(dropout)

    def forward(self, x_BFD: Tensor) -> Tensor:
        q_BHFE, k_BHFE, v_BHFE = self.qkv(self.norm(x_BFD)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed_BHFE = scaled_dot_product_attention(rotated(q_BHFE), rotated(k_BHFE), v_BHFE)
        return self.dropout(self.out(mixed_BHFE.transpose(1, 2).flatten(2)))


def rotated(x_BHFE: Tensor) -> Tensor:
    """Pairs of channels turned by an angle that grows with the position, so that products depend on distances only."""
    frames, half = x_BHFE.shape[-2], x_BHFE.shape[-1] // 2
    speed_E = 10_000.0 ** (-torch.arange(half, device=x_BHFE.device) / half)
    angle_FE = torch.arange(frames, device=x_BHFE.device)[:, None] * speed_E
    cosine_FE, sine_FE = angle_FE.cos().to(x_BHFE.dtype), angle_FE.sin().to(x_BHFE.dtype)
    a, b = x_BHFE[..., :half], x_BHFE[..., half:]
    return torch.cat([a * cosine_FE - b * sine_FE, a * sine_FE + b * cosine_FE], dim=-1)


class Convolution(nn.Module):
    """Pointwise with a gate, depthwise over 15 frames, pointwise."""

    def __init__(self, width: int, dropout: float, kernel: int = 15) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.gate = nn.Linear(width, 2 * width)
        self.depthwise = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)
        self.inner = nn.LayerNorm(width)
        self.out = nn.Linear(width, width)
        self.dropout = Dropout(dropout)

    def forward(self, x_BFD: Tensor) -> Tensor:
        y_BFD = glu(self.gate(self.norm(x_BFD)), dim=-1)
        y_BFD = self.depthwise(y_BFD.transpose(1, 2)).transpose(1, 2)
        return self.dropout(self.out(silu(self.inner(y_BFD))))
