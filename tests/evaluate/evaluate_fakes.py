"""A small judged world: rows in memory, a task in name only, and probabilities as good as asked for."""

from types import SimpleNamespace
from typing import Any

import numpy as np

from danlu.data.dataset import Dataset


def task_of(labels: list[str], kind: str) -> SimpleNamespace:
    return SimpleNamespace(name=f"{kind}-classification", labels=labels, inputs={kind: kind}, target="label", metric="accuracy")


def world(values: list[Any], targets: list[int], labels: list[str], kind: str = "text", sides: list[str] | None = None) -> tuple:
    """Dataset, task and encoded sides of the rows; without `sides` every fourth row is test, every fourth validation."""
    sides = sides or [("train", "test", "train", "validation")[i % 4] for i in range(len(values))]
    rows = [{kind: value, "label": labels[target]} for value, target in zip(values, targets, strict=True)]
    dataset = Dataset.of(rows, {kind: kind}, "label", sides)
    encoded = {}
    for side in ("train", "validation", "test"):
        indices = np.flatnonzero(np.array(sides) == side)
        encoded[side] = SimpleNamespace(rows=indices, examples=[{"target": np.int64(targets[i])} for i in indices])
    return dataset, task_of(labels, kind), encoded


def answers(targets: list[int], classes: int, skill: float = 2.0, seed: int = 0) -> np.ndarray:
    logits = np.random.default_rng(seed).normal(size=(len(targets), classes))
    logits[np.arange(len(targets)), targets] += skill
    exponent = np.exp(logits)
    return exponent / exponent.sum(axis=1, keepdims=True)
