"""A bag of weighted n-grams: the weighted sum of their vectors, then a linear layer.

After fastText (Joulin et al. 2016), with TF-IDF weights in place of the plain mean.

Shapes: B rows, T n-grams of all rows one after the other, V n-grams known, D width, C classes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout

from danlu.nn.model import Model

WIDTHS = {"small": 64, "base": 128}
DROPOUT = 0.5  # of whole n-grams: no single one may carry the answer


class Bag(Model):
    """`batch` holds `ids` int64 [T], `weights` float32 [T] and `offsets` int64 [B], where each row begins."""

    def __init__(self, classes: int, size: str, vocabulary: int) -> None:
        super().__init__()
        width = WIDTHS[size]
        self.embed = nn.EmbeddingBag(vocabulary, width, mode="sum")
        self.classify = nn.Linear(width, classes)
        nn.init.normal_(self.embed.weight, std=0.1)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        weights_T = dropout(batch["weights"], DROPOUT, self.training)
        return self.classify(self.embed(batch["ids"], batch["offsets"], per_sample_weights=weights_T))

    def stages(self) -> list[nn.Module]:
        return [self.embed, self.classify]

    @classmethod
    def example_facts(cls) -> dict[str, Any]:
        return {"vocabulary": 100_000}

    @classmethod
    def example_batch(cls, n: int) -> dict[str, Tensor]:
        """Row i holds i + 1 n-grams."""
        lengths_B = torch.arange(1, n + 1)
        total = int(lengths_B.sum())
        ids_T = torch.randint(0, 100_000, (total,), generator=torch.Generator().manual_seed(n))
        weights_T = torch.cat([torch.full((k,), k**-0.5) for k in range(1, n + 1)])
        return {"ids": ids_T, "weights": weights_T, "offsets": lengths_B.cumsum(0) - lengths_B}
