"""A table file to rows of text cells: csv, tsv, txt, jsonl, json, parquet, each also gzipped. "NA", "00123" and "1e5" stay as written."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from danlu.core.errors import InputError
from danlu.data.archive import file_digest, read_file
from danlu.data.delimited import Grid, read_delimited
from danlu.data.source import Drop, Source
from danlu.data.text_encoding import decode

FORMS = {
    ".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".txt": "tsv", ".data": "csv", "": "tsv", ".psv": "csv",
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".parquet": "parquet", ".pq": "parquet",
}  # fmt: skip
_SEPARATOR_NAMES = {"\t": "tab", ";": ";", "|": "|", ",": ","}


def suffix_of(path: Path) -> str:
    """The file's ending in lower case, without a last `.gz`."""
    return Path(path.name[:-3] if path.name.lower().endswith(".gz") else path.name).suffix.lower()


def is_table(path: Path) -> bool:
    """Whether the name is clearly a table's; `.txt` and names without an ending are not clear."""
    return suffix_of(path) in FORMS and suffix_of(path) not in ("", ".txt", ".data")


def read_table(path: Path, shown: str, header: bool | None = None, like: Source | None = None) -> Source:
    """Rows of one file. `like` is a sister file read before (another part of the same data), whose columns are expected again."""
    form = FORMS.get(suffix_of(path))
    if form is None:
        raise InputError("data.unknown-format", shown, file=path.name)
    data = read_file(path)
    if not data.strip():
        raise InputError("data.empty", shown, file=path.name)
    digest = file_digest(path)
    if form == "parquet":
        frame, arrays = _parquet(data, shown)
        return Source.of(frame, shown, path.parent, range(1, len(frame) + 1), arrays=arrays, digests=[digest], header=True)
    text, encoding = decode(data, shown)
    notes: list[dict[str, Any]] = []
    if encoding not in ("utf-8", "utf-8-sig"):
        notes.append({"key": "data.note-encoding", "file": shown, "encoding": {"gb18030": "GB18030", "big5": "Big5"}.get(encoding, encoding.upper())})
    if form in ("jsonl", "json"):
        rows, lines = _jsonl(text, shown) if form == "jsonl" else _json(text, shown)
        frame = _frame_of_objects(rows, shown)
        return Source.of(frame, shown, path.parent, lines, digests=[digest], notes=notes, header=True)
    grid = read_delimited(text, shown, form, header if like is None or header is not None else like.header or None, _names(like))
    if not grid.header and header is None:
        notes.append({"key": "data.note-no-header", "file": shown, "columns": ", ".join(grid.names)})
    if grid.separator != {"csv": ",", "tsv": "\t"}[form] and suffix_of(path) not in (".txt", "", ".data"):
        notes.append({"key": "data.note-separator", "file": shown, "separator": _SEPARATOR_NAMES[grid.separator]})
    dropped = [Drop(reason, "", f"{shown}:{line}") for reason, line in grid.bad]
    frame = _frame_of_grid(grid)
    if not frame.columns:
        raise InputError("data.empty", shown, file=path.name)
    return Source.of(frame, shown, path.parent, grid.lines, digests=[digest], notes=notes, dropped=dropped, header=grid.header)


def _names(like: Source | None) -> list[str] | None:
    return None if like is None else like.frame.columns


def _frame_of_grid(grid: Grid) -> pl.DataFrame:
    named = dict(zip(grid.names, grid.columns, strict=True))
    frame = pl.DataFrame({name: pl.Series(name, cells, dtype=pl.String) for name, cells in named.items()})
    frame = frame.select(pl.when(pl.col(name) == "").then(None).otherwise(pl.col(name)).alias(name) for name in frame.columns)
    unnamed = [name for name in frame.columns if name.startswith("column_") and grid.header and frame[name].null_count() == len(frame)]
    return frame.drop(unnamed)


# -- json --------------------------------------------------------------------------------------------------------
def _loads(text: str) -> Any:
    return json.loads(text, parse_int=str, parse_float=str, parse_constant=str)


def _jsonl(text: str, where: str) -> tuple[list[dict[str, Any]], list[int]]:
    rows, lines = [], []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = _loads(line)
        except (ValueError, RecursionError):
            raise InputError("data.bad-json-line", f"{where}:{number}", file=where, line=number) from None
        if not isinstance(row, dict):
            raise InputError("data.not-an-object", f"{where}:{number}", file=where, line=number)
        rows.append(row)
        lines.append(number)
    return rows, lines


def _json(text: str, where: str) -> tuple[list[dict[str, Any]], list[int]]:
    """A list of objects, an object holding one such list, or one of pandas' forms; a `.json` of JSON lines is taken too."""
    try:
        value = _loads(text)
    except RecursionError:
        raise InputError("data.bad-json", where, file=where, line=1) from None
    except json.JSONDecodeError as error:
        if error.msg.startswith("Extra data"):
            return _jsonl(text, where)
        raise InputError("data.bad-json", f"{where}:{error.lineno}", file=where, line=error.lineno) from None
    if isinstance(value, dict):
        value = _rows_of_object(value)
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise InputError("data.not-rows", where, file=where)
    return value, list(range(1, len(value) + 1))


def _rows_of_object(value: dict[str, Any]) -> Any:
    """Rows where an object holds a list of them, columns (lists or mappings from row to cell), rows by key, or names beside lists of cells."""
    parts = list(value.values())
    lists = {name: part for name, part in value.items() if isinstance(part, list)}
    tables = [part for part in lists.values() if part and isinstance(part[0], dict)]
    if len(tables) == 1:
        return tables[0]
    names, cells = lists.get("columns"), lists.get("data")
    if names and cells and all(isinstance(row, list) and len(row) == len(names) for row in cells):
        return [dict(zip(map(str, names), row, strict=True)) for row in cells]
    if lists and len(lists) == len(value) and len({len(part) for part in lists.values()}) == 1:
        return [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]
    if len(parts) > 1 and all(isinstance(part, dict) for part in parts):
        keys = list(parts[0])
        if keys and all(map(str.isdigit, keys)) and all(list(part) == keys for part in parts):
            return [{name: part[key] for name, part in value.items()} for key in keys]
        if all(isinstance(cell, str | None) for part in parts for cell in part.values()) and set(keys) & set(parts[1]):
            return parts
    return value


def _cell(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def _frame_of_objects(rows: list[dict[str, Any]], where: str) -> pl.DataFrame:
    names = list(dict.fromkeys(name for row in rows for name in row))
    if not names:
        raise InputError("data.empty", where, file=where)
    columns = {name if name.strip() else f"column_{i + 1}": [_cell(row.get(name)) for row in rows] for i, name in enumerate(names)}
    try:
        return pl.DataFrame({name: pl.Series(name, cells, dtype=pl.String) for name, cells in columns.items()})
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can write and UTF-8 cannot
        whole = {name: [cell and cell.encode("utf-8", "replace").decode() for cell in cells] for name, cells in columns.items()}
        return pl.DataFrame({name: pl.Series(name, cells, dtype=pl.String) for name, cells in whole.items()})


# -- parquet -----------------------------------------------------------------------------------------------------
def _parquet(data: bytes, where: str) -> tuple[pl.DataFrame, dict[str, np.ndarray]]:
    """Cells as text, and the bytes of files for columns that hold some (alone, or as {"bytes", "path"} as Hugging Face writes them)."""
    if not data.startswith(b"PAR1") or not data.endswith(b"PAR1"):
        raise InputError("data.bad-parquet", where, file=where)
    try:
        frame = pl.read_parquet(io.BytesIO(data))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError) as error:
        raise InputError("data.bad-parquet", where, file=where) from error
    if not len(frame) or not frame.columns:
        raise InputError("data.empty", where, file=where)
    columns, arrays = [], {}
    for name in frame.columns:
        column = frame[name]
        held = column.struct.field("bytes") if isinstance(column.dtype, pl.Struct) and "bytes" in column.struct.fields else column
        if held.dtype == pl.Binary and not _is_text(held):
            arrays[name] = np.array([*held.to_list(), None], dtype=object)[:-1]
            columns.append(pl.Series(name, [f"{name}:{i}" for i in range(1, len(frame) + 1)], dtype=pl.String))
        else:
            columns.append(_as_text(column))
    return pl.DataFrame(columns), arrays


def _is_text(column: pl.Series) -> bool:
    try:
        column.cast(pl.String)
    except pl.exceptions.PolarsError:
        return False
    return True


def _as_text(column: pl.Series) -> pl.Series:
    if column.dtype.is_nested():
        return pl.Series(column.name, [_cell_of_any(value) for value in column.to_list()], dtype=pl.String)
    return column.cast(pl.String, strict=False)


def _cell_of_any(value: Any) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False, default=str)
