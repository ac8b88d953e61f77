"""A bag of weighted n-grams read twice: a linear classifier over all of them, and vectors of the most frequent ones.

The linear part is the classifier of Wang & Manning (2012, "Baselines and Bigrams"): each weight is scaled by how much more often its
n-gram stands in the class than elsewhere, so that n-grams that tell nothing can hardly move; of few rows it begins with the regression
solved, since steps that are drawn at random and stopped early do not get there. The vectors are fastText's (Joulin et al.
2016): n-grams that stand in the same classes share what they learn.

Shapes: B rows, T n-grams of all rows one after the other, V n-grams known, F of them frequent, D width, C classes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding_bag

from danlu.nn.model import Model

SHAPES = {"small": (64, 30_000), "base": (128, 100_000)}  # width of a vector, n-grams that have one
LINEAR_DROPOUT, VECTOR_DROPOUT = 0.3, 0.5  # of whole n-grams: no single one may carry the answer
LINEAR_RATE = 5.0  # the linear part learns so many times faster: its inputs are small and its problem is convex


class Bag(Model):
    """`batch` holds `ids` int64 [T], smaller ones more frequent, `weights` float32 [T] and `offsets` int64 [B], where each row begins."""

    def __init__(self, classes: int, size: str, vocabulary: int) -> None:
        super().__init__()
        width, frequent = SHAPES[size]
        self.vectors = nn.EmbeddingBag(min(vocabulary, frequent), width, mode="sum")
        self.dropout = nn.Dropout(VECTOR_DROPOUT)
        self.classify = Head(vocabulary, width, classes)
        nn.init.normal_(self.vectors.weight, std=0.1)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        ids_T, weights_T, offsets_B = batch["ids"], batch["weights"], batch["offsets"]
        frequent = self.vectors.num_embeddings
        vector_weights_T = self.dropout(weights_T * (ids_T < frequent))
        vector_BD = self.vectors(ids_T.clamp(max=frequent - 1), offsets_B, per_sample_weights=vector_weights_T)
        return self.classify(vector_BD, ids_T, weights_T, offsets_B)

    def start(self, evidence_VC: Tensor) -> None:
        """Take the scale of each linear weight: the log ratio of an n-gram's share in the class to its share in the others."""
        self.classify.evidence.copy_(evidence_VC)

    def start_solved(self, coefficients_VC: Tensor, intercept_C: Tensor) -> None:
        """Begin with a regression that is already fitted: the vectors add nothing until they have learned something."""
        with torch.no_grad():
            self.classify.table.copy_(coefficients_VC)
            self.classify.linear.bias.copy_(intercept_C)
            self.classify.linear.weight.zero_()

    def parameter_groups(self, lr: float, weight_decay: float) -> list[dict[str, Any]]:
        """The linear table has a learning rate of its own."""
        table = self.classify.table
        groups = super().parameter_groups(lr, weight_decay)
        groups = [group | {"params": [p for p in group["params"] if p is not table]} for group in groups]
        return [*groups, *([{"params": [table], "weight_decay": weight_decay, "lr": LINEAR_RATE * lr}] if table.requires_grad else [])]

    @property
    def embedding(self) -> nn.Module:
        return self.vectors

    def stages(self) -> list[nn.Module]:
        return [self.vectors, self.classify]

    @classmethod
    def example_facts(cls) -> dict[str, Any]:
        return {"vocabulary": 100_000}

    @classmethod
    def example_batch(cls, n: int) -> dict[str, Tensor]:
        """Row i holds i + 1 n-grams, all of them frequent."""
        lengths_B = torch.arange(1, n + 1)
        total = int(lengths_B.sum())
        ids_T = torch.randint(0, 10_000, (total,), generator=torch.Generator().manual_seed(n))
        weights_T = torch.cat([torch.full((k,), k**-0.5) for k in range(1, n + 1)])
        return {"ids": ids_T, "weights": weights_T, "offsets": lengths_B.cumsum(0) - lengths_B}


class Head(nn.Module):
    """What depends on the labels: the linear table with its scale, and the layer after the vectors."""

    def __init__(self, vocabulary: int, width: int, classes: int) -> None:
        super().__init__()
        self.register_buffer("evidence", torch.ones(vocabulary, classes))
        self.table = nn.Parameter(torch.zeros(vocabulary, classes))
        self.linear = nn.Linear(width, classes)
        self.dropout = nn.Dropout(LINEAR_DROPOUT)

    def forward(self, vector_BD: Tensor, ids_T: Tensor, weights_T: Tensor, offsets_B: Tensor) -> Tensor:
        weights_T = self.dropout(weights_T)
        table_VC = self.table * self.evidence
        return self.linear(vector_BD) + embedding_bag(ids_T, table_VC, offsets_B, mode="sum", per_sample_weights=weights_T)
