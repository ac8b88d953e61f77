"""Comparing two models on the same rows."""

import numpy as np
import pytest
from scipy.stats import binomtest

from danlu.evaluate.difference import difference, mcnemar


def answers(right: list[bool]) -> np.ndarray:
    """Two-class probabilities for rows whose truth is 0."""
    return np.array([[0.9, 0.1] if ok else [0.2, 0.8] for ok in right])


def test_a_clear_gain_and_its_mirror() -> None:
    a, b = answers([True] * 180 + [False] * 20), answers([True] * 140 + [False] * 60)
    truth = np.zeros(200, dtype=np.int64)
    found = difference(a, b, truth)
    assert found["value"] == pytest.approx(0.2)
    assert found["low"] < 0.2 < found["high"]
    assert (found["only_a"], found["only_b"], found["verdict"], found["n"]) == (40, 0, "better", 200)
    mirrored = difference(b, a, truth)
    assert mirrored["verdict"] == "worse"
    assert (mirrored["low"], mirrored["high"]) == pytest.approx((-found["high"], -found["low"]))


def test_lower_is_better_for_losses() -> None:
    a, b = answers([True] * 150 + [False] * 50), answers([True] * 100 + [False] * 100)
    found = difference(a, b, np.zeros(200, dtype=np.int64), "log_loss")
    assert found["value"] < 0
    assert found["verdict"] == "better"


@pytest.mark.parametrize("rows", [0, 1, 40])
def test_equal_models_are_the_same(rows: int) -> None:
    a = answers([bool(i % 3) for i in range(rows)]).reshape(rows, 2)
    found = difference(a, a, np.zeros(rows, dtype=np.int64))
    assert found["verdict"] == "same"
    assert found["value"] == (0 if rows else None)
    assert found["p"] == 1


def test_five_lucky_rows_are_no_proof() -> None:
    found = difference(answers([True] * 100), answers([True] * 95 + [False] * 5), np.zeros(100, dtype=np.int64))
    assert found["low"] > 0  # the interval alone would call it better
    assert found["p"] > 0.05
    assert found["verdict"] == "same"


@pytest.mark.parametrize(("a", "b"), [(0, 0), (3, 0), (10, 4), (57, 88), (4000, 4100)])
def test_mcnemar_is_the_exact_binomial_test(a: int, b: int) -> None:
    expected = binomtest(a, a + b, 0.5).pvalue if a + b else 1.0
    assert mcnemar(a, b) == pytest.approx(expected)


def test_equal_models_are_called_different_at_most_one_time_in_twenty() -> None:
    called = 0
    for i in range(200):
        random = np.random.default_rng(i)
        right = random.random((2, 150)) < 0.8
        called += difference(answers(right[0]), answers(right[1]), np.zeros(150, dtype=np.int64), seed=i)["verdict"] != "same"
    assert called <= 18  # 10 expected at most, standard deviation 3
