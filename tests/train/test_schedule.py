"""Every schedule at its key points, and that each is a function of the step and the scores alone."""

from __future__ import annotations

import math

import pytest
from pydantic import ValidationError

from danlu.core.recipe import Optimizer, Schedule
from danlu.train.schedule import factor, falls

STEPS = 1000


def at(step: int, scores: list[list[float]] | None = None, **settings: object) -> float:
    return factor(Schedule.model_validate(settings), step, STEPS, scores or [])


@pytest.mark.parametrize("name", [name for name in Schedule.own if name != "one-cycle"])
def test_warm_up_rises_to_the_peak(name: str) -> None:
    assert at(0, name=name, warmup=0.1) == pytest.approx(0.01)
    assert at(49, name=name, warmup=0.1) == pytest.approx(0.5)
    assert at(99, name=name, warmup=0.1) == at(100, name=name, warmup=0.1) == 1.0
    assert at(0, name=name, warmup=0) == 1.0


POINTS = [
    ({"name": "constant"}, {0: 1, 999: 1}),
    ({"name": "linear"}, {0: 1, 250: 0.75, 999: 0.001}),
    ({"name": "linear", "final": 0.2}, {0: 1, 500: 0.6}),
    ({"name": "cosine"}, {0: 1, 250: (1 + math.sqrt(0.5)) / 2, 500: 0.5, 999: 0}),
    ({"name": "cosine", "final": 0.1}, {500: 0.55}),
    ({"name": "cosine-restarts", "parts": 4}, {0: 1, 125: 0.5, 249: 0, 250: 1, 375: 0.5, 750: 1, 999: 0}),
    ({"name": "exponential"}, {0: 1, 500: 0.1, 999: 0.01}),
    ({"name": "step"}, {0: 1, 333: 1, 334: 0.1, 666: 0.1, 667: 0.01, 999: 0.01}),
    ({"name": "step", "parts": 2, "factor": 0.5}, {499: 1, 500: 0.5}),
    ({"name": "wsd"}, {0: 1, 799: 1, 800: 1, 850: 0.5, 999: 1 - math.sqrt(0.995)}),
    ({"name": "plateau"}, {0: 1, 999: 1}),
]


@pytest.mark.parametrize(("settings", "points"), POINTS, ids=[str(settings) for settings, _ in POINTS])
def test_key_points(settings: dict[str, object], points: dict[int, float]) -> None:
    for step, share in points.items():
        assert at(step, **{"warmup": 0, **settings}) == pytest.approx(share, abs=3e-3 if step == 999 else 1e-4)


def test_one_cycle_is_torchs() -> None:
    import torch

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=STEPS, cycle_momentum=False)
    for step in range(STEPS):
        assert at(step, name="one-cycle") == pytest.approx(optimizer.param_groups[0]["lr"], abs=0.01)
        optimizer.step()
        theirs.step()
    assert at(0, name="one-cycle") == pytest.approx(0.04)
    assert at(300, name="one-cycle") == 1.0


def test_plateau_falls_where_nothing_gets_better() -> None:
    scores = [[0.5], [0.6], [0.6], [0.55], [0.7], [0.7], [0.7], [0.6], [0.6], [0.8]]
    found = [falls(scores[:n], 2) for n in range(len(scores) + 1)]
    assert found == [0, 0, 0, 0, 1, 1, 1, 2, 2, 3, 3]
    assert at(500, scores, name="plateau", factor=0.5) == 0.125
    assert at(500, scores[:3], name="plateau", factor=0.5) == 1.0


def test_plateau_agrees_with_torch() -> None:
    import torch

    values = [0.1, 0.3, 0.2, 0.25, 0.3, 0.2, 0.4, 0.4, 0.1, 0.1, 0.1, 0.1, 0.5]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    # torch falls at the first evaluation after `patience` ones
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode="max", factor=0.5, patience=2, threshold=0)
    for n, value in enumerate(values):
        theirs.step(value)
        assert at(500, [[v] for v in values[: n + 1]], name="plateau", factor=0.5, patience=3) == optimizer.param_groups[0]["lr"]


def test_a_method_has_its_own_settings_and_no_others() -> None:
    assert Schedule().model_dump(exclude_none=True) == {"name": "cosine", "warmup": 0.1, "final": 0.0}
    assert Schedule(name="step").model_dump(exclude_none=True) == {"name": "step", "warmup": 0.1, "parts": 3, "factor": 0.1}
    assert Optimizer(name="lion").betas == [0.9, 0.99]
    assert Optimizer().model_dump(exclude_none=True) == {"l1": 0.0, "layer_decay": 1.0}
    for name, settings in {"cosine": {"parts": 2}, "plateau": {"final": 0.1}, "linear": {"patience": 1}}.items():
        with pytest.raises(ValidationError, match="that is no setting"):
            Schedule(name=name, **settings)
    resolved = Schedule(name="wsd")
    assert Schedule.model_validate(resolved.model_dump()) == resolved
