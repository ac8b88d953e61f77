"""Curves against scikit-learn, and what is drawn of a run."""

import numpy as np
import pytest
from evaluate_fakes import answers
from sklearn.metrics import auc, precision_recall_curve, roc_curve

from danlu.evaluate.curves import POINTS, curves, thin, training
from danlu.evaluate.metrics import point


def test_curves_follow_scikit_learn() -> None:
    truth = [i % 3 for i in range(150)]
    p = np.round(answers(truth, 3), 2)  # with equal scores
    drawn = curves(p, np.array(truth), ["a", "b", "c"])
    for c, label in enumerate("abc"):
        positive = np.array(truth) == c
        fpr, tpr, _ = roc_curve(positive, p[:, c], drop_intermediate=False)
        np.testing.assert_allclose(drawn["roc"][label], np.stack([fpr, tpr], axis=1), atol=1e-5)
        precision, recall, _ = precision_recall_curve(positive, p[:, c])
        ours = {(round(x, 5), round(y, 5)) for x, y in drawn["pr"][label][1:]}
        theirs = {(round(x, 5), round(y, 5)) for x, y in zip(recall, precision, strict=True)}
        assert ours <= theirs


def test_thinned_curves_keep_their_ends_and_area() -> None:
    truth = [i % 2 for i in range(5000)]
    p = answers(truth, 2, skill=1.0)
    drawn = np.array(curves(p, np.array(truth), ["a", "b"])["roc"]["b"])
    assert len(drawn) <= POINTS
    assert drawn[0].tolist() == [0, 0]
    assert drawn[-1].tolist() == [1, 1]
    assert auc(drawn[:, 0], drawn[:, 1]) == pytest.approx(point(p, np.array(truth), "roc_auc"), abs=0.003)
    assert thin(np.zeros((1, 2))) == [[0, 0]]


def test_reliability_bins_give_back_the_calibration_error() -> None:
    truth = [i % 4 for i in range(400)]
    p = answers(truth, 4)
    bins = curves(p, np.array(truth), list("abcd"))["reliability"]
    assert sum(b["n"] for b in bins) == 400
    ece = sum(abs(b["confidence"] - b["right"]) * b["n"] for b in bins) / 400
    assert ece == pytest.approx(point(p, np.array(truth), "ece"))


def test_selective_ends_at_the_accuracy() -> None:
    truth = [i % 3 for i in range(100)]
    p = answers(truth, 3)
    line = curves(p, np.array(truth), list("abc"))["selective"]
    assert line[-1] == [1.0, pytest.approx(point(p, np.array(truth), "accuracy"), abs=1e-5)]
    surest = np.argsort(-p.max(axis=1), kind="stable")[:50]
    assert dict(map(tuple, line))[0.5] == pytest.approx((p.argmax(axis=1) == truth)[surest].mean(), abs=1e-5)


def test_nothing_to_draw() -> None:
    assert curves(np.zeros((0, 2)), np.zeros(0, dtype=int), ["a", "b"]) == {"roc": {}, "pr": {}, "reliability": [], "selective": []}
    one_class = curves(answers([0, 0, 0], 2), np.zeros(3, dtype=int), ["a", "b"])
    assert one_class["roc"] == {}
    assert training([])["loss"] == []


def test_a_run_becomes_thinned_lines() -> None:
    events = [{"event": "Stepped", "step": s, "loss": 1 / s, "lr": 0.1} for s in range(1, 1001)]
    events += [{"event": "Evaluated", "step": s, "metrics": {"accuracy": s / 1000, "f1": None}} for s in (500, 1000)]
    events += [{"event": "Finished", "step": 1000, "best_step": 500, "reason": "epochs"}]
    drawn = training(events)
    assert len(drawn["loss"]) == POINTS
    assert drawn["validation"] == {"accuracy": [[500, 0.5], [1000, 1.0]], "f1": []}
    assert (drawn["best_step"], drawn["reason"]) == (500, "epochs")
