"""The contract of a task: what a row means. One file per task; the loop, the predictor and the server know only this class.

Everything a task learns from data it learns in `fit`, from training rows alone, and returns from `state`, so that a bundle carries it.
Torch may be imported inside `build`, `augment` and `loss` only.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict

from danlu.core.recipe import Model
from danlu.core.types import Batch, Example, Loss, Prediction, Row
from danlu.data.batches import collate


class Options(BaseModel):
    """A task's own settings, written beside its name in the recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Task(ABC):
    """`inputs` maps each input field of a row to its kind (text, image, audio); `target` is the field that is learned."""

    name: ClassVar[str]
    inputs: ClassVar[dict[str, str]]
    target: ClassVar[str] = "label"
    metric: ClassVar[str] = "accuracy"  # the validation metric that chooses the best weights
    architecture: ClassVar[str]  # where the recipe names none
    Options: ClassVar[type[Options]] = Options

    def __init__(self, options: Options, model: Model) -> None:
        self.options, self.model = options, model
        self.steps: list[str] | None = None  # of augmentation, as the recipe names them; None for the task's own

    # -- learned from the training rows ------------------------------------------------------------------------
    @abstractmethod
    def fit(self, rows: Iterable[Row]) -> None:
        """Learn labels, vocabulary, means and sizes. `rows` can be walked several times and holds training rows only."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Everything `fit` learned, as plain JSON values; `restore` of it gives an equal task."""

    @abstractmethod
    def restore(self, state: dict[str, Any]) -> None:
        """Take back what `state` gave."""

    @abstractmethod
    def adopt(self, facts: dict[str, Any]) -> None:
        """Before `fit`: start from what another bundle's task learned of its inputs (vocabulary, sizes, means), but not its labels."""

    # -- rows to arrays ----------------------------------------------------------------------------------------
    @abstractmethod
    def encode(self, row: Row) -> Example:
        """One row as numpy arrays, the same in training and serving; with `target` where the row has one."""

    def encode_many(self, rows: Sequence[Row]) -> list[Example]:
        """`[encode(row) for row in rows]`, faster where the task can."""
        return [self.encode(row) for row in rows]

    def collate(self, examples: Sequence[Example]) -> Batch:
        """Examples to a batch of numpy arrays with a first axis B."""
        return collate(examples)

    def length(self, example: Example) -> int:
        """What an example costs, for batches of similar length; 1 where all cost the same."""
        return 1

    def cut(self, example: Example) -> tuple[int, int]:
        """How much of the row was kept and how much there was (tokens, samples); equal where nothing is cut."""
        return 1, 1

    @abstractmethod
    def show(self, example: Example) -> str:
        """An encoded example decoded back, as the model sees it."""

    # -- arrays to a model and back ----------------------------------------------------------------------------
    @abstractmethod
    def build(self) -> Any:
        """A model whose `forward(batch of tensors)` gives outputs; weights are random or pretrained as the recipe says."""

    def augmentation(self) -> list[str]:
        """The steps of `augment`, none where it changes nothing."""
        return []

    def augment(self, batch: Batch, seed: int, epoch: int) -> Batch:
        """A changed copy of a batch of tensors, while training only; each row's change is a function of (seed, epoch, batch["row"])."""
        return batch

    @abstractmethod
    def loss(self, outputs: Any, batch: Batch) -> Loss:
        """Summed loss over the batch and its count."""

    @abstractmethod
    def decode(self, outputs: np.ndarray) -> list[Prediction]:
        """Model outputs (numpy, first axis B) as predictions."""

    def export(self, folder: Path) -> None:
        """Write the companions that other libraries expect beside the weights; nothing where the model is Danlu's own."""

    def defaults(self, rows: int) -> dict[str, Any]:
        """Settings for keys that the recipe left open, by dotted key, given the number of training rows."""
        return {}

    @classmethod
    @abstractmethod
    def tiny(cls) -> list[Row]:
        """A few dozen rows that the task learns in seconds; half of them are enough to learn the other half."""
