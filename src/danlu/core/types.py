"""The small carriers that travel between floors. Nothing here does work; everything here is plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Row = Mapping[str, Any]
"""One line of the user's data by field name: `{"text": "...", "label": "sport"}`. Media are decoded values, not paths."""

Example = dict[str, Any]
"""One encoded row: a dict of numpy arrays. A labelled one holds `target`."""

Batch = dict[str, Any]
"""Several examples collated: the same keys with a first axis B."""

SIDES = ("train", "validation", "test")


class Loss(NamedTuple):
    """A sum over the batch and what it was summed over; divided once per optimizer step, never averaged twice."""

    total: Any
    count: Any


class Sound(NamedTuple):
    """Decoded sound: `samples` is float32 [T], mono, in -1..1; `rate` is samples per second."""

    samples: Any
    rate: int


class Measure(NamedTuple):
    """A number shown to a user: its value, a 95% interval and how many rows it was measured on."""

    value: float
    low: float
    high: float
    n: int

    def as_json(self) -> dict[str, float | int]:
        return {"value": self.value, "low": self.low, "high": self.high, "n": self.n}


@dataclass(frozen=True)
class Prediction:
    """What a classifier says of one row. `scores` are probabilities over every label and sum to 1."""

    label: str
    score: float
    scores: dict[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {"label": self.label, "score": self.score, "scores": self.scores}
