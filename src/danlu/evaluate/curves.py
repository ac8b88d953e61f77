"""Curves of a classifier as lists of points that a page can draw: ROC, precision over recall, reliability, and training.

Shapes: N rows, C classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from danlu.evaluate.metrics import BINS, Answers, Ranking

POINTS = 200
_DECIMALS = 5


def curves(probabilities_NC: np.ndarray, targets_N: np.ndarray, labels: list[str]) -> dict[str, Any]:
    """`{"roc": {label: [[fpr, tpr], ...]}, "pr": {label: [[recall, precision], ...]}, "reliability": [bin, ...], "selective": [...]}`.

    `selective` is what is right among the surest share of the rows: [[share answered, share right], ...].
    A label without rows on both sides has no curve. Curves are thinned to at most 200 points, ends kept.
    """
    answers = Answers(probabilities_NC, targets_N)
    roc, pr = {}, {}
    for c, label in enumerate(labels):
        positives = int((answers.targets_N == c).sum())
        if 0 < positives < answers.rows:
            roc[label], pr[label] = _ranked(Ranking(answers.p_NC[:, c], answers.targets_N == c), positives)
    return {"roc": roc, "pr": pr, "reliability": reliability(answers), "selective": selective(answers)}


def _ranked(ranking: Ranking, positives: int) -> tuple[list, list]:
    """Both curves at the end of each run of equal scores."""
    ends_D = np.r_[ranking.starts_D[1:], len(ranking.positive_N)]
    hits_D = np.cumsum(ranking.positive_N)[ends_D - 1]
    false_D = ends_D - hits_D
    roc = np.stack([np.r_[0, false_D / max(1, len(ranking.positive_N) - positives)], np.r_[0, hits_D / positives]], axis=1)
    last = int(np.argmax(hits_D == positives)) + 1  # precision after the last hit says nothing new
    pr = np.stack([np.r_[0, hits_D[:last] / positives], np.r_[(hits_D / ends_D)[0], (hits_D / ends_D)[:last]]], axis=1)
    return thin(roc), thin(pr)


def thin(points_P2: np.ndarray, most: int = POINTS) -> list[list[float]]:
    """At most `most` points, even in the length travelled along the curve, both ends kept."""
    if len(points_P2) > most:
        travelled = np.r_[0, np.cumsum(np.abs(np.diff(points_P2, axis=0)).sum(axis=1))]
        wanted = np.linspace(0, travelled[-1], most)
        points_P2 = points_P2[np.unique(np.r_[0, np.searchsorted(travelled, wanted[1:-1]), len(points_P2) - 1])]
    return np.round(points_P2, _DECIMALS).tolist()


def reliability(answers: Answers) -> list[dict[str, float]]:
    """Bins of the top score that hold rows: edges, rows, mean confidence and share right."""
    if not answers.rows:
        return []
    top_N = answers.p_NC.max(axis=1)
    bin_N = np.clip(np.ceil(top_N * BINS).astype(np.int64) - 1, 0, BINS - 1)
    return [
        {
            "low": b / BINS,
            "high": (b + 1) / BINS,
            "n": int(inside_N.sum()),
            "confidence": float(top_N[inside_N].mean()),
            "right": float(answers.right_N[inside_N].mean()),
        }
        for b in range(BINS)
        if (inside_N := bin_N == b).any()
    ]


def selective(answers: Answers) -> list[list[float]]:
    """Share right among the rows with the highest top scores, from the surest twentieth of them to all: ends of runs of equal scores."""
    if not answers.rows:
        return []
    top_N = answers.p_NC.max(axis=1)
    order_N = np.argsort(-top_N, kind="stable")
    ends_D = np.flatnonzero(np.r_[top_N[order_N][1:] != top_N[order_N][:-1], True]) + 1
    ends_D = ends_D[ends_D >= min(answers.rows, max(1, answers.rows // 20))]
    right_D = np.cumsum(answers.right_N[order_N])[ends_D - 1]
    return thin(np.stack([ends_D / answers.rows, right_D / ends_D], axis=1))


def training(events: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The run as curves: training loss and learning rate by step, validation metrics by step, and the step that was kept."""
    stepped = [e for e in events if e["event"] == "Stepped"]
    evaluated = [e for e in events if e["event"] == "Evaluated"]
    finished = [e for e in events if e["event"] == "Finished"]
    names = list(evaluated[0]["metrics"]) if evaluated else []
    return {
        "loss": _series((e["step"], e["loss"]) for e in stepped),
        "lr": _series((e["step"], e["lr"]) for e in stepped),
        "validation": {name: _series((e["step"], e["metrics"].get(name)) for e in evaluated) for name in names},
        "best_step": finished[-1]["best_step"] if finished else None,
        "reason": finished[-1]["reason"] if finished else None,
    }


def _series(pairs: Iterable[tuple[int, float | None]]) -> list[list[float]]:
    """At most 200 points, each the mean of its stretch of steps."""
    known = np.array([(step, value) for step, value in pairs if value is not None and np.isfinite(value)], dtype=np.float64)
    if len(known) > POINTS:
        known = np.stack([part.mean(axis=0) for part in np.array_split(known, POINTS)])
    return [[float(step), float(f"{value:.6g}")] for step, value in known]
