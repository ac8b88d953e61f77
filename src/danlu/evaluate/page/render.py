"""`report.html` from a report: one page with its style sheet inside, no script, and a policy that lets nothing else in."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
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
    """The report as one HTML document. Everything of the user's is escaped, and the content policy forbids scripts and the network."""
    lang = lang or language()
    word = partial(_word, lang)
    style = "".join((_FOLDER / name).read_text(encoding="utf8") for name in ("style.css", "charts.css"))
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    environment = Environment(
        loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    numbers = Numbers(report, word)
    return environment.get_template("page.html").render(
        report=report,
        lang={"zh": "zh-Hans"}.get(lang, lang),
        t=word,
        numbers=numbers,
        bar=charts.interval_bar,
        style=Markup(style),  # our own file, hashed in the policy
        policy=f"default-src 'none'; img-src data:; media-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'",
        **views.view(report, word, numbers, lang),
    )


def _word(lang: str, key: str, /, **values: object) -> str:
    return say(f"report.{key}", lang, **values)
