"""The losses of classifiers against their formulas, and that a weighted mean does not depend on how rows are divided."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import tiny
import torch

from danlu.core.recipe import Model
from danlu.tasks.table import build_task

TEXTS = "text-classification"
LABELS = ["a"] * 6 + ["b"] * 2 + ["c"]


def task_of(**options: Any) -> Any:
    task = build_task(TEXTS, options, Model(architecture="bag"))
    task.fit([{"text": f"word{i} {label}", "label": label} for i, label in enumerate(LABELS)])
    return task


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(8, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 0, 0, 1, 0, 2])


def plain(logits: torch.Tensor, target: torch.Tensor, gamma: float, smoothing: float, weights: list[float]) -> tuple[float, float]:
    """Row by row: [sum of losses, sum of weights], smoothing as torch weighs it."""
    total = count = 0.0
    for line, label in zip(logits.double().numpy(), target.tolist(), strict=True):
        log_p = line - np.log(np.exp(line).sum())
        cross = -(1 - smoothing) * weights[label] * log_p[label] - smoothing / 3 * (np.array(weights) * log_p).sum()
        total += (1 - np.exp(log_p[label])) ** gamma * cross
        count += weights[label]
    return total, count


CASES: list[tuple[dict[str, Any], float, float, bool]] = [
    ({}, 0.0, 0.0, False),
    ({"label_smoothing": 0.1}, 0.0, 0.1, False),
    ({"class_weights": "balanced"}, 0.0, 0.0, True),
    ({"class_weights": "balanced", "label_smoothing": 0.2}, 0.0, 0.2, True),
    ({"loss": {"name": "focal"}}, 2.0, 0.0, False),
    ({"loss": {"name": "focal", "gamma": 0.5}, "class_weights": "balanced", "label_smoothing": 0.1}, 0.5, 0.1, True),
    ({"loss": {"name": "focal", "gamma": 0}}, 0.0, 0.0, False),
]


@pytest.mark.parametrize(("options", "gamma", "smoothing", "balanced"), CASES, ids=[json.dumps(case[0]) for case in CASES])
def test_it_is_the_formula(options: dict, gamma: float, smoothing: float, balanced: bool, batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, target = batch
    weights = [9 / (3 * n) for n in (6, 2, 1)] if balanced else [1.0] * 3
    total, count = task_of(**options).loss(logits, {"target": target})
    expected = plain(logits, target, gamma, smoothing, weights)
    assert float(total) == pytest.approx(expected[0], rel=1e-5)
    assert float(count) == pytest.approx(expected[1], rel=1e-6)


def test_a_certain_row_has_a_finite_slope() -> None:
    logits = torch.tensor([[100.0, 0.0, 0.0]], requires_grad=True)
    task_of(loss={"name": "focal", "gamma": 0.5}).loss(logits, {"target": torch.tensor([0])}).total.backward()
    assert logits.grad.isfinite().all()


def test_the_weighted_mean_of_parts_is_that_of_the_whole(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, target = batch
    task = task_of(class_weights="balanced", loss={"name": "focal"})
    whole = task.loss(logits, {"target": target})
    parts = [task.loss(logits[i : i + 3], {"target": target[i : i + 3]}) for i in (0, 3, 6)]
    mean = sum(part.total for part in parts) / sum(part.count for part in parts)
    assert float(mean) == pytest.approx(float(whole.total / whole.count), rel=1e-6)


def test_weights_come_back_with_the_task() -> None:
    task = task_of(class_weights="balanced")
    again = build_task(TEXTS, {"class_weights": "balanced"}, Model(architecture="bag"))
    again.restore(json.loads(json.dumps(task.state())))
    assert again.weights == task.weights == [0.5, 1.5, 3.0]


@pytest.mark.parametrize("name", tiny.ALL)
def test_every_classifier_takes_them(name: str) -> None:
    options = build_task(name, {"loss": {"name": "focal"}, "class_weights": "balanced"}, Model(architecture="cnn")).options
    assert (options.loss.gamma, options.class_weights) == (2.0, "balanced")
