"""Who may come in: the Host allow-list, the same-origin rule for browsers, and the bearer token. Everything passes here, whatever its
route or method, before anything else is looked at."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from danlu.serve.answers import Refusal

LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})
OPEN = "/health/live"
_COOKIE = "danlu_key"


def is_loopback(host: str) -> bool:
    """Whether listening on `host` is heard on this machine only."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class Gate:
    """`token` None lets everybody in; `hosts` None takes any Host header, for servers that are reached by names nobody can list here."""

    token: str | None
    hosts: frozenset[str] | None = LOOPBACK

    def admit(self, request: Request) -> Response | None:
        """None for a request that may go on, the answer for a browser that logs in; Refusal 403 for a wrong Host or origin, 401 without
        the token."""
        if self.hosts is not None and _name(request.headers.get("host", "")) not in self.hosts:
            raise Refusal(403, "serve.host", "Host")
        if request.method not in ("GET", "HEAD") and not _same_origin(request):
            raise Refusal(403, "serve.origin", "Origin")
        path = request.scope["path"]  # never request.url.path, which the Host header can bend
        if not self.token or path == OPEN:
            return None
        if path == "/" and request.method == "GET" and "token" in request.query_params:
            return self._login(request)
        if not self._knows_token(request):
            raise Refusal(401, "serve.token", "Authorization")
        return None

    def _login(self, request: Request) -> Response:
        """For browsers: `/?token=...` trades the token for a cookie, once, so that no later address holds it."""
        given = request.query_params["token"].encode("utf8", "replace")
        if not hmac.compare_digest(given, self.token.encode()):
            raise Refusal(401, "serve.token", "token")
        answer = RedirectResponse("./", 303)
        answer.set_cookie(_COOKIE, self._cookie(), httponly=True, samesite="strict", secure=request.scope["scheme"] == "https")
        return answer

    def _knows_token(self, request: Request) -> bool:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        by_header = hmac.compare_digest(given.strip().encode("latin-1"), self.token.encode()) and scheme.lower() == "bearer"
        by_cookie = hmac.compare_digest(request.cookies.get(_COOKIE, "").encode("latin-1", "replace"), self._cookie().encode())
        return by_header or by_cookie

    def _cookie(self) -> str:
        """Proves knowledge of the token without holding it."""
        return hmac.new(self.token.encode(), b"danlu page", hashlib.sha256).hexdigest()


def _name(host: str) -> str:
    """The Host header without its port, lower case; an empty string for one that is no `name` or `name:port`."""
    host = host.lower()
    name, colon, port = host.rpartition(":")
    if not colon or host.endswith("]"):
        return host
    return name if port.isascii() and port.isdigit() else ""


def _same_origin(request: Request) -> bool:
    """Programs send neither header; a browser always says where a request comes from, and only our own page may write."""
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return False
    origin = request.headers.get("origin")
    if origin is None:
        return True
    scheme, _, host = origin.lower().partition("://")
    return scheme in ("http", "https") and host == request.headers.get("host", "").lower()
