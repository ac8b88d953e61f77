"""The processes that train together. Alone, there is nothing to do; the others are asked only for sums, and for what the first one decided.

Every process runs the same loop over the same data. What decides anything (a metric, a signal, whether a checkpoint is due) is the same
number in all of them, so that they turn at the same corners.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from danlu.core.types import Loss
from danlu.nn.model import Model
from danlu.train.launch import LOST, place, tie

T = TypeVar("T")


class World:
    """A process that trains alone."""

    rank, size, sharded = 0, 1, False

    @property
    def leads(self) -> bool:
        """Whether this process writes, listens and speaks."""
        return self.rank == 0

    def device(self, wished: torch.device) -> torch.device:
        """This process's own device of the wished kind."""
        return wished

    def alike(self, **facts: object) -> None:
        """InputError in every process where one has other facts than the first."""

    def told(self, value: T) -> T:
        """The first process's value (whatever JSON can say) in every process."""
        return value

    def most(self, *numbers: int) -> list[int]:
        """The largest of each number over all processes."""
        return list(numbers)

    def mine(self, parts: Sequence[np.ndarray]) -> list[tuple[int, np.ndarray, float]]:
        """The parts of a step that this process computes: number, positions, and the weight of its loss, 0 for one that only keeps others company."""
        return [(number, part, 1.0) for number, part in enumerate(parts)]

    def summed(self, model: Model, loss: Loss) -> Loss:
        """Sums gradients and loss over all processes: each then holds what one alone would."""
        return loss

    def share(self, count: int) -> np.ndarray:
        """The positions out of `count` that this process answers, equally many in each process."""
        return np.arange(count)

    def gathered(self, part_MC: np.ndarray, count: int) -> np.ndarray:
        """What every process answered for its `share`, in order: [count, C]."""
        return part_MC

    def same(self, tensors: dict[str, Tensor] | None) -> dict[str, Tensor] | None:
        """The first process's named tensors, in the memory of every process. What the others hand over is not looked at."""
        return tensors

    def level(self, tensors: Iterable[Tensor]) -> None:
        """Gives tensors the first process's values."""

    def leave(self) -> None:
        """Ends the togetherness: from here on the first process is alone, and nobody waits for the others."""


@contextmanager
def join() -> Iterator[World]:
    """This process's world, met before anything is written. One that loses the others ends silently with status LOST: who watches says why."""
    here = place()
    if here.size == 1:
        yield World()
        return
    from danlu.train.ranks import Ranks, lost

    tie()
    world = Ranks(here)
    try:
        yield world
        world.leave()
    except RuntimeError as error:
        if lost(error):
            raise SystemExit(LOST) from error
        raise
    finally:
        world.close()
