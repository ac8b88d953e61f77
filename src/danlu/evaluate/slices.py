"""The same score on parts of the rows: for each value of the columns that are neither input nor label.

Shapes: N rows, C classes.
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np

from danlu.evaluate.metrics import LOWER_IS_BETTER, brief

SMALL = 30  # rows below which a slice's score says little
_VALUES = 12  # shown of one column
_COLUMNS = 8


def slices(dataset: Any, rows_N: np.ndarray, p_NC: np.ndarray, targets_N: np.ndarray, metric: str, seed: int = 0) -> list[dict]:
    """A list of `{"column", "values": [{"value", "measure", "small", "verdict"}], "others"}`, at most 8 columns and 12 values of each.

    Columns of many numbers are cut at their quartiles. A column with one value, or with a value of its own on nearly each row, tells
    nothing and is left out. `verdict` is "better" or "worse" where the slice's interval lies wholly beside the score on the other rows.
    """
    found = []
    for column in dataset.extra_columns:
        value_N = grouped([dataset.frame[column][int(row)] for row in rows_N])
        common = Counter(value_N).most_common()
        if len(common) < 2 or common[0][1] < 2 or len(common) > max(_VALUES, len(value_N) // 2):
            continue
        kept = sorted((value for value, _ in common[:_VALUES]), key=_order)
        lines = [_line(value, np.array([v == value for v in value_N]), p_NC, targets_N, metric, seed) for value in kept]
        found.append({"column": column, "values": lines, "others": len(common) - len(kept)})
        if len(found) == _COLUMNS:
            break
    return found


def grouped(values: list[Any]) -> list[str | None]:
    """The values as text; numbers with more than 12 distinct values become quartiles `low .. high`, but not whole ones that never repeat: ids."""
    texts = [None if value is None or not str(value).strip() else str(value).strip() for value in values]
    numbers = [_number(text) for text in texts if text is not None]
    is_id = len(set(numbers)) == len(numbers) and all(number is None or number.is_integer() for number in numbers)
    if None in numbers or len(set(numbers)) <= _VALUES or is_id:
        return texts
    edges = np.unique(np.quantile(numbers, np.linspace(0, 1, 5)))
    names = [f"{low:.6g} .. {high:.6g}" for low, high in pairwise(edges)]
    return [None if text is None else names[int(np.clip(np.searchsorted(edges, float(text)) - 1, 0, len(names) - 1))] for text in texts]


def _line(value: str | None, inside_N: np.ndarray, p_NC: np.ndarray, targets_N: np.ndarray, metric: str, seed: int) -> dict:
    measure = brief(p_NC[inside_N], targets_N[inside_N], [metric], seed)[metric]
    rest = brief(p_NC[~inside_N], targets_N[~inside_N], [metric], seed)[metric]["value"]
    small, verdict = measure["n"] < SMALL, "same"
    if not small and None not in (measure["value"], rest):
        beside = 1 if measure["low"] > rest else -1 if measure["high"] < rest else 0
        verdict = {0: "same", 1: "better", -1: "worse"}[-beside if metric in LOWER_IS_BETTER else beside]
    return {"value": value, "measure": measure, "small": small, "verdict": verdict}


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if np.isfinite(number) else None


def _order(value: str | None) -> tuple[bool, float, str]:
    """Numbers and quartiles by size, then words, what is missing last."""
    number = _number(str(value).split(" .. ")[0])
    return value is None, np.inf if number is None else number, str(value)
