"""What all classifiers share: labels, the loss, and turning outputs into predictions."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterable
from typing import Any

import numpy as np
from pydantic import Field

from danlu.core.types import Batch, Loss, Prediction, Row
from danlu.tasks.task import Options, Task


class ClassificationOptions(Options):
    label_smoothing: float | None = Field(None, ge=0, lt=1, description="Share of the target spread over all labels")


def natural(label: str) -> list[tuple[int, int, str]]:
    """Sort key by which label 2 stands before label 10."""
    return [(0, int(part), "") if part.isdigit() and part.isascii() else (1, 0, part) for part in re.split(r"(\d+)", label) if part]


class Classification(Task):
    """One label out of several. A subclass adds `fit_inputs`, `encode_inputs`, `build` and its facts."""

    Options = ClassificationOptions
    smoothing = 0.0  # where the recipe says nothing

    def fit(self, rows: Iterable[Row]) -> None:
        self.labels = sorted({row[self.target] for row in rows}, key=natural)
        self.fit_inputs(rows)

    @abstractmethod
    def fit_inputs(self, rows: Iterable[Row]) -> None:
        """Learn what encoding and the model need from the inputs of the training rows."""

    @abstractmethod
    def encode_inputs(self, row: Row) -> dict[str, Any]:
        """The inputs of one row as arrays."""

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """What `fit_inputs` learned, as JSON values."""

    @abstractmethod
    def adopt(self, facts: dict[str, Any]) -> None:
        """Take facts: a bundle's own, or before `fit` those of a bundle to start from, which `fit_inputs` then keeps."""

    def state(self) -> dict[str, Any]:
        return {"labels": self.labels, "facts": self.facts()}

    def restore(self, state: dict[str, Any]) -> None:
        self.labels = list(state["labels"])
        self.adopt(state["facts"])

    def encode(self, row: Row) -> dict[str, Any]:
        example = self.encode_inputs(row)
        if row.get(self.target) is not None:
            example["target"] = np.int64(self.index(row[self.target]))
        return example

    def index(self, label: str) -> int:
        """The number of a label; KeyError for one that training never saw."""
        if getattr(self, "_index_labels", None) is not self.labels:
            self._index, self._index_labels = {name: i for i, name in enumerate(self.labels)}, self.labels
        return self._index[label]

    def loss(self, outputs: Any, batch: Batch) -> Loss:
        from torch.nn.functional import cross_entropy

        smoothing = self.smoothing if self.options.label_smoothing is None else self.options.label_smoothing
        total = cross_entropy(outputs.float(), batch["target"], reduction="sum", label_smoothing=smoothing)
        return Loss(total, len(outputs))

    def decode(self, outputs: np.ndarray) -> list[Prediction]:
        return [
            Prediction(self.labels[int(line.argmax())], float(line.max()), dict(zip(self.labels, map(float, line), strict=True)))
            for line in self.probabilities(outputs)
        ]

    @staticmethod
    def probabilities(outputs: np.ndarray) -> np.ndarray:
        """Softmax in float64: [B, C], lines sum to 1."""
        shifted = outputs.astype(np.float64)
        shifted -= shifted.max(axis=1, keepdims=True)
        exponent = np.exp(shifted)
        return exponent / exponent.sum(axis=1, keepdims=True)
