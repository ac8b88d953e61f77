"""An encoder in the shape of BERT (Devlin et al. 2019): learned positions, attention both ways, the first piece answers for the text.

Layers normalise before attention, not after it (Xiong et al. 2020, arXiv 2002.04745): from scratch on little data that learns faster.
The layers work on packed rows: see nn/packing.py.
Shapes: B rows, T pieces of the longest, N real pieces of all rows, D width, H heads, K width of a head, C classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from danlu.nn.added import Vectors
from danlu.nn.dropout import Dropout
from danlu.nn.packing import Rows, Watched
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

    def run(self, batch: dict[str, Tensor], first: int = 0, last: int | None = None) -> Tensor:
        """Between stages rows are padded; from layer to layer they stay packed."""
        stages = self.stages()
        head = len(stages) - 1
        last = len(stages) if last is None else last
        if first == head:
            return self.classify(batch["inner"])
        lengths_B, width, ahead = batch["ids_lengths"], batch["ids"].shape[1], self.embeddings.ahead
        rows = Rows(lengths_B + ahead, width + ahead, self.packs and lengths_B.device.type == "cpu")
        x_ND = rows.pack(batch["inner"]) if first else self.embeddings(rows.pack(pad(batch["ids"], (ahead, 0))), rows.place_N)
        for layer in stages[max(1, first) : min(head, last)]:
            x_ND = layer(x_ND, rows)
        if last < head:
            return rows.unpack(x_ND)
        x_BTD = rows.unpack(x_ND)[:, ahead:]
        mean_BD = (x_BTD * real(lengths_B, width)[:, :, None]).sum(dim=1) / lengths_B[:, None]
        read_BE = torch.cat([x_BTD[:, 0], mean_BD], dim=1)
        return read_BE if last == head else self.classify(read_BE)

    @property
    def cuts(self) -> bool:
        return not self.embeddings.ahead

    def add_prompt(self, count: int) -> None:
        """The vectors stand before the first place and begin as those of pieces drawn from the vocabulary; only the text answers."""
        words = self.embeddings.pieces.weight
        self.embeddings.prompt = Vectors(words[torch.randint(len(words), (count,))])

    def add_prefix(self, count: int) -> None:
        """They begin as the keys and values of `count` pieces drawn from the vocabulary, each a row of its own."""
        rows = Watched(torch.ones(count, dtype=torch.int64), 1)
        with torch.no_grad():
            x_ND = self.embeddings(torch.randint(self.embeddings.pieces.num_embeddings, (count,)), rows.place_N)
            for layer in self.layers:
                x_ND = layer(x_ND, rows)
        for layer, seen_2HPK in zip(self.layers, rows.seen, strict=True):
            layer.prefix = Vectors(seen_2HPK)

    @property
    def padding_free(self) -> bool:
        return self.packs

    @property
    def embedding(self) -> nn.Module:
        return self.embeddings.pieces

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
        self.prompt: Vectors | None = None

    @property
    def ahead(self) -> int:
        """Learned vectors before each text."""
        return 0 if self.prompt is None else len(self.prompt.values)

    def forward(self, ids_N: Tensor, places_N: Tensor) -> Tensor:
        x_ND = self.pieces(ids_N) + self.places((places_N - self.ahead).clamp(min=0))
        if self.prompt is not None:
            learned_ND = self.prompt()[places_N.clamp(max=self.ahead - 1)]
            x_ND = torch.where((places_N < self.ahead)[:, None], learned_ND, x_ND)
        return self.finish(x_ND)


class Layer(nn.Module):
    """Attention, then two linear layers, each added to what came in."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention, self.before_mixing = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value, self.output = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mixing = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.dropout = Dropout(DROPOUT)
        self.prefix: Vectors | None = None

    def forward(self, x_ND: Tensor, rows: Rows) -> Tensor:
        qkv_N3HK = self.query_key_value(self.before_attention(x_ND)).unflatten(-1, (3, self.heads, -1))
        prefix_2HPK = None if self.prefix is None else self.prefix()
        seen_NHK = rows.attend(*qkv_N3HK.unbind(1), prefix_2HPK=prefix_2HPK)
        x_ND = x_ND + self.dropout(self.output(seen_NHK.flatten(1)))
        return x_ND + self.dropout(self.mixing(self.before_mixing(x_ND)))
