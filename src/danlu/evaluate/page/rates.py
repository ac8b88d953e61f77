"""The page of `train --find-lr`: the loss over the learning rate, and what it suggests."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from danlu.core.words import language
from danlu.evaluate.page.charts import Frame, Line, around, chart
from danlu.evaluate.page.render import document, words


def page(found: Mapping[str, Any], lang: str | None = None) -> str:
    """One HTML document from what the test found, as JSON."""
    lang = lang or language()
    word = words("rates", lang)
    points = found["points"]
    across = [math.log10(point["lr"]) for point in points]
    top = 2 * max(points[0]["smoothed"], *(point["smoothed"] for point in points[:20]))
    down = {name: [min(point[name], top) for point in points] for name in ("loss", "smoothed")}
    frame = Frame((across[0], across[-1]), around(down["loss"] + down["smoothed"], floor=0.0), word("lr"), word("loss"), _power)
    drawn = {name: list(zip(across, down[name], strict=True)) for name in down}
    lines = [Line(drawn["loss"], word("loss")), Line(drawn["smoothed"], word("smoothed"), "accent")]
    suggestion = found["suggestion"]
    return document(
        "rates.html",
        word,
        lang,
        figure=f"{suggestion:g}" if suggestion else "–",
        verdict=word("verdict", suggestion=f"{suggestion:g}") if suggestion else word("verdict-none"),
        lowest=word("lowest", lr=f"{found['minimum']:g}") if suggestion else "",
        drawn=chart(frame, lines, word("heading"), mark=math.log10(suggestion) if suggestion else None),
    )


def _power(value: float) -> str:
    return f"1e{value:.0f}" if abs(value - round(value)) < 1e-9 else ""
