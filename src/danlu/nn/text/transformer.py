"""An encoder in the shape of BERT (Devlin et al. 2019): learned positions, attention both ways, the first piece answers for the text.

Layers normalise before attention, not after it (Xiong et al. 2020, arXiv 2002.04745): from scratch on little data that learns faster.
Shapes: B rows, T pieces, D width, N heads, K width of a head, C classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

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
        self.classify = nn.Sequential(nn.LayerNorm(2 * self.width), nn.Dropout(0.3), nn.Linear(2 * self.width, classes))

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        lengths_B = batch["ids_lengths"]
        x_BTD = self.embeddings(batch["ids"])
        real_BT = real(lengths_B, x_BTD.shape[1])
        for layer in self.layers:
            x_BTD = layer(x_BTD, real_BT[:, None, None, :])
        mean_BD = (x_BTD * real_BT[:, :, None]).sum(dim=1) / lengths_B[:, None]
        return self.classify(torch.cat([x_BTD[:, 0], mean_BD], dim=1))

    def stages(self) -> list[nn.Module]:
        return [self.embeddings, *self.layers, self.classify]


class Embeddings(nn.Module):
    """Vector of the piece plus vector of its place: [B, T] -> [B, T, D]."""

    def __init__(self, vocabulary: int, positions: int, width: int) -> None:
        super().__init__()
        self.pieces, self.places = nn.Embedding(vocabulary, width), nn.Embedding(positions, width)
        nn.init.normal_(self.pieces.weight, std=0.1)
        nn.init.normal_(self.places.weight, std=0.02)
        self.finish = nn.Sequential(nn.LayerNorm(width), nn.Dropout(DROPOUT))

    def forward(self, ids_BT: Tensor) -> Tensor:
        return self.finish(self.pieces(ids_BT) + self.places.weight[: ids_BT.shape[1]])


class Layer(nn.Module):
    """Attention, then two linear layers, each added to what came in."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention, self.before_mixing = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value, self.output = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mixing = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, x_BTD: Tensor, real_B11T: Tensor) -> Tensor:
        rows, pieces, width = x_BTD.shape
        qkv = self.query_key_value(self.before_attention(x_BTD)).view(rows, pieces, 3, self.heads, width // self.heads)
        q_BNTK, k_BNTK, v_BNTK = qkv.permute(2, 0, 3, 1, 4)
        seen_BNTK = scaled_dot_product_attention(q_BNTK, k_BNTK, v_BNTK, attn_mask=real_B11T)
        x_BTD = x_BTD + self.dropout(self.output(seen_BNTK.transpose(1, 2).reshape(rows, pieces, width)))
        return x_BTD + self.dropout(self.mixing(self.before_mixing(x_BTD)))
