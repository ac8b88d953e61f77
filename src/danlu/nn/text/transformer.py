"""An encoder in the shape of BERT (Devlin et al. 2019): learned positions, attention both ways, the first piece answers for the text.

Layers normalise before attention, not after it (Xiong et al. 2020, arXiv 2002.04745): from scratch on little data that learns faster.
The layers work on packed rows: see nn/packing.py.
Shapes: B rows, T pieces of the longest, N real pieces of all rows, D width, H heads, K width of a head, C classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from danlu.nn.dropout import Dropout
from danlu.nn.packing import Rows
from danlu.nn.text.token_model import TokenModel, real

SHAPES = {"small": (128, 2, 4), "base": (384, 6, 6)}  # width, layers, heads
DROPOUT = 0.1


class Transformer(TokenModel):
    """`max_length` is the number of positions; a longer row is a RuntimeError."""

    def __init__(self, classes: int, size: str, vocabulary: int, max_length: int) -> None:
        super().__init__()
        self.width, layers, heads = SHAPES[size]
        self.embeddings = Embeddings(vocabulary, max_length, self.width)
        self.layers = nn.ModuleList(Layer(self.width, heads) for _ in range(layers))
        self.classify = nn.Sequential(nn.LayerNorm(2 * self.width), Dropout(0.3), nn.Linear(2 * self.width, classes))

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        lengths_B, width = batch["ids_lengths"], batch["ids"].shape[1]
        rows = Rows(lengths_B, width, self.packs and lengths_B.device.type == "cpu")
        x_ND = self.embeddings(rows.pack(batch["ids"]), rows.place_N)
        for layer in self.layers:
            x_ND = layer(x_ND, rows)
        x_BTD = rows.unpack(x_ND)
        mean_BD = (x_BTD * real(lengths_B, width)[:, :, None]).sum(dim=1) / lengths_B[:, None]
        return self.classify(torch.cat([x_BTD[:, 0], mean_BD], dim=1))

    @property
    def padding_free(self) -> bool:
        return self.packs

    def stages(self) -> list[nn.Module]:
        return [self.embeddings, *self.layers, self.classify]


class Embeddings(nn.Module):
    """Vector of the piece plus vector of its place: [N], [N] -> [N, D]."""

    def __init__(self, vocabulary: int, positions: int, width: int) -> None:
        super().__init__()
        self.pieces, self.places = nn.Embedding(vocabulary, width), nn.Embedding(positions, width)
        nn.init.normal_(self.pieces.weight, std=0.1)
        nn.init.normal_(self.places.weight, std=0.02)
        self.finish = nn.Sequential(nn.LayerNorm(width), Dropout(DROPOUT))

    def forward(self, ids_N: Tensor, places_N: Tensor) -> Tensor:
        return self.finish(self.pieces(ids_N) + self.places(places_N))


class Layer(nn.Module):
    """Attention, then two linear layers, each added to what came in."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention, self.before_mixing = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value, self.output = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mixing = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.dropout = Dropout(DROPOUT)

    def forward(self, x_ND: Tensor, rows: Rows) -> Tensor:
        qkv_N3HK = self.query_key_value(self.before_attention(x_ND)).unflatten(-1, (3, self.heads, -1))
        x_ND = x_ND + self.dropout(self.output(rows.attend(*qkv_N3HK.unbind(1)).flatten(1)))
        return x_ND + self.dropout(self.mixing(self.before_mixing(x_ND)))
