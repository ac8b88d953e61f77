"""Every pixel into two hidden layers: knows nothing of neighbourhood, a floor for the others to stand on."""

from __future__ import annotations

from typing import Any

from torch import nn

from danlu.nn.dropout import Dropout
from danlu.nn.image.model import ImageModel

WIDTHS = {"small": (256, 128), "base": (1024, 512)}


class MLP(ImageModel):
    def __init__(self, classes: int, size: str, **facts: Any) -> None:
        super().__init__(**facts)
        wide, narrow = WIDTHS[size]
        pixels = self.channels * self.sides[0] * self.sides[1]
        self.first = nn.Sequential(nn.Flatten(), nn.Linear(pixels, wide), nn.LayerNorm(wide), nn.ReLU(), Dropout(0.2))
        self.second = nn.Sequential(nn.Linear(wide, narrow), nn.LayerNorm(narrow), nn.ReLU(), Dropout(0.2))
        self.classify = nn.Linear(narrow, classes)

    def stages(self) -> list[nn.Module]:
        return [self.first, self.second, self.classify]
