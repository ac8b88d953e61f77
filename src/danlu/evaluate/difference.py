"""Whether one model is better than another on the same rows: paired bootstrap and McNemar's exact test."""

from __future__ import annotations

import numpy as np

from danlu.evaluate.bootstrap import counts, interval, resamples
from danlu.evaluate.metrics import LOWER_IS_BETTER, RANKED, Answers

_LEVEL = 0.05


def difference(a_NC: np.ndarray, b_NC: np.ndarray, targets_N: np.ndarray, metric: str = "accuracy", seed: int = 0) -> dict:
    """What `a` is above `b` in `metric`, with a 95% interval from resampling the rows both answered.

    `only_a` and `only_b` count the rows that one alone got right; `p` is McNemar's exact two-sided probability of them. `verdict` is
    "better", "worse", or "same" where the interval holds 0 (for accuracy also where p is 0.05 or more).
    """
    a, b = Answers(a_NC, targets_N), Answers(b_NC, targets_N)
    only_a, only_b = int((a.right_N & ~b.right_N).sum()), int((b.right_N & ~a.right_N).sum())
    found = {"metric": metric, "value": None, "low": None, "high": None, "n": a.rows, "only_a": only_a, "only_b": only_b}
    found |= {"p": mcnemar(only_a, only_b), "verdict": "same"}
    if not a.rows:
        return found
    ones_N1 = np.ones((a.rows, 1), dtype=np.uint8)
    value = float((a.measure(ones_N1, [metric])[metric] - b.measure(ones_N1, [metric])[metric])[0])
    draws = resamples(a.rows, a.classes if metric in RANKED else 1)
    blocks = [a.measure(w_NR, [metric])[metric] - b.measure(w_NR, [metric])[metric] for w_NR in counts(a.rows, draws, seed)]
    edges = interval(np.concatenate(blocks))
    if np.isnan(value) or edges is None:
        return found
    low, high = min(edges[0], value), max(edges[1], value)
    sure = (low > 0 or high < 0) and (metric != "accuracy" or found["p"] < _LEVEL)
    gain = -value if metric in LOWER_IS_BETTER else value
    verdict = ("better" if gain > 0 else "worse") if sure else "same"
    return found | {"value": value, "low": low, "high": high, "verdict": verdict}


def mcnemar(only_a: int, only_b: int) -> float:
    """The exact two-sided probability of a split at least this uneven if both were equally good (McNemar 1947, binomial form)."""
    trials, fewer = only_a + only_b, min(only_a, only_b)
    term = total = 1
    for k in range(fewer):
        term = term * (trials - k) // (k + 1)
        total += term
    return min(1.0, 2 * total / 2**trials)
