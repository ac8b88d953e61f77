"""Values against scikit-learn, intervals against simulation, and the cases where nothing can be said."""

import itertools
import json
import math
import warnings

import numpy as np
import pytest
from sklearn import metrics as sk

from danlu.evaluate.metrics import LOWER_IS_BETTER, METRICS, OF_CLASS, brief, point, score


def sample(rows: int, classes: int, seed: int = 0, skill: float = 1.5, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    targets = random.integers(0, classes, rows)
    logits = random.normal(size=(rows, classes))
    logits[np.arange(rows), targets] += skill
    if ties:
        logits = np.round(logits)
    exponent = np.exp(logits)
    return exponent / exponent.sum(axis=1, keepdims=True), targets


def labels_of(classes: int) -> list[str]:
    return [f"c{i}" for i in range(classes)]


def reference(p: np.ndarray, t: np.ndarray) -> dict[str, float]:
    """The same metrics by scikit-learn; every class must occur."""
    guess, hot = p.argmax(axis=1), np.eye(p.shape[1])[t]
    found = {
        "accuracy": sk.accuracy_score(t, guess),
        "balanced_accuracy": sk.balanced_accuracy_score(t, guess),
        "roc_auc": sk.roc_auc_score(hot, p, average="macro"),
        "pr_auc": sk.average_precision_score(hot, p, average="macro"),
        "log_loss": sk.log_loss(t, p, labels=range(p.shape[1])),
        "f1_micro": sk.f1_score(t, guess, average="micro"),
    }
    for name, call in (("precision", sk.precision_score), ("recall", sk.recall_score), ("f1", sk.f1_score)):
        found[name] = call(t, guess, average="macro", zero_division=0)
        found[f"{name}_weighted"] = call(t, guess, average="weighted", zero_division=0)
    confidence, right = p.max(axis=1), guess == t
    edges = np.linspace(0, 1, 16)
    bins = [(confidence > low) & (confidence <= high) for low, high in itertools.pairwise(edges)]
    found["ece"] = sum(abs(right[b].mean() - confidence[b].mean()) * b.mean() for b in bins if b.any())
    return found


@pytest.mark.parametrize(("rows", "classes", "ties"), [(300, 2, False), (400, 4, True), (500, 10, False), (60, 3, True)])
def test_every_value_equals_scikit_learn(rows: int, classes: int, ties: bool) -> None:
    p, t = sample(rows, classes, ties=ties)
    scored, expected = score(p, t, labels_of(classes)), reference(p, t)
    assert set(METRICS) == set(expected)
    for name in METRICS:
        assert scored[name]["value"] == pytest.approx(expected[name], abs=1e-9), name
        assert scored[name]["low"] <= scored[name]["value"] <= scored[name]["high"]
        assert scored[name]["n"] == rows
        assert point(p, t, name) == pytest.approx(expected[name], abs=1e-9)
    precision, recall, f1, support = sk.precision_recall_fscore_support(t, p.argmax(axis=1), zero_division=0)
    for c, label in enumerate(labels_of(classes)):
        entry = scored["classes"][label]
        assert [entry[k]["value"] for k in ("precision", "recall", "f1")] == pytest.approx([precision[c], recall[c], f1[c]])
        assert entry["support"] == support[c]
        assert entry["roc_auc"]["value"] == pytest.approx(sk.roc_auc_score(t == c, p[:, c]))
        assert entry["pr_auc"]["value"] == pytest.approx(sk.average_precision_score(t == c, p[:, c]))


def test_resampled_values_equal_scikit_learn_on_the_resampled_rows() -> None:
    from danlu.evaluate.bootstrap import counts
    from danlu.evaluate.metrics import Answers

    p, t = sample(80, 3, ties=True)
    weights = np.concatenate(list(counts(80, 5, seed=3)), axis=1)
    assert (weights.sum(axis=0) == 80).all()
    measured = Answers(p, t).measure(weights)
    for column in range(5):
        rows = np.repeat(np.arange(80), weights[:, column])
        expected = reference(p[rows], t[rows])
        for name in METRICS:
            assert measured[name][column] == pytest.approx(expected[name], abs=1e-9), name


def test_intervals_hold_the_truth_about_95_times_in_a_hundred() -> None:
    p, t = sample(40_000, 3, seed=9, skill=1.2)
    names = ("accuracy", "f1", "log_loss", "balanced_accuracy")
    truth = {name: point(p, t, name) for name in names}
    held = dict.fromkeys(names, 0)
    draws = 400
    for i in range(draws):
        rows = np.random.default_rng(i).integers(0, len(t), 250)
        measured = brief(p[rows], t[rows], names, seed=i)
        for name in names:
            held[name] += measured[name]["low"] <= truth[name] <= measured[name]["high"]
    for name in names:  # standard error 1.1 points
        assert 0.915 <= held[name] / draws <= 0.985, (name, held[name] / draws)


def test_the_same_seed_gives_the_same_intervals_and_another_does_not() -> None:
    p, t = sample(200, 3)
    assert score(p, t, labels_of(3), seed=1) == score(p, t, labels_of(3), seed=1)
    assert score(p, t, labels_of(3), seed=1)["log_loss"]["low"] != score(p, t, labels_of(3), seed=2)["log_loss"]["low"]


def whole(scored: dict) -> None:
    """Valid JSON without NaN or infinity."""
    json.dumps(scored, allow_nan=False)


@pytest.mark.parametrize("targets", [[], [0], [1, 1, 1], [0, 0, 1, 1, 0, 1]], ids=["no rows", "one row", "one class", "a class missing"])
def test_cases_without_an_answer_are_null_and_never_warn(targets: list[int]) -> None:
    t = np.array(targets, dtype=np.int64)
    p = sample(len(t), 3, seed=5)[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scored = score(p, t, labels_of(3))
        values = [point(p, t, name) for name in METRICS]
    whole(scored)
    assert all(value is None or math.isfinite(value) for value in values)
    assert set(scored["classes"]) == set(labels_of(3))
    assert all(set(OF_CLASS) <= set(entry) for entry in scored["classes"].values())
    if not targets:
        assert all(scored[name] == {"value": None, "low": None, "high": None, "n": 0} for name in METRICS)
    if len(set(targets)) == 1:
        assert scored["roc_auc"]["value"] is None
        assert scored["accuracy"]["value"] is not None


def test_a_class_missing_from_the_truth_is_left_out_of_means_over_classes() -> None:
    t = np.array([0, 0, 1, 1])
    p = np.array([[0.8, 0.1, 0.1], [0.7, 0.2, 0.1], [0.2, 0.7, 0.1], [0.6, 0.3, 0.1]])
    scored = score(p, t, labels_of(3))
    assert scored["balanced_accuracy"]["value"] == 0.75
    assert scored["f1"]["value"] == pytest.approx(sk.f1_score(t, p.argmax(axis=1), average="macro"))
    assert scored["classes"]["c2"]["f1"]["value"] is None
    assert scored["classes"]["c2"]["support"] == 0


def test_a_perfect_score_on_few_rows_is_not_called_certain() -> None:
    t = np.arange(20) % 2
    p = np.where(np.eye(2)[t] > 0, 0.9, 0.1)
    scored = score(p, t, labels_of(2))
    assert scored["accuracy"] == {"value": 1.0, "low": pytest.approx(0.025 ** (1 / 20)), "high": 1.0, "n": 20}
    assert scored["balanced_accuracy"]["low"] == pytest.approx(1 - (1 - 0.025 ** (1 / 10)) / 2)
    assert set(LOWER_IS_BETTER) == {"log_loss", "ece"}


def test_probabilities_that_are_not_numbers_are_an_error() -> None:
    with pytest.raises(ValueError, match="finite"):
        score(np.array([[np.nan, 1.0]]), np.array([0]), labels_of(2))
