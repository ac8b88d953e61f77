"""The data contract: what becomes of every row. Kept and dropped add up to all, every reason is counted and shown with examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np

from danlu.core.errors import InputError
from danlu.core.stopwatch import Stopwatch
from danlu.core.types import SIDES, Example
from danlu.core.words import say
from danlu.data.contract_lines import lines
from danlu.data.dataset import Dataset

_CHUNK = 1024
_SHOWN = 3  # examples of each finding
_FEWEST = 4  # training rows: fewer are an accident
_EXCERPT = (300, 24)  # characters of a line and lines of the decoded row


class Encoded(NamedTuple):
    """The rows of a side that are kept, as indices into the dataset, and their examples in the same order."""

    rows: np.ndarray
    examples: list[Example]


@dataclass(frozen=True)
class Finding:
    """How many rows something is true of, and where the first of them are."""

    n: int = 0
    examples: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Side:
    """One side: `rows` = `kept` + all of `dropped` (by reason). `units` are the tokens or samples of the kept rows, `units_kept` what
    is left of them after cutting `cut` rows.
    """

    rows: int
    kept: int
    dropped: dict[str, Finding]
    cut: int
    units: int
    units_kept: int
    classes: dict[str, int]


@dataclass(frozen=True)
class Contract:
    """What training will see of the data. `repeats` names pairs of sides ("test in train"), `conflicts` inputs with several labels."""

    source: str
    fingerprint: str
    kind: str
    fields: dict[str, list[str]]
    split_by: str
    notes: list[dict[str, Any]]
    sides: dict[str, Side]
    repeats: dict[str, Finding]
    conflicts: Finding
    example: dict[str, str]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def lines(self, lang: str) -> list[str]:
        """The contract in people's words, one line each."""
        return lines(self, lang)


def usable(dataset: Dataset) -> None:
    """Stops before anything is fitted where nothing could be learned. InputError: no rows, one class, or no label that comes twice."""
    rows = dataset.indices("train")
    where = dataset.source.files[0]
    if not len(rows):
        reasons = Counter(fault.reason for fault in dataset.faults.values())
        if not reasons:
            raise InputError("contract.no-train-rows", where)
        i = next(iter(dataset.faults))
        fault = dataset.faults[i]
        raise InputError(
            f"contract.none-left-{fault.reason.removeprefix('data.drop-')}", dataset.origin(i), n=len(dataset.faults), detail=fault.detail
        )
    if dataset.target is None:
        return
    counts = Counter(dataset.labels[i] for i in rows.tolist())
    column = dataset.fields[dataset.target][0]
    if len(rows) < _FEWEST:
        raise InputError("contract.too-few", where, n=len(rows), rows=len(dataset), fewest=_FEWEST)
    if len(counts) == 1:
        raise InputError("contract.one-class", where, column=column, label=next(iter(counts)))
    repeated = sum(n for n in counts.values() if n > 1)
    if repeated * 2 < len(rows):
        raise InputError("contract.all-distinct", where, column=column, n=len(counts), rows=len(rows))
    if len(set(dataset.units[rows].tolist())) == 1:
        raise InputError("contract.one-input", where, n=len(rows))


def account(dataset: Dataset, task: Any, watch: Stopwatch | None = None) -> tuple[Contract, dict[str, Encoded]]:
    """The contract and the encoded rows of every side that has any. `task` is fitted. InputError where no training row is left.

    The time that encoding takes is `watch`'s "encode" (where there is one), what comes after it "setup".
    """
    watch = watch or Stopwatch()
    known = set(getattr(task, "labels", ()))
    sides: dict[str, Side] = {}
    encoded: dict[str, Encoded] = {}
    watch.turn("encode")
    for side in SIDES:
        kept, sides[side] = _side(dataset, task, side, known)
        if len(kept.rows):
            encoded[side] = kept
    watch.turn("setup")
    if not encoded:
        raise _nothing_kept(dataset, sides)
    if "train" not in encoded and (dataset.sides == "train").any():
        raise InputError("contract.no-train-rows", dataset.source.files[0])
    contract = Contract(
        source=", ".join(dataset.source.files[:3]) + (", ..." if len(dataset.source.files) > 3 else ""),
        fingerprint=dataset.fingerprint,
        kind=next(iter(dataset.inputs.values())),
        fields=dataset.fields,
        split_by=dataset.split_by,
        notes=dataset.notes,
        sides=sides,
        repeats=_repeats(dataset, encoded),
        conflicts=_conflicts(dataset, encoded),
        example=_example(dataset, task, encoded),
    )
    return contract, encoded


def _nothing_kept(dataset: Dataset, sides: dict[str, Side]) -> InputError:
    dropped = [(reason, found) for side in sides.values() for reason, found in side.dropped.items()]
    if not dropped:
        return InputError("data.empty", dataset.source.files[0], file=dataset.source.files[0])
    reason, found = max(dropped, key=lambda item: item[1].n)
    rows = sum(side.rows for side in sides.values())
    return InputError("contract.nothing-kept", found.examples[0], rows=rows, n=found.n, reason=say(reason))


def _side(dataset: Dataset, task: Any, side: str, known: set[str]) -> tuple[Encoded, Side]:
    all_rows = np.flatnonzero(dataset.sides == side)
    lost: dict[str, list[str]] = {}
    home = "train" if (dataset.sides == "train").any() else "test"  # of rows that reading left out before they had a side
    for drop in dataset.source.dropped:
        if (drop.side or home) == side:
            lost.setdefault(drop.reason, []).append(drop.origin)
    usable_rows = []
    for i in all_rows.tolist():
        fault = dataset.faults.get(i)
        if fault is not None:
            lost.setdefault(fault.reason, []).append(dataset.origin(i))
        elif known and dataset.target and dataset.labels[i] not in known:
            lost.setdefault("data.drop-unseen-label", []).append(f"{dataset.origin(i)} ({dataset.labels[i]})")
        else:
            usable_rows.append(i)
    rows, examples = [], []
    for i, example in _encode(dataset, task, usable_rows):
        if example is None:
            lost.setdefault("data.drop-refused", []).append(dataset.origin(i))
        else:
            rows.append(i)
            examples.append(example)
    spans_N2 = np.array([task.cut(example) for example in examples], dtype=np.int64).reshape(-1, 2)
    return Encoded(np.array(rows, dtype=np.int64), examples), Side(
        rows=len(rows) + sum(map(len, lost.values())),
        kept=len(rows),
        dropped={reason: _finding(origins) for reason, origins in lost.items()},
        cut=int((spans_N2[:, 0] < spans_N2[:, 1]).sum()),
        units=int(spans_N2[:, 1].sum()),
        units_kept=int(spans_N2[:, 0].sum()),
        classes=dict(Counter(dataset.labels[i] for i in rows).most_common()) if dataset.target else {},
    )


def _encode(dataset: Dataset, task: Any, rows: list[int]) -> Iterator[tuple[int, Example | None]]:
    """Every row with its example, or None where the task refuses it."""
    for start in range(0, len(rows), _CHUNK):
        part = rows[start : start + _CHUNK]
        try:
            yield from zip(part, task.encode_many(list(dataset.rows(part))), strict=True)
        except InputError:
            for i in part:
                try:
                    yield i, task.encode(dataset.row(i))
                except InputError:
                    yield i, None


def _finding(origins: list[str]) -> Finding:
    return Finding(len(origins), origins[:_SHOWN])


def _repeats(dataset: Dataset, encoded: dict[str, Encoded]) -> dict[str, Finding]:
    """For every two sides, the rows of the later whose inputs stand in the earlier too."""
    first: dict[str, dict[int, int]] = {}
    for side, kept in encoded.items():
        units = dataset.units[kept.rows].tolist()
        first[side] = dict(zip(reversed(units), reversed(kept.rows.tolist()), strict=True))
    found = {}
    for later, earlier in (("validation", "train"), ("test", "train"), ("test", "validation")):
        if later in encoded and earlier in encoded:
            pairs = [
                (i, first[earlier].get(unit))
                for i, unit in zip(encoded[later].rows.tolist(), dataset.units[encoded[later].rows].tolist(), strict=True)
            ]
            same = [f"{dataset.origin(i)} = {dataset.origin(j)}" for i, j in pairs if j is not None]
            if same:
                found[f"{later} in {earlier}"] = _finding(same)
    return found


def _conflicts(dataset: Dataset, encoded: dict[str, Encoded]) -> Finding:
    """Inputs that stand in the data with more than one label."""
    if not dataset.target:
        return Finding()
    labelled: dict[int, int] = {}
    pairs: dict[int, str] = {}
    for i in np.sort(np.concatenate([kept.rows for kept in encoded.values()])).tolist():
        unit = int(dataset.units[i])
        j = labelled.setdefault(unit, i)
        if unit not in pairs and dataset.labels[i] != dataset.labels[j]:
            pairs[unit] = f"{dataset.origin(j)} ({dataset.labels[j]}) = {dataset.origin(i)} ({dataset.labels[i]})"
    return _finding(list(pairs.values()))


def _example(dataset: Dataset, task: Any, encoded: dict[str, Encoded]) -> dict[str, str]:
    """One encoded row decoded back, as the model sees it."""
    kept = next(iter(encoded.values()))
    i = int(kept.rows[0])
    raw = dataset.raw(i, next(iter(dataset.inputs)))
    shown = {"origin": dataset.origin(i), "decoded": _short(task.show(kept.examples[0]))}
    if isinstance(raw, str):
        shown["text"] = _short(" ".join(raw.split()))
    if dataset.target and dataset.labels[i] is not None:
        shown["label"] = dataset.labels[i]
    return shown


def _short(text: str) -> str:
    longest, most = _EXCERPT
    return "\n".join(line[:longest] + ("..." if len(line) > longest else "") for line in text.splitlines()[:most])
