"""Metrics of a classifier, each with n and a 95% bootstrap interval. numpy only; the values equal scikit-learn's.

Every metric is written once, for rows with weights: all ones give the value, resampled counts give the interval.
Shapes: N rows, C classes, R sets of weights. NaN means undefined in here and leaves as None.

- `precision recall f1` are means over the classes that occur among truths or predictions; a class never predicted has precision 0.
- `roc_auc pr_auc` are means over classes, one against the rest, of those that have rows on both sides. `pr_auc` is average precision.
- `log_loss` is in nats. `ece` is the expected calibration error of the top score in 15 bins of equal width (Guo et al. 2017).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np

from danlu.core.types import Measure
from danlu.evaluate.bootstrap import counts, exact, interval, resamples

BINS = 15
COUNTED = (
    "accuracy", "balanced_accuracy", "precision", "recall", "f1", "f1_micro", "f1_weighted", "precision_weighted", "recall_weighted",
)  # fmt: skip
RANKED = ("roc_auc", "pr_auc")
METRICS = (*COUNTED, *RANKED, "log_loss", "ece")
OF_CLASS = ("precision", "recall", "f1", "roc_auc", "pr_auc")
LOWER_IS_BETTER = ("log_loss", "ece")


class Answers:
    """Probabilities and truths of one side, sorted and counted once, measured under any weights."""

    def __init__(self, probabilities_NC: np.ndarray, targets_N: Sequence[int] | np.ndarray) -> None:
        self.targets_N = np.asarray(targets_N, dtype=np.int64)
        self.p_NC = np.asarray(probabilities_NC, dtype=np.float64)
        if self.p_NC.ndim != 2 or len(self.p_NC) != len(self.targets_N):
            raise ValueError(f"{self.p_NC.shape} probabilities for {len(self.targets_N)} rows")
        if not np.isfinite(self.p_NC).all():
            raise ValueError("probabilities must be finite")
        self.rows, self.classes = self.p_NC.shape
        self.predicted_N = self.p_NC.argmax(axis=1) if self.rows else self.targets_N
        self.right_N = self.predicted_N == self.targets_N

    @cached_property
    def loss_N(self) -> np.ndarray:
        """Minus the log of the true label's probability, clipped as scikit-learn clips it."""
        line_N = self.p_NC[np.arange(self.rows), self.targets_N] / np.maximum(self.p_NC.sum(axis=1), 1e-300)
        epsilon = np.finfo(np.float64).eps
        return -np.log(np.clip(line_N, epsilon, 1 - epsilon))

    @cached_property
    def rankings(self) -> list[Ranking]:
        return [Ranking(self.p_NC[:, c], self.targets_N == c) for c in range(self.classes)]

    def measure(self, weights_NR: np.ndarray, names: Iterable[str] = METRICS) -> dict[str, np.ndarray]:
        """Each named metric [R], and `class.NAME` [C, R], under integer weights."""
        names = set(names)
        found: dict[str, np.ndarray] = {}
        if names & set(COUNTED):
            found |= self._counted(weights_NR)
        if names & set(RANKED):
            pairs = [ranking.areas(weights_NR) for ranking in self.rankings]
            for position, name in enumerate(RANKED):
                found[f"class.{name}"] = np.stack([pair[position] for pair in pairs])
                found[name] = _mean(found[f"class.{name}"])
        total_R = weights_NR.sum(axis=0, dtype=np.float64)
        if "log_loss" in names:
            found["log_loss"] = _over(self.loss_N @ weights_NR, total_R)
        if "ece" in names:
            found["ece"] = _over(self._gaps(weights_NR), total_R)
        return found

    def _counted(self, weights_NR: np.ndarray) -> dict[str, np.ndarray]:
        total_R = weights_NR.sum(axis=0, dtype=np.float64)
        support_CR = _sums(weights_NR, self.targets_N, self.classes)
        claimed_CR = _sums(weights_NR, self.predicted_N, self.classes)
        hits_CR = _sums(weights_NR[self.right_N], self.targets_N[self.right_N], self.classes)
        occurs_CR = (support_CR + claimed_CR) > 0
        by_class = {
            "precision": _over(hits_CR, claimed_CR, empty=0.0),
            "recall": _over(hits_CR, support_CR, empty=0.0),
            "f1": _over(2 * hits_CR, support_CR + claimed_CR, empty=0.0),
        }
        accuracy_R = _over(hits_CR.sum(axis=0), total_R)
        found = {"accuracy": accuracy_R, "f1_micro": accuracy_R, "balanced_accuracy": _mean(_over(hits_CR, support_CR))}
        for name, value_CR in by_class.items():
            value_CR = np.where(occurs_CR, value_CR, np.nan)
            found[name], found[f"class.{name}"] = _mean(value_CR), value_CR
            found[f"{name}_weighted"] = _over((np.nan_to_num(value_CR) * support_CR).sum(axis=0), total_R)
        return found

    def _gaps(self, weights_NR: np.ndarray) -> np.ndarray:
        """Sum over bins of |right answers - confidence|: [R]."""
        top_N = self.p_NC.max(axis=1)
        bin_N = np.clip(np.ceil(top_N * BINS).astype(np.int64) - 1, 0, BINS - 1)
        gap_N = self.right_N - top_N
        one_hot_BN = np.zeros((BINS, self.rows))
        one_hot_BN[bin_N, np.arange(self.rows)] = gap_N
        return np.abs(one_hot_BN @ weights_NR).sum(axis=0)


class Ranking:
    """Rows in falling order of one class's score, equal scores together. P positives, D distinct scores."""

    def __init__(self, score_N: np.ndarray, positive_N: np.ndarray) -> None:
        self.order_N = np.argsort(-score_N, kind="stable")
        sorted_N, self.positive_N = score_N[self.order_N], positive_N[self.order_N]
        self.starts_D = np.flatnonzero(np.r_[True, sorted_N[1:] != sorted_N[:-1]])
        self.score_D = sorted_N[self.starts_D]
        group_N = np.repeat(np.arange(len(self.starts_D)), np.diff(np.r_[self.starts_D, len(sorted_N)]))
        place_P = np.flatnonzero(self.positive_N)
        self.rows_P = self.order_N[place_P]
        self.before_P = self.starts_D[group_N[place_P]]  # rows ranked strictly above
        self.upto_P = np.r_[self.starts_D[1:], len(sorted_N)][group_N[place_P]]  # rows ranked above or level
        self.positives_before_P = np.searchsorted(place_P, self.before_P)
        self.positives_upto_P = np.searchsorted(place_P, self.upto_P)

    def areas(self, weights_NR: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Areas under the ROC curve and under precision over recall (average precision): two of [R]."""
        rows_NR = _running(weights_NR[self.order_N])
        weight_PR = weights_NR[self.rows_P]
        hits_PR = _running(weight_PR)
        positives_R, negatives_R = hits_PR[-1].astype(np.float64), (rows_NR[-1] - hits_PR[-1]).astype(np.float64)
        upto_PR, hits_upto_PR = rows_NR[self.upto_P], hits_PR[self.positives_upto_P]
        above_PR = (upto_PR - hits_upto_PR) + (rows_NR[self.before_P] - hits_PR[self.positives_before_P])
        misranked_R = 0.5 * np.einsum("pr,pr->r", weight_PR, above_PR, dtype=np.float64)
        precision_PR = hits_upto_PR / np.maximum(upto_PR, 1)
        defined_R = np.where(negatives_R > 0, positives_R, 0.0)
        roc_R = 1 - _over(misranked_R, defined_R * negatives_R)
        return roc_R, _over(np.einsum("pr,pr->r", weight_PR, precision_PR, dtype=np.float64), defined_R)


def score(probabilities_NC: np.ndarray, targets_N: np.ndarray, labels: Sequence[str], seed: int = 0) -> dict:
    """Every metric as `{"value", "low", "high", "n"}`, and the same per label under "classes". Undefined: null, never NaN."""
    answers = Answers(np.reshape(probabilities_NC, (-1, len(labels))), targets_N)
    drawn = bootstrapped(answers, METRICS, seed)
    support_C = np.bincount(answers.targets_N, minlength=len(labels))
    claimed_C = np.bincount(answers.predicted_N, minlength=len(labels))
    scored: dict = {name: _measured(name, *drawn[name], answers.rows, _trials(name, answers.rows, support_C)) for name in METRICS}
    scored["classes"] = {}
    for c, label in enumerate(labels):
        entry: dict = {"support": int(support_C[c]), "predicted": int(claimed_C[c])}
        for name in OF_CLASS:
            value_C, draws_CR = drawn[f"class.{name}"]
            rows = int(claimed_C[c]) if name == "precision" else int(support_C[c])
            entry[name] = _measured(name, value_C[c], draws_CR[c], rows, (rows, 1))
        scored["classes"][label] = entry
    return scored


def bootstrapped(answers: Answers, names: Iterable[str], seed: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Value and resampled values (last axis R) by metric; all NaN where there are no rows."""
    names = tuple(names)
    if not answers.rows:
        empty_C, empty_CR = np.full(answers.classes, np.nan), np.full((answers.classes, 1), np.nan)
        return {name: (np.float64(np.nan), np.array([np.nan])) for name in names} | {f"class.{n}": (empty_C, empty_CR) for n in OF_CLASS}
    value = answers.measure(np.ones((answers.rows, 1), dtype=np.uint8), names)
    draws = resamples(answers.rows, answers.classes if set(names) & set(RANKED) else 1)
    blocks = [answers.measure(weights_NR, names) for weights_NR in counts(answers.rows, draws, seed)]
    return {name: (value[name][..., 0], np.concatenate([block[name] for block in blocks], axis=-1)) for name in value}


def brief(probabilities_NC: np.ndarray, targets_N: np.ndarray, names: Sequence[str], seed: int = 0) -> dict:
    """Only the named metrics, in the shape of `score`."""
    answers = Answers(probabilities_NC, targets_N)
    drawn = bootstrapped(answers, names, seed)
    support_C = np.bincount(answers.targets_N, minlength=answers.classes)
    return {name: _measured(name, *drawn[name], answers.rows, _trials(name, answers.rows, support_C)) for name in names}


def point(probabilities_NC: np.ndarray, targets_N: np.ndarray, metric: str) -> float | None:
    """One metric's value without an interval; None where it is undefined."""
    answers = Answers(probabilities_NC, targets_N)
    if not answers.rows:
        return None
    value = float(answers.measure(np.ones((answers.rows, 1), dtype=np.uint8), (metric,))[metric][0])
    return None if np.isnan(value) else value


def _measured(name: str, value: float, draws_R: np.ndarray, rows: int, trials: tuple[int, int]) -> dict:
    """The measure as JSON. `trials` is what `_trials` says of it."""
    if np.isnan(value):
        return Measure(None, None, None, rows).as_json()
    value = float(value)
    low, high = interval(draws_R) or (value, value)
    if name == "ece":  # resampling adds its own noise to a sum of absolute gaps: take the surplus off again
        surplus = float(np.nanmean(draws_R)) - value
        low, high = max(0.0, low - surplus), min(1.0, high - surplus)
    elif name not in LOWER_IS_BETTER and low == high == value and value in (0.0, 1.0):
        low, high = exact(value, *trials)
    return Measure(value, min(low, value), max(high, value), rows).as_json()


def _trials(name: str, rows: int, support_C: np.ndarray) -> tuple[int, int]:
    """The fewest rows behind a rate, and of how many rates the metric is the mean: one of all rows, or one of each label's rows."""
    by_row = name in ("accuracy", "f1_micro") or name.endswith("_weighted")
    present_P = support_C[support_C > 0]
    return (rows, 1) if by_row or not len(present_P) else (int(present_P.min()), len(present_P))


def _sums(weights_NR: np.ndarray, group_N: np.ndarray, groups: int) -> np.ndarray:
    """Weights summed per group: float64 [groups, R]."""
    total_GR = np.zeros((groups, weights_NR.shape[1]))
    if len(group_N):
        order_N = np.argsort(group_N, kind="stable")
        present, starts = np.unique(group_N[order_N], return_index=True)
        total_GR[present] = np.add.reduceat(weights_NR[order_N], starts, axis=0, dtype=np.int64)
    return total_GR


def _running(weights_NR: np.ndarray) -> np.ndarray:
    """Running sums with a zero in front: int32 [N + 1, R]."""
    sums = np.zeros((len(weights_NR) + 1, weights_NR.shape[1]), dtype=np.int32)
    np.cumsum(weights_NR, axis=0, dtype=np.int32, out=sums[1:])
    return sums


def _over(top: np.ndarray, bottom: np.ndarray, empty: float = np.nan) -> np.ndarray:
    """Division with an answer for an empty bottom."""
    return np.divide(top, bottom, out=np.full(np.shape(bottom), empty, dtype=np.float64), where=bottom > 0)


def _mean(value_CR: np.ndarray) -> np.ndarray:
    """Mean over the classes that have a value: [R]."""
    defined_CR = ~np.isnan(value_CR)
    return _over(np.where(defined_CR, value_CR, 0.0).sum(axis=0), defined_CR.sum(axis=0))
