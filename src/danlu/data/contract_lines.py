"""The data contract as lines for a person, in columns that stand straight in English and Chinese."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

from danlu.core.types import SIDES
from danlu.core.words import say

if TYPE_CHECKING:
    from danlu.data.contract import Contract

_CLASSES = 20  # shown; the rest is summed up
_UNEVEN = 10  # the largest class this many times the smallest is worth a line


def lines(contract: Contract, lang: str) -> list[str]:
    """Blocks with a blank line between: the data, its sides, what is dropped or cut, repeats, classes, one row as the model sees it."""
    blocks = [_head, _sides, _dropped, _cut, _repeats, _classes, _example]
    made = [block(contract, lang) for block in blocks]
    return [line for block in made if block for line in (*block, "")][:-1]


def width(text: str) -> int:
    """Columns that a text takes on a terminal: a Chinese character takes two."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 0 if unicodedata.combining(c) else 1 for c in text)


def table(rows: Sequence[Sequence[str]], left: Sequence[int] = (0,)) -> list[str]:
    """Rows in columns, two spaces in and two between; the columns in `left` are aligned left, the others right."""
    widths = [max(width(row[i]) for row in rows) for i in range(len(rows[0]))]

    def cell(text: str, i: int) -> str:
        space = " " * (widths[i] - width(text))
        return text + space if i in left else space + text

    return ["  " + "  ".join(cell(text, i) for i, text in enumerate(row)).rstrip() for row in rows]


def _head(contract: Contract, lang: str) -> list[str]:
    total = sum(side.rows for side in contract.sides.values())
    labels = {label for side in contract.sides.values() for label in side.classes}
    first = say(
        "contract.head",
        lang,
        source=contract.source,
        rows=f"{total:,}",
        classes=len(labels),
        by=say(f"contract.by-{contract.split_by}", lang),
    )
    notes = [say(note["key"], lang, **{name: value for name, value in note.items() if name != "key"}) for note in contract.notes]
    return [first, *(f"  {note}" for note in notes)]


def _present(contract: Contract) -> list[str]:
    return [side for side in SIDES if contract.sides[side].rows]


def _sides(contract: Contract, lang: str) -> list[str]:
    names = ["rows", "kept", "dropped", "cut"]
    rows = [["", *(say(f"contract.{name}", lang) for name in names)]]
    for name in _present(contract):
        side = contract.sides[name]
        rows.append([say(f"contract.{name}", lang), *(f"{n:,}" for n in (side.rows, side.kept, side.rows - side.kept, side.cut))])
    return table(rows)


def _dropped(contract: Contract, lang: str) -> list[str]:
    rows = [
        [say(f"contract.{name}", lang), f"{found.n:,}", say(reason, lang), _listed(found.examples, found.n)]
        for name in _present(contract)
        for reason, found in contract.sides[name].dropped.items()
    ]
    return [say("contract.dropped-title", lang), *table(rows, left=(0, 2, 3))] if rows else []


def _listed(examples: list[str], n: int) -> str:
    return ", ".join(examples) + (", ..." if n > len(examples) else "")


def _cut(contract: Contract, lang: str) -> list[str]:
    found = []
    for name in _present(contract):
        side = contract.sides[name]
        if side.cut:
            lost = f"{100 * (1 - side.units_kept / side.units):.2g}%"
            unit = say(f"contract.unit-{contract.kind}", lang)
            found.append(say("contract.cut-line", lang, side=say(f"contract.{name}", lang), n=f"{side.cut:,}", lost=lost, unit=unit))
    return [say("contract.cut-title", lang), *(f"  {line}" for line in found)] if found else []


def _repeats(contract: Contract, lang: str) -> list[str]:
    found = []
    for pair, finding in contract.repeats.items():
        later, earlier = (say(f"contract.{name}", lang) for name in pair.split(" in "))
        listed = _listed(finding.examples, finding.n)
        found.append(say("contract.repeat", lang, n=f"{finding.n:,}", later=later, earlier=earlier, examples=listed))
    if contract.conflicts.n:
        listed = _listed(contract.conflicts.examples, contract.conflicts.n)
        found.append(say("contract.conflict", lang, n=f"{contract.conflicts.n:,}", examples=listed))
    return [say("contract.repeats-title", lang), *(f"  {line}" for line in found)] if found else []


def _classes(contract: Contract, lang: str) -> list[str]:
    present = _present(contract)
    labels = list(dict.fromkeys(label for side in present for label in contract.sides[side].classes))
    if not labels:
        return []
    rows = [["", *(say(f"contract.{side}", lang) for side in present)]]
    for label in labels[:_CLASSES]:
        rows.append([label[:40], *(f"{contract.sides[side].classes.get(label, 0):,}" for side in present)])
    made = [say("contract.classes", lang), *table(rows)]
    if len(labels) > _CLASSES:
        made.append("  " + say("contract.more-classes", lang, n=len(labels) - _CLASSES))
    counts = sorted(contract.sides[present[0]].classes.values())
    if counts and counts[-1] >= _UNEVEN * counts[0]:
        made.append("  " + say("contract.uneven", lang, times=counts[-1] // counts[0]))
    return made


def _example(contract: Contract, lang: str) -> list[str]:
    example = contract.example
    label = f" -> {example['label']}" if "label" in example else ""
    text = [f"  {example['text']}"] if "text" in example else []
    return [
        say("contract.example", lang, origin=example["origin"]) + label,
        *text,
        *(f"  {line}".rstrip() for line in example["decoded"].splitlines()),
    ]
