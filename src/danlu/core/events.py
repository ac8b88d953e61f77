"""What a training run says while it runs. Listeners see these and nothing else; `events.jsonl` is their record."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Event:
    """`step` is the number of optimizer steps done; `seconds` is wall time spent training so far, over all resumes."""

    step: int
    seconds: float

    def as_json(self) -> dict[str, Any]:
        return {"event": type(self).__name__, **asdict(self)}

    def as_line(self) -> str:
        return json.dumps(self.as_json(), ensure_ascii=False, allow_nan=False)


@dataclass(frozen=True)
class Checked(Event):
    """Before a model is built: the data contract in people's words."""

    lines: tuple[str, ...]


@dataclass(frozen=True)
class Started(Event):
    """Before the first step, also after a resume; `steps` is how many there will be at most."""

    steps: int
    epochs: int
    rows: dict[str, int] = field(default_factory=dict)
    parameters: dict[str, int] = field(default_factory=dict)
    precision: str = "fp32"
    device: str = "cpu"


@dataclass(frozen=True)
class Stepped(Event):
    """Steps since the last event of this kind; `loss` is their sum over `count`, `norm` the last gradient norm before clipping."""

    epoch: int
    loss: float
    lr: float
    norm: float
    count: float


@dataclass(frozen=True)
class Evaluated(Event):
    """After an epoch, on the validation side."""

    epoch: int
    metrics: dict[str, float]
    best: bool


@dataclass(frozen=True)
class Saved(Event):
    """A whole checkpoint is on disk."""

    path: str


@dataclass(frozen=True)
class Warned(Event):
    """Something the user should know; `key` and `values` are a sentence of `core/words/`."""

    key: str
    values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Finished(Event):
    """The best weights are chosen. `reason`: epochs, early-stopping or diverged."""

    reason: str
    best_step: int
    metrics: dict[str, float]
