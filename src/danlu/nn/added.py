"""What adapting puts into a model: modules that are no part of the weights it started from."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import gelu


class Added(nn.Module):
    """Everything below such a module belongs to the adapter, not to the plain weights."""


class Vectors(Added):
    """Learned vectors that stand where something that was computed would stand."""

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        self.values = nn.Parameter(values.detach().clone().contiguous())
        self.values.is_scale = True

    def forward(self) -> Tensor:
        return self.values


class Bottleneck(Added):
    """Through a narrow layer and back, added to what came in (Houlsby et al. 2019, arXiv 1902.00751); at first it adds nothing.

    Vectors lie along the last axis, or along axis 1 of pictures [B, C, H, W].
    """

    def __init__(self, width: int, narrow: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(width, narrow), nn.Linear(narrow, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        inside = x.movedim(1, -1) if x.ndim == 4 else x
        found = inside + self.up(gelu(self.down(inside)))
        return found.movedim(-1, 1) if x.ndim == 4 else found
