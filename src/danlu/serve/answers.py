"""Answers as HTTP: JSON bodies, the security headers, and every error in one shape: `{"error": {code, message, where, hint}}`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from danlu.core.errors import DanluError, InputError
from danlu.core.words import hint, language, say

SECURITY = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "microphone=(self), camera=(), geolocation=()",
}


class Refusal(DanluError):
    """A request answered with `status` and a sentence instead of a prediction."""

    def __init__(self, status: int, key: str, /, where: object = "", **values: object) -> None:
        self.status = status
        super().__init__(key, where, **values)


class Gone(Exception):
    """The client left before its answer."""


def json_bytes(value: Any) -> bytes:
    """Compact UTF-8 JSON; ValueError for NaN and infinities, which JSON does not have."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf8")


def json_answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(json_bytes(value), status, headers, "application/json")


def spoken(request: Request) -> str | None:
    """`en` or `zh` as `?lang=` or the first language of `Accept-Language` asks; None where the server's own shall decide."""
    wanted = request.query_params.get("lang") or request.headers.get("accept-language", "")
    return next((lang for lang in ("en", "zh") if wanted.lower().startswith(lang)), None)


def status_of(error: DanluError) -> int:
    """A refusal's own; 422 for a value that the sender can mend; 500 for the rest, which is ours."""
    return error.status if isinstance(error, Refusal) else 422 if isinstance(error, InputError) else 500


def error_bytes(error: DanluError, lang: str | None = None) -> bytes:
    lang = lang or language()
    body = {"code": error.code, "message": say(error.code, lang, **error.values), "where": error.where}
    return json_bytes({"error": body | {"hint": hint(error.code, lang, **error.values)}})


def error_answer(error: DanluError, lang: str | None = None) -> Response:
    """The error in one shape, with the headers that its status asks for."""
    status = status_of(error)
    extra = {}
    if status == 503:
        extra["retry-after"] = "1"
    elif status == 401:
        extra["www-authenticate"] = 'Bearer realm="danlu"'
    elif status == 405:
        extra["allow"] = str(error.values["allowed"])
    return Response(error_bytes(error, lang), status, extra, "application/json")
