"""A transformers network run from layer to layer: to a boundary, or from it on with what once came to it.

The library's own forward pass runs, with its list of layers cut short: masks and positions are made as ever, and what stands before a
boundary that is given its value costs next to nothing. Shapes: B rows, T pieces of the longest row, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from danlu.nn.packing import PackedLayers


class Boundary(nn.Module):
    """Stands among the layers and passes on what comes, or what it is `given`; `seen` is that, padded: [B, T, D]."""

    def __init__(self, given: Tensor | None, packing: PackedLayers | None, others: int | None, layer: nn.Module) -> None:
        super().__init__()
        self.__dict__["layer"] = layer  # not a part of this one
        self.given, self.packing, self.others, self.seen = given, packing, others, None

    def forward(self, hidden: Tensor, *args: Any, **kwargs: Any) -> Any:
        if self.given is not None:
            self.seen = self.given
        else:
            rows = self.packing.rows if self.packing is not None else None
            self.seen = hidden if rows is None or hidden.shape[:2] == rows.shape else rows.unpack(hidden[0])
        return self.seen if self.others is None else (self.seen, *[None] * self.others)

    def __getattr__(self, name: str) -> Any:
        """What a network asks of its layers, it is told of a real one."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.__dict__["layer"], name)


class Layers:
    """The layers of `net`, at `path` in its body."""

    def __init__(self, net: nn.Module, path: str, layers: nn.ModuleList) -> None:
        parent, _, self.name = path.rpartition(".")
        self.parent, self.layers = net.base_model.get_submodule(parent), layers
        self.others: int | None = None  # how many values a layer gives beside its answer; None where it gives no tuple
        layers[0].register_forward_hook(self._note)

    def _note(self, layer: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        self.others = len(output) - 1 if isinstance(output, tuple) else None

    @contextmanager
    def cut(self, first: int, last: int | None, given: Tensor | None, packing: PackedLayers | None) -> Iterator[Boundary]:
        """Inside, the network has the layers `first` to `last - 1` only; a boundary before them where something is `given` to them, and
        one behind them, which has seen what left them.
        """
        behind = Boundary(None, packing, self.others, self.layers[0])
        before = [] if given is None else [Boundary(given, packing, self.others, self.layers[0])]
        self.parent._modules[self.name] = nn.ModuleList([*before, *self.layers[first:last], *([] if last is None else [behind])])
        try:
            yield behind
        finally:
            self.parent._modules[self.name] = self.layers


def reads_first(head: Callable[[Tensor, Tensor], Tensor], width: int, where: torch.device) -> bool:
    """Whether a head, `(x [B, T, D], lengths [B]) -> logits`, reads the first position of each row and nothing else."""
    x_BTD = torch.linspace(-2, 2, 3 * 4 * width, device=where).sin().view(3, 4, width)
    other_BTD = torch.cat([x_BTD[:, :1], -x_BTD[:, 1:].flip(1)], dim=1)
    lengths_B = torch.tensor([4, 2, 3], device=where)
    try:
        with torch.no_grad():
            answers = head(x_BTD, lengths_B), head(other_BTD, lengths_B), head(x_BTD[:, :1], lengths_B.clamp(max=1))
    except (RuntimeError, IndexError, ValueError):  # a head that wants more than one position
        return False
    return all(torch.allclose(answers[0], answer, atol=1e-5) for answer in answers[1:])
