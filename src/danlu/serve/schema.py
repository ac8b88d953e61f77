"""What the server takes and gives, for programs: JSON Schema of a row and of an answer, and the whole as OpenAPI 3.1."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from danlu.core.words import say
from danlu.serve.limits import Limits
from danlu.serve.parse import accepted
from danlu.serve.samples import sample, sample_json

_TEXT = {"type": "string"}
_MEDIA = {
    "type": "object",
    "properties": {"base64": {"type": "string", "contentEncoding": "base64"}},
    "required": ["base64"],
    "additionalProperties": False,
}
_FILES = {"image": "picture.png", "audio": "sound.wav"}


def row_schema(inputs: Mapping[str, str]) -> dict[str, Any]:
    """JSON Schema of one row, given its fields and their kinds."""
    fields = {name: _TEXT if kind == "text" else _MEDIA for name, kind in inputs.items()}
    return {"type": "object", "properties": fields, "required": list(inputs), "additionalProperties": False}


def answer_schema(labels: list[str]) -> dict[str, Any]:
    """JSON Schema of the answer to one row."""
    share = {"type": "number", "minimum": 0, "maximum": 1}
    scores = {"type": "object", "required": labels, "additionalProperties": share}
    fields = {"label": {"type": "string", "enum": labels}, "score": share, "scores": scores}
    return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}


def error_schema() -> dict[str, Any]:
    """JSON Schema of every error."""
    inner = dict.fromkeys(("code", "message", "where", "hint"), _TEXT)
    error = {"type": "object", "properties": inner, "required": list(inner)}
    return {"type": "object", "properties": {"error": error}, "required": ["error"]}


def sample_row(inputs: Mapping[str, str]) -> dict[str, Any]:
    return {name: sample_json(kind) for name, kind in inputs.items()}


def curl(inputs: Mapping[str, str], base: str) -> str:
    """A command that works once the file's name is the reader's own."""
    if set(inputs.values()) == {"text"}:
        body = json.dumps(sample_row(inputs))
        return f"curl {base}predict -H 'content-type: application/json' -d '{body}'"
    parts = [f"-F {name}=@{_FILES[kind]}" if kind in _FILES else f"-F {name}='{sample(kind)}'" for name, kind in inputs.items()]
    return f"curl {base}predict {' '.join(parts)}"


def schema(about: Mapping[str, Any], limits: Limits, base: str) -> dict[str, Any]:
    """The answer of `GET /schema`. `about` is `Predictor.describe()`, `base` the address that the asker used."""
    inputs = about["inputs"]
    return {
        **about,
        "row": row_schema(inputs),
        "answer": answer_schema(about["labels"]),
        "content_types": accepted(inputs),
        "limits": {"rows": limits.max_rows, "bytes": limits.body(inputs), "characters": limits.max_text},
        "example": {"row": sample_row(inputs), "curl": curl(inputs, base)},
    }


def openapi(about: Mapping[str, Any], limits: Limits, lang: str | None) -> dict[str, Any]:
    """The whole interface as OpenAPI 3.1, described in the reader's language."""
    inputs = about["inputs"]
    paths = {
        "/predict": {"post": _predict(inputs, limits, lang)},
        "/schema": {"get": _get("schema", lang)},
        "/health/live": {"get": _get("live", lang) | {"security": []}},
        "/health/ready": {"get": _get("ready", lang)},
        "/metrics": {"get": _get("metrics", lang, "text/plain")},
        "/openapi.json": {"get": _get("openapi", lang)},
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": f"Danlu: {about['task']}", "version": "1", "description": say("serve.op-about", lang)},
        "paths": paths,
        "components": {
            "schemas": {"Row": row_schema(inputs), "Answer": answer_schema(about["labels"]), "Error": error_schema()},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


def _get(name: str, lang: str | None, kind: str = "application/json") -> dict[str, Any]:
    responses = {"200": {"description": say("serve.op-fine", lang), "content": {kind: {}}}, "default": _error(lang)}
    return {"operationId": name, "summary": say(f"serve.op-{name}", lang), "responses": responses}


def _error(lang: str | None) -> dict[str, Any]:
    return {"description": say("serve.op-error", lang), "content": {"application/json": {"schema": _ref("Error")}}}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _predict(inputs: Mapping[str, str], limits: Limits, lang: str | None) -> dict[str, Any]:
    rows = {"type": "array", "items": _ref("Row"), "minItems": 1, "maxItems": limits.max_rows}
    wrapped = {"type": "object", "properties": {"rows": rows}, "required": ["rows"], "additionalProperties": False}
    shapes = [_ref("Row"), rows, wrapped, *([_TEXT] if list(inputs.values()) == ["text"] else [])]
    content: dict[str, Any] = {"application/json": {"schema": {"oneOf": shapes}, "example": sample_row(inputs)}}
    for kind in accepted(inputs)[1:]:
        content[kind] = {"schema": {"type": "object"} if kind.startswith("multipart") else {"type": "string", "format": "binary"}}
    answer = {"oneOf": [_ref("Answer"), {"type": "array", "items": _ref("Answer")}]}
    statuses = {
        "200": {"description": say("serve.op-fine", lang), "content": {"application/json": {"schema": answer}}},
        **{str(code): _error(lang) for code in (400, 408, 413, 415, 422, 503)},
    }
    return {
        "operationId": "predict",
        "summary": say("serve.op-predict", lang),
        "description": say("serve.op-predict-more", lang, rows=limits.max_rows, size=f"{limits.body(inputs) / 2**20:.3g} MiB"),
        "requestBody": {"required": True, "content": content},
        "responses": statuses,
    }
