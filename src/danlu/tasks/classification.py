"""What all classifiers share: labels, the loss, and turning outputs into predictions."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from danlu.core.node import BY_METHOD, Choice
from danlu.core.types import Batch, Loss, Prediction, Row
from danlu.tasks.task import Options, Task


class LossOptions(Choice):
    own: ClassVar[dict[str, dict[str, Any]]] = {"cross-entropy": {}, "focal": {"gamma": 2.0}}

    name: Literal["cross-entropy", "focal"] = Field("cross-entropy", description="focal: rows that are already right count for less")
    gamma: float | None = Field(None, ge=0, le=20, description="Power of what is missing to certainty (focal)", json_schema_extra=BY_METHOD)


class ClassificationOptions(Options):
    loss: LossOptions = Field(default_factory=LossOptions, description="What is made small for each row")
    class_weights: Literal["none", "balanced"] = Field("none", description="balanced: every label counts alike, however rare its rows")
    label_smoothing: float | None = Field(None, ge=0, lt=1, description="Share of the target spread over all labels")


def natural(label: str) -> list[tuple[int, int, str]]:
    """Sort key by which label 2 stands before label 10."""
    return [(0, int(part), "") if part.isdigit() and part.isascii() else (1, 0, part) for part in re.split(r"(\d+)", label) if part]


class Classification(Task):
    """One label out of several. A subclass adds `fit_inputs`, `encode_inputs`, `build` and its facts."""

    Options = ClassificationOptions
    smoothing = 0.0  # where the recipe says nothing
    weights: list[float] | None = None  # of a row of each label, where they differ

    def fit(self, rows: Iterable[Row]) -> None:
        counts = Counter(row[self.target] for row in rows)
        self.labels = sorted(counts, key=natural)
        if self.options.class_weights == "balanced":
            self.weights = [counts.total() / (len(counts) * counts[label]) for label in self.labels]
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
        return {"labels": self.labels, "facts": self.facts()} | ({} if self.weights is None else {"weights": self.weights})

    def restore(self, state: dict[str, Any]) -> None:
        self.labels, self.weights = list(state["labels"]), state.get("weights")
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
        """Cross-entropy or the focal loss of Lin et al. (2017, arXiv 1708.02002): each row's cross-entropy times (1 - p) ** gamma.

        Where labels have weights, the count is the sum of the rows' weights, so that the mean is the weighted one however rows are divided.
        """
        from torch.nn.functional import cross_entropy

        smoothing = self.smoothing if self.options.label_smoothing is None else self.options.label_smoothing
        logits_BC, target_B, focal = outputs.float(), batch["target"], self.options.loss.name == "focal"
        weights_C = None if self.weights is None else logits_BC.new_tensor(self.weights)
        reduction = "none" if focal else "sum"
        total = cross_entropy(logits_BC, target_B, weights_C, reduction=reduction, label_smoothing=smoothing)
        if focal:
            chance_B = logits_BC.softmax(dim=1).gather(1, target_B[:, None])[:, 0]
            total = (total * (1 - chance_B).clamp(min=1e-7) ** self.options.loss.gamma).sum()  # the slope of 0 ** gamma may be infinite
        return Loss(total, len(outputs) if weights_C is None else weights_C[target_B].sum())

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
