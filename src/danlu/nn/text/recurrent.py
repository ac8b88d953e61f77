"""Recurrent networks over pieces, read from both ends: plain (Elman), LSTM and GRU.

Shapes: B rows, T pieces, D width of a piece, H hidden width of one direction, C classes.
"""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from danlu.nn.dropout import Dropout, dropout
from danlu.nn.text.token_model import Pieces, TokenModel, mean_and_max

SHAPES = {"small": (128, 128, 1), "base": (256, 256, 2)}  # width of a piece's vector, hidden width, layers
BETWEEN = 0.3  # dropout between layers


class Recurrent(TokenModel):
    """Both directions, then mean and maximum over the real pieces. Rows are packed: padding is never read."""

    cell: ClassVar[type[nn.RNNBase]]

    def __init__(self, classes: int, size: str, vocabulary: int, max_length: int) -> None:
        super().__init__()
        width, hidden, layers = SHAPES[size]
        self.pieces = Pieces(vocabulary, width, 0.3)
        cells = [type(self).cell(width if i == 0 else 2 * hidden, hidden, batch_first=True, bidirectional=True) for i in range(layers)]
        self.layers = nn.ModuleList(cells)
        self.classify = nn.Sequential(Dropout(0.5), nn.Linear(4 * hidden, classes))

    def step(self, stage: nn.Module, x: Any, batch: dict[str, Tensor]) -> Tensor:
        lengths_B = batch["ids_lengths"]
        if stage is self.pieces:
            return stage(batch["ids"], lengths_B)
        if stage is self.classify:
            return stage(x)
        if stage is not self.layers[0]:
            x = dropout(x, BETWEEN, stage.training)
        packed = pack_padded_sequence(x, lengths_B.cpu(), batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(stage(packed)[0], batch_first=True, total_length=x.shape[1])[0]

    def pool(self, x: Tensor, batch: dict[str, Tensor]) -> Tensor:
        return mean_and_max(x, batch["ids_lengths"])

    @property
    def embedding(self) -> nn.Module:
        return self.pieces.table

    def stages(self) -> list[nn.Module]:
        return [self.pieces, *self.layers, self.classify]


class RNN(Recurrent):
    """Elman 1990."""

    cell = nn.RNN


class LSTM(Recurrent):
    """Hochreiter, Schmidhuber 1997."""

    cell = nn.LSTM


class GRU(Recurrent):
    """Cho et al. 2014."""

    cell = nn.GRU
