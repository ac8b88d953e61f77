"""A request's body as rows: text as `str`, pictures and sounds as `bytes`. A row never names a file or an address: nothing is opened here.

What the sender can mend is a Refusal that says where: `rows[2].image`.
"""

from __future__ import annotations

import base64
import difflib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from danlu.serve.answers import Refusal
from danlu.serve.limits import Limits
from danlu.serve.parts import read_parts


class Asked(NamedTuple):
    """The rows of a request, and whether it asked with a list and so is answered with one."""

    rows: list[dict[str, str | bytes]]
    many: bool


def parse(content_type: str, body: bytes, inputs: Mapping[str, str], limits: Limits) -> Asked:
    """Rows of a body. `inputs` maps each field of a row to its kind. Refusal 400, 413, 415 or 422 for one that cannot be understood."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "application/json" or kind.endswith("+json"):
        asked = _from_json(load_json(body), inputs, limits)
    elif kind == "multipart/form-data":
        asked = _from_parts(read_parts(content_type, body, limits.max_rows * len(inputs)), inputs, limits)
    elif (field := _raw_field(kind, inputs)) is not None:
        asked = Asked([{field: _media(body, field)}], many=False)
    else:
        raise Refusal(415, "serve.media-type", "content-type", found=kind[:60] or "-", known=", ".join(accepted(inputs)))
    if not asked.rows:
        raise Refusal(422, "serve.no-rows", "rows")
    if len(asked.rows) > limits.max_rows:
        raise Refusal(413, "serve.too-many-rows", "rows", found=len(asked.rows), limit=limits.max_rows)
    return asked


def accepted(inputs: Mapping[str, str]) -> list[str]:
    """The content types that `POST /predict` takes for rows like these."""
    raw = [f"{kind}/*" for kind in inputs.values() if len(inputs) == 1 and kind != "text"]
    return ["application/json", "multipart/form-data", *raw]


# -- JSON ----------------------------------------------------------------------------------------------------------
def load_json(body: bytes) -> Any:
    """Strict JSON: UTF-8, no NaN, no repeated key, no nesting beyond what the reader can walk."""
    try:
        return json.loads(body.decode("utf-8-sig"), parse_constant=_no_constant, object_pairs_hook=_no_repeats)
    except json.JSONDecodeError as error:
        raise Refusal(400, "serve.not-json", f"line {error.lineno}, column {error.colno}", problem=error.msg) from None
    except RecursionError:
        raise Refusal(400, "serve.deep-json", "body") from None
    except UnicodeDecodeError as error:
        raise Refusal(400, "serve.not-utf8", f"byte {error.start}") from None
    except ValueError as error:  # a number of thousands of digits
        raise Refusal(400, "serve.not-json", "body", problem=str(error)[:100]) from None


def _no_constant(name: str) -> None:
    raise Refusal(400, "serve.json-constant", "body", name=name)


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise Refusal(400, "serve.json-repeat", "body", name=next(key for key in keys if keys.count(key) > 1)[:60])
    return found


def _from_json(value: Any, inputs: Mapping[str, str], limits: Limits) -> Asked:
    if isinstance(value, dict) and "rows" in value and "rows" not in inputs:
        if len(value) > 1:
            raise Refusal(422, "serve.beside-rows", "body", names=_names(set(value) - {"rows"}))
        value = value["rows"]
        if not isinstance(value, list):
            raise Refusal(422, "serve.rows-no-list", "rows", found=_type(value))
    if not isinstance(value, list):
        return Asked([_row(value, inputs, limits, "")], many=False)
    if len(value) > limits.max_rows:
        raise Refusal(413, "serve.too-many-rows", "rows", found=len(value), limit=limits.max_rows)
    return Asked([_row(row, inputs, limits, f"rows[{i}]") for i, row in enumerate(value)], many=True)


def _row(value: Any, inputs: Mapping[str, str], limits: Limits, where: str) -> dict[str, str | bytes]:
    known = ", ".join(inputs)
    if isinstance(value, str) and len(inputs) == 1:
        value = {next(iter(inputs)): value}
    if not isinstance(value, dict):
        raise Refusal(422, "serve.row-shape", where or "body", found=_type(value), known=known)
    for name in value:
        if name not in inputs:
            near = difflib.get_close_matches(name, inputs, 1, 0.5) or list(inputs)
            raise Refusal(422, "serve.field-unknown", _at(where, name), name=name[:60], near=near[0], known=known)
    for name in inputs:
        if value.get(name) is None:
            raise Refusal(422, "serve.field-missing", _at(where, name), name=name, known=known)
    return {name: _value(kind, value[name], limits, _at(where, name)) for name, kind in inputs.items()}


def _value(kind: str, value: Any, limits: Limits, where: str) -> str | bytes:
    if kind == "text":
        return _text(value, limits, where)
    if isinstance(value, str):
        key = "serve.no-address" if "://" in value[:32] or value[:5].lower() == "data:" else "serve.media-shape"
        raise Refusal(422, key, where, found=_type(value))
    if not isinstance(value, dict) or set(value) != {"base64"} or not isinstance(value["base64"], str):
        raise Refusal(422, "serve.media-shape", where, found=_type(value))
    try:
        return _media(base64.b64decode("".join(value["base64"].split()), validate=True), where)
    except ValueError:
        raise Refusal(422, "serve.not-base64", where) from None


def _text(value: Any, limits: Limits, where: str) -> str:
    if not isinstance(value, str):
        raise Refusal(422, "serve.not-text", where, found=_type(value))
    if len(value) > limits.max_text:
        raise Refusal(413, "serve.text-too-long", where, found=len(value), limit=limits.max_text)
    try:
        value.encode("utf8")
    except UnicodeEncodeError:
        raise Refusal(422, "serve.half-character", where) from None
    return value


def _media(data: bytes, where: str) -> bytes:
    if not data:
        raise Refusal(422, "serve.empty-media", where)
    return data


# -- files ---------------------------------------------------------------------------------------------------------
def _raw_field(kind: str, inputs: Mapping[str, str]) -> str | None:
    """The field that a body of one picture or sound is, where rows have only that one."""
    if len(inputs) != 1:
        return None
    field, wanted = next(iter(inputs.items()))
    return field if wanted != "text" and (kind.startswith(f"{wanted}/") or kind == "application/octet-stream") else None


def _from_parts(parts: list[tuple[str, bytes]], inputs: Mapping[str, str], limits: Limits) -> Asked:
    """Rows of a form: the n-th part named after a field belongs to the n-th row. `file` and `files` stand for the only picture or sound."""
    media = [name for name, kind in inputs.items() if kind != "text"]
    alias = {"file": media[0], "files": media[0]} if len(media) == 1 else {}
    columns: dict[str, list[str | bytes]] = {name: [] for name in inputs}
    for name, data in parts:
        field = name if name in inputs else alias.get(name)
        if field is None:
            near = difflib.get_close_matches(name, inputs, 1, 0.5) or list(inputs)
            raise Refusal(422, "serve.field-unknown", name[:60], name=name[:60], near=near[0], known=", ".join(inputs))
        where = f"rows[{len(columns[field])}].{field}"
        columns[field].append(_text(_utf8(data, where), limits, where) if inputs[field] == "text" else _media(data, where))
    counts = {name: len(column) for name, column in columns.items()}
    if len(set(counts.values())) > 1:
        raise Refusal(422, "serve.uneven-parts", "body", counts=", ".join(f"{name} {n}" for name, n in counts.items()))
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return Asked(rows, many=len(rows) > 1)


def _utf8(data: bytes, where: str) -> str:
    try:
        return data.decode("utf8")
    except UnicodeDecodeError:
        raise Refusal(400, "serve.not-utf8", where) from None


# -- words for what was found --------------------------------------------------------------------------------------
def _at(where: str, name: str) -> str:
    return f"{where}.{name[:60]}" if where else name[:60]


def _names(names: set[str]) -> str:
    return ", ".join(sorted(name[:60] for name in names)[:5])


def _type(value: Any) -> str:
    """What JSON calls a value's type."""
    if value is None:
        return "null"
    names = {bool: "true/false", int: "number", float: "number", str: "string", list: "list", dict: "object"}
    return names[type(value)]
