"""Which columns are the inputs and the target: as the user says, as the layout tells, by common words, or by what the cells hold."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import polars as pl

from danlu.core.errors import InputError
from danlu.core.words import say
from danlu.data.header import BODY, LABEL, MEDIA, OTHER, SPLIT, TIME, TITLE, is_number, plain
from danlu.data.locate import media_share
from danlu.data.parts import side_of
from danlu.data.source import Source

_SAMPLE = 5000
_DATE = re.compile(r"\d{1,4}[-/.年]\d{1,2}([-/.月]\d{1,4}|月)")
_LABEL_LENGTH = 60  # characters: longer repeated cells are texts, not labels
_NAMED = ("label", "class", "category", "sentiment", "标签", "类别", "分类")  # also as a part of a longer name
_ASIDE = frozenset((*SPLIT, *TIME, *OTHER))

Fields = dict[str, list[str]]
Notes = list[dict[str, Any]]


def choose(source: Source, given: Mapping[str, str | list[str]], inputs: Mapping[str, str], target: str | None) -> tuple[Fields, Notes]:
    """The columns of every field. A guess is told in the notes. InputError for an unknown column or field, or where nothing fits."""
    frame, fields, notes = source.frame, Fields(), Notes()
    allowed = [*inputs, *([target] if target else [])]
    for field, columns in given.items():
        if field not in allowed:
            raise InputError(
                "data.no-such-field", f"data.columns.{field}", field=field, fields=", ".join(allowed), near=_near(field, allowed)
            )
        fields[field] = [_existing(name, frame, field) for name in ([columns] if isinstance(columns, str) else columns)]
        if not fields[field] or (len(fields[field]) > 1 and inputs.get(field) != "text"):
            raise InputError("data.one-column", f"data.columns.{field}", field=field)
    if target in fields and any(fields[target][0] in fields.get(field, ()) for field in inputs):
        raise InputError("data.label-is-input", f"data.columns.{target}", column=fields[target][0])
    for field in allowed:
        if field not in fields and source.known.get(field) in frame.columns:
            fields[field] = [source.known[field]]
    open_fields = [field for field in allowed if field not in fields]
    if target in open_fields:
        taken = {name for columns in fields.values() for name in columns}
        name, why = _target(frame.drop(taken), inputs)
        if name is None:
            raise InputError("data.no-target", source.files[0], field=target, columns=_listed(frame))
        fields[target] = [name]
        notes.append({"key": f"data.note-{why}", "field": target, "columns": name})
    for field in open_fields:
        if field == target:
            continue
        taken = {name for columns in fields.values() for name in columns}
        stored = [name for name in source.arrays if name not in taken and inputs[field] != "text"]
        names, why = (stored, "looks") if len(stored) == 1 else _input(frame.drop(taken), inputs[field])
        if not names:
            raise InputError("data.no-input", source.files[0], field=field, columns=_listed(frame))
        fields[field] = names
        notes.append({"key": f"data.note-{why}", "field": field, "columns": " + ".join(names)})
    return {field: fields[field] for field in allowed}, notes


def side_column(frame: pl.DataFrame, taken: Collection[str], name: str | None = None) -> str | None:
    """The column whose cells all say a side of the split, among them train: `name` itself, or one that is called so."""
    for column in [name] if name else [other for other in frame.columns if plain(other) in SPLIT and other not in taken]:
        cells = [cell for cell in frame[column].unique().to_list() if cell]
        if "train" in {side_of(cell) for cell in cells} and all(side_of(cell) for cell in cells):
            return column
    return None


def existing(name: str, frame: pl.DataFrame, key: str) -> str:
    """`name` if the data has it; InputError that names the nearest real column."""
    return _existing(name, frame, "", key)


def _existing(name: str, frame: pl.DataFrame, field: str, key: str = "") -> str:
    if name in frame.columns:
        return name
    alike = [column for column in frame.columns if plain(column) == plain(name) and plain(name)]
    near = say("data.nearest", name=alike[0]) if alike else _near(name, frame.columns)
    raise InputError("data.no-such-column", key or f"data.columns.{field}", column=name, columns=_listed(frame), near=near)


def _near(name: str, names: Sequence[str]) -> str:
    close = difflib.get_close_matches(name.casefold(), [other.casefold() for other in names], n=1, cutoff=0.5)
    found = next((other for other in names if close and other.casefold() == close[0]), "")
    return say("data.nearest", name=found) if found else ""


def _listed(frame: pl.DataFrame) -> str:
    return ", ".join(frame.columns[:12]) + (", ..." if len(frame.columns) > 12 else "")


# -- guesses -----------------------------------------------------------------------------------------------------
def _target(frame: pl.DataFrame, inputs: Mapping[str, str]) -> tuple[str | None, str]:
    names = {plain(name): name for name in reversed(frame.columns)}
    media = "text" not in inputs.values()
    for word in LABEL:
        if word in names and frame[names[word]].null_count() < len(frame):
            return names[word], "named"
    for part in _NAMED:
        for name in frame.columns:
            if part in plain(name) and frame[name].null_count() < len(frame):
                return name, "named"
    columns = {name: _cells(frame, name) for name in _mostly_filled(frame) if plain(name) not in _ASIDE}
    fitting = [name for name, cells in columns.items() if _label_like(cells)]
    fitting = [name for name in fitting if len(set(columns[name])) > 1] or fitting
    if not fitting and len(columns) == 2 and media:
        fitting = [name for name, cells in columns.items() if all(media_share(cells, kind) < 0.5 for kind in inputs.values())]
    if not fitting:
        return next((names[word] for word in LABEL if word in names), None), "named"
    edges = [name for name in (frame.columns[-1], frame.columns[0]) if name in fitting]
    return (edges or sorted(fitting, key=lambda name: len(set(columns[name]))))[0], "looks"


def _label_like(cells: list[str]) -> bool:
    """Few distinct short values that come again and again, and are not dates."""
    distinct = set(cells)
    if all(_DATE.match(cell) for cell in distinct):
        return False
    return bool(cells) and len(distinct) * 3 <= len(cells) + 3 and len(distinct) < len(cells) and max(map(len, distinct)) <= _LABEL_LENGTH


def _input(frame: pl.DataFrame, kind: str) -> tuple[list[str], str]:
    return _text(frame) if kind == "text" else _media(frame, kind)


def _text(frame: pl.DataFrame) -> tuple[list[str], str]:
    names = {plain(name): name for name in reversed(frame.columns)}
    body = next((names[word] for word in BODY if word in names), None)
    title = next((names[word] for word in TITLE if word in names), None)
    numbered = [name for name in frame.columns if plain(name).rstrip("12345") in BODY and plain(name)[-1:].isdigit()]
    if len(numbered) > 1 and body is None:
        return numbered, "named"
    if body or title:
        return [name for name in frame.columns if name in (title, body)], "named"
    columns = {name: _cells(frame, name) for name in _mostly_filled(frame) if plain(name) not in _ASIDE} or {
        n: _cells(frame, n) for n in frame.columns
    }
    texts = [name for name, cells in columns.items() if _text_like(cells)]
    if not texts and columns:
        texts = [max(columns, key=lambda name: sum(map(len, columns[name])) / (len(columns[name]) or 1))]
    return texts, "looks"


def _text_like(cells: list[str]) -> bool:
    """Mostly different cells of some length that are words: neither numbers nor addresses."""
    if not cells or len(set(cells)) < 0.3 * len(cells) or sum(map(len, cells)) < 8 * len(cells):
        return False
    words = sum(
        not is_number(cell) and not cell.startswith(("http://", "https://")) and (" " in cell or not cell.isascii()) for cell in cells
    )
    return words > 0.5 * len(cells)


def _media(frame: pl.DataFrame, kind: str) -> tuple[list[str], str]:
    shares = {name: media_share(_cells(frame, name), kind) for name in frame.columns}
    names = {plain(name): name for name in reversed(frame.columns)}
    for word in MEDIA:
        if word in names and shares[names[word]] > 0.5:
            return [names[word]], "named"
    best = max(shares, key=shares.__getitem__, default=None)
    if best is not None and shares[best] > 0.5:
        return [best], "looks"
    return next(([names[word]] for word in MEDIA if word in names), []), "named"


def _mostly_filled(frame: pl.DataFrame) -> list[str]:
    return [name for name in frame.columns if frame[name].null_count() * 2 <= len(frame)]


def _cells(frame: pl.DataFrame, name: str) -> list[str]:
    """Filled cells, stripped, of rows spread over the whole column."""
    column = frame[name].gather_every(max(1, len(frame) // _SAMPLE))
    return [cell.strip() for cell in column.to_list() if cell and cell.strip()]
