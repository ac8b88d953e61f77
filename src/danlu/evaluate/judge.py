"""Everything that can be said of a model's answers, as one JSON value: the content of `report.json`.

Shapes: N rows, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np

from danlu.core.words import LANGUAGES
from danlu.evaluate.baselines import Baseline, baselines, targets
from danlu.evaluate.curves import curves, training
from danlu.evaluate.difference import difference
from danlu.evaluate.errors import confusion, surest
from danlu.evaluate.metrics import score
from danlu.evaluate.slices import slices

FORMAT = 1
SIDES = ("validation", "test")


def judge(
    dataset: Any, task: Any, sides: Mapping[str, Any], probabilities: Mapping[str, np.ndarray], facts: Mapping[str, Any]
) -> dict[str, Any]:
    """The whole report as JSON values. The test side is judged where it has answers, else validation; a side without any has no metrics.

    `sides` maps a side to its rows (dataset indices) and examples, `probabilities` to [N, C] for those rows in their order. With a
    `train` side the baselines are fitted on it; without one there are none. `facts` is what is known beside the answers, all optional:
    contract (a `data.contract.Contract`), recipe, events, machine, model (architecture, parameters), looks (how often the judged side
    has been scored, this time included), seconds (of training), created.
    """
    side, labels = judged_side(probabilities), list(task.labels)
    seed = int((facts.get("recipe") or {}).get("seed", 0))
    none = np.zeros(0, dtype=np.int64)
    answers = {side: (np.zeros((0, len(labels))), none, none)}
    answers |= {name: (p_NC, targets(sides[name]), np.asarray(sides[name].rows)) for name, p_NC in probabilities.items()}
    scores = {name: score(p_NC, targets_N, labels, seed) for name, (p_NC, targets_N, _) in answers.items()}
    p_NC, targets_N, rows_N = answers[side]
    found = baselines(task, dataset, sides, side, seed) if "train" in sides and len(rows_N) else {}
    return {
        "format": FORMAT,
        "task": task.name,
        "kind": next(iter(task.inputs.values())),
        "metric": task.metric,
        "labels": labels,
        "side": side,
        "rows": {name: len(part.rows) for name, part in sides.items()},
        "metrics": {name: {} for name in SIDES} | scores,
        "baselines": {name: baseline.as_json(targets_N, labels, seed) for name, baseline in found.items()},
        "versus_baseline": _versus(found.get("learned"), p_NC, targets_N, task.metric, seed),
        "confusion": confusion(p_NC.argmax(axis=1), targets_N, labels),
        "curves": {**curves(p_NC, targets_N, labels), "training": training(facts.get("events") or [])},
        "errors": surest(dataset, task, rows_N, p_NC, targets_N),
        "slices": slices(dataset, rows_N, p_NC, targets_N, task.metric, seed),
        **_circumstances(facts),
        "fingerprint": dataset.fingerprint,
        "split_by": dataset.split_by,
    }


def judged_side(sides: Mapping[str, Any]) -> str:
    """The side that the final score is measured on."""
    return "test" if "test" in sides else "validation"


def _versus(learned: Baseline | None, p_NC: np.ndarray, targets_N: np.ndarray, metric: str, seed: int) -> dict | None:
    if learned is None:
        return None
    return {"name": learned.name, **difference(p_NC, learned.probabilities_MC, targets_N, metric, seed)}


def _circumstances(facts: Mapping[str, Any]) -> dict[str, Any]:
    contract = facts.get("contract")
    return {
        "contract": contract.as_json() if contract else None,
        "contract_lines": {lang: list(contract.lines(lang)) for lang in LANGUAGES} if contract else {},
        **{name: facts.get(name) for name in ("recipe", "machine", "model", "looks", "seconds")},
        "created": facts.get("created") or datetime.now(UTC).isoformat(timespec="seconds"),
    }
