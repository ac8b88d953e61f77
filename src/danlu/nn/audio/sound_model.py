"""What sound architectures share: front end first, then their own stages, then a linear head."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from danlu.nn.audio.frontend import FrontEnd
from danlu.nn.model import Model


class SoundModel(Model):
    """A subclass fills `self.body` with stages from features [B, F, M] to a vector [B, width] and calls `finish`."""

    def __init__(
        self, *, rate: int, samples: int, hop: int, features: str, mels: int, mean: list[float], deviation: list[float]
    ) -> None:
        super().__init__()
        self.bins, self.frames = len(mean), 1 + samples // hop
        self.front = FrontEnd(rate, hop, features, mels, mean, deviation)
        self.body = nn.ModuleList()

    def finish(self, width: int, classes: int) -> None:
        """Add the head."""
        self.head_layer = nn.Linear(width, classes)

    def stages(self) -> list[nn.Module]:
        return [self.front, *self.body, self.head_layer]

    @classmethod
    def example_facts(cls) -> dict[str, Any]:
        """One second at 16 kHz in 64 mel bins."""
        return {
            "rate": 16_000, "samples": 16_000, "hop": 256, "features": "log-mel", "mels": 64, "mean": [-11.0] * 64, "deviation": [4.0] * 64,
        }  # fmt: skip

    @classmethod
    def example_batch(cls, n: int) -> dict[str, Tensor]:
        """`n` seconds of noise as 16-bit samples, each row different and always the same."""
        generator = torch.Generator().manual_seed(0)
        return {"audio": (torch.randn(n, 16_000, generator=generator) * 2000).to(torch.int16)}


class AttentivePool(nn.Module):
    """[B, F, D] -> [B, D]: the mean over time weighted by a learned score of each frame, so that silence need not count."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.score = nn.Linear(width, 1)

    def forward(self, x_BFD: Tensor) -> Tensor:
        weight_BF1 = self.score(x_BFD).softmax(dim=1)
        return (weight_BF1 * x_BFD).sum(dim=1)
