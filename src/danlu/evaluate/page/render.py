"""Pages from templates, `report.html` first of all: one file with its style sheet inside, no script, and a policy that lets nothing else in."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from danlu.core.words import language, say
from danlu.evaluate.page import charts, views
from danlu.evaluate.page.numbers import Numbers

_FOLDER = Path(__file__).parent


def page(report: Mapping[str, Any], lang: str | None = None) -> str:
    """The report as one HTML document."""
    lang = lang or language()
    word = words("report", lang)
    numbers = Numbers(report, word)
    return document("page.html", word, lang, report=report, numbers=numbers, bar=charts.interval_bar, **views.view(report, word, numbers, lang))


def words(room: str, lang: str) -> Callable[..., str]:
    """The sentences of a room of `core/words/` in one language."""
    return partial(_word, room, lang)


def document(template: str, word: Callable[..., str], lang: str, **values: Any) -> str:
    """A template in the house's frame. Everything of the user's is escaped, and the content policy forbids scripts and the network."""
    style = "".join((_FOLDER / name).read_text(encoding="utf8") for name in ("style.css", "charts.css"))
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    environment = Environment(
        loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(template).render(
        lang={"zh": "zh-Hans"}.get(lang, lang),
        t=word,
        style=Markup(style),  # our own file, hashed in the policy
        policy=f"default-src 'none'; img-src data:; media-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'",
        **values,
    )


def _word(room: str, lang: str, key: str, /, **values: object) -> str:
    return say(f"{room}.{key}", lang, **values)
