"""Tables of separated values: csv, tsv and kin. The separator and the line of names are found, every bad row keeps its line number."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from danlu.core.errors import InputError
from danlu.data.header import has_header

MAX_CELL = 10_000_000  # characters
MAX_COLUMNS = 10_000
_SEPARATORS = {"csv": ",\t;|", "tsv": "\t,;|"}
_SAMPLE_ROWS = 1000
_TOLD = re.compile(r"sep=([,;|\t])(?=\r?\n)", re.IGNORECASE)  # the first line by which Excel is told the separator


@dataclass
class Grid:
    """Cells [columns][rows] with names, the line each row begins on, and the rows left out as (reason, line)."""

    names: list[str]
    columns: list[list[str | None]]
    lines: list[int]
    bad: list[tuple[str, int]]
    header: bool
    separator: str


def read_delimited(text: str, where: str, form: str, header: bool | None, like: list[str] | None = None) -> Grid:
    """`form` is csv or tsv, `like` the names of a sister file. InputError with the line for an open quote or mostly ragged rows."""
    told = _TOLD.match(text)
    separator = told[1] if told else sniff(text, form)
    text = text[told.end() :] if told else text  # the line's end stays, so that lines keep their numbers
    records, bad = _collect(text, separator, where, quoted=True) if separator != "\t" else _tabbed(text, where)
    if not records:
        raise InputError("data.empty", where, file=where)
    width = Counter(len(cells) for _, cells in records[:_SAMPLE_ROWS]).most_common(1)[0][0]
    if max(width, len(records[0][1])) > MAX_COLUMNS:
        raise InputError("data.too-many-columns", where, file=where, limit=MAX_COLUMNS)
    names = _names(records, width, header, like)
    if names is not None:
        width = len(names)
        del records[0]
        _no_repeats(names, where)
    records = [(line, cells[:width] if len(cells) > width and not any(cells[width:]) else cells) for line, cells in records]
    good = [record for record in records if len(record[1]) == width]
    bad += [("data.drop-ragged", line) for line, cells in records if len(cells) != width]
    if not good and not bad:
        raise InputError("data.empty", where, file=where)
    if len(bad) > len(good):
        line = min(line for _, line in bad)
        raise InputError(
            "data.mostly-ragged", f"{where}:{line}", file=where, bad=len(bad), rows=len(bad) + len(good), line=line, width=width
        )
    columns = [list(column) for column in zip(*(cells for _, cells in good), strict=True)]
    chosen = [name or f"column_{i + 1}" for i, name in enumerate(names or like or [""] * width)]
    return Grid(chosen, columns, [line for line, _ in good], bad, names is not None, separator)


def sniff(text: str, form: str) -> str:
    """The separator under which the first records agree best in how many cells they have; the form's own where several do."""
    sample = text[: 1 << 16]
    best, best_score = _SEPARATORS[form][0], 0.0
    for separator in _SEPARATORS[form]:
        reader = csv.reader(io.StringIO(sample, newline=""), delimiter=separator, skipinitialspace=separator != "\t")
        try:
            widths = [len(cells) for cells in reader if cells]
        except csv.Error:
            continue
        if len(widths) > 2 and len(sample) < len(text):
            widths.pop()
        if not widths:
            continue
        width, count = Counter(widths).most_common(1)[0]
        score = count / len(widths) * (1.0 if widths[0] == width else 0.5)
        if width > 1 and score > best_score + 0.02:
            best, best_score = separator, score
    return best


def _collect(text: str, separator: str, where: str, quoted: bool) -> tuple[list[tuple[int, list[str]]], list[tuple[str, int]]]:
    records: list[tuple[int, list[str]]] = []
    bad: list[tuple[str, int]] = []
    for line, cells in _records(text, separator, where, quoted):
        if cells is None:
            bad.append(("data.drop-quotes", line))
        else:
            records.append((line, cells))
    return records, bad


def _tabbed(text: str, where: str) -> tuple[list[tuple[int, list[str]]], list[tuple[str, int]]]:
    """Tab-separated files mostly do not quote: quotes are taken as characters where reading them as quotes goes wrong."""
    try:
        records, bad = _collect(text, "\t", where, quoted=True)
        if not bad and len({len(cells) for _, cells in records}) <= 1:
            return records, bad
    except InputError:
        pass
    return _collect(text, "\t", where, quoted=False)


def _records(text: str, separator: str, where: str, quoted: bool) -> Iterator[tuple[int, list[str] | None]]:
    """(line it begins on, cells); None for cells whose quotes are malformed. Blank lines are no records."""
    csv.field_size_limit(MAX_CELL)
    quoting = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=separator, quoting=quoting, strict=True, skipinitialspace=separator != "\t"
    )
    line = 1
    while True:
        try:
            cells: list[str] | None = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if "unexpected end" in str(error):
                raise InputError("data.open-quote", f"{where}:{line}", file=where, line=line) from None
            if "field larger" in str(error):
                raise InputError("data.huge-cell", f"{where}:{line}", file=where, line=line, limit=MAX_CELL) from None
            cells = None
        if cells is None or len(cells) > 1 or any(cells):
            yield line, cells
        line = reader.line_num + 1


def _names(records: list[tuple[int, list[str]]], width: int, header: bool | None, like: list[str] | None) -> list[str] | None:
    """The first line as column names, or None where it is data."""
    first = [cell.strip() for cell in records[0][1]]
    if header is None and like is not None:
        header = first == like if len(first) == len(like) else None
    if header is None:
        below = [cells for _, cells in records[1:_SAMPLE_ROWS] if len(cells) == len(first)]
        header = has_header(first, below)
    if not header:
        return None
    if len(first) == width + 1 and not first[-1]:
        first = first[:-1]
    return first


def _no_repeats(names: list[str], where: str) -> None:
    repeated = [name for name, count in Counter(name for name in names if name).items() if count > 1]
    if repeated:
        raise InputError("data.repeated-column", f"{where}:1", file=where, column=repeated[0])
