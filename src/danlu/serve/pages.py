"""The two pages for people: try it, and the interface's documentation. Everything they load comes from this server."""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from danlu.core.words import language, say
from danlu.serve.answers import spoken
from danlu.serve.limits import Limits
from danlu.serve.schema import curl

_FOLDER = Path(__file__).parent / "static"
_SAID = ("asking", "recording", "no-microphone", "unreachable", "rows", "wrong-kind", "too-large")  # by the scripts

_KINDS = ("text", "image", "audio")


class Pages:
    """Renders templates in the reader's language; `files` are the scripts and styles by name, read once."""

    def __init__(self, about: Mapping[str, Any], limits: Limits) -> None:
        from jinja2 import Environment, FileSystemLoader

        self._about, self._limits = about, limits
        self._templates = Environment(loader=FileSystemLoader(_FOLDER), autoescape=True)
        self.files = {path.name: path.read_bytes() for path in sorted(_FOLDER.iterdir()) if path.suffix in (".js", ".css")}

    async def try_it(self, request: Request) -> Response:
        return self._page("try.html", request)

    async def docs(self, request: Request) -> Response:
        return self._page("docs.html", request)

    async def static(self, request: Request) -> Response:
        name = request.scope["path"].rpartition("/")[2]
        return Response(self.files[name], media_type=mimetypes.guess_type(name)[0])

    def _page(self, name: str, request: Request) -> Response:
        lang = spoken(request) or language()
        page = self._templates.get_template(name).render(
            lang=lang,
            about=self._about,
            name=self._name(lang),
            accuracy=_accuracy(self._about),
            curl=curl(self._about["inputs"], str(request.base_url)),
            max_body=self._limits.body(self._about["inputs"]),
            say=lambda key, **values: say(f"serve.page-{key}", lang, **values),
            said={name: say(f"serve.page-{name}", lang, n="{n}") for name in _SAID},  # the scripts fill in n
        )
        return Response(page, media_type="text/html")

    def _name(self, lang: str) -> str:
        """The task in the reader's words, where it is one of the house's."""
        kind = self._about["task"].removesuffix("-classification")
        return say(f"serve.page-name-{kind}", lang) if kind in _KINDS else self._about["task"]


def _accuracy(about: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The accuracy on the test side, else on the validation side, with its interval; None where the bundle has none."""
    metrics = about.get("metrics") or {}
    for side in ("test", "validation"):
        found = (metrics.get(side) or {}).get("accuracy")
        if found:
            return {**found, "side": side}
    return None
