"""The page of `train --profile`: where the time went, in words, bars and tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from danlu.core.words import language
from danlu.evaluate.page import charts
from danlu.evaluate.page.render import document, words

_RUN = ("setup", "encode", "steps", "evaluate", "save")
_GIGA = 1e9
_BUSY = 0.5  # share of validation in the time after the start beyond which the page says so


def page(numbers: Mapping[str, Any], lang: str | None = None) -> str:
    """One HTML document from the numbers of `profile.json`."""
    lang = lang or language()
    word = words("profile", lang)
    whole = sum(numbers["parts"].values())
    parts = [
        {"key": name, "name": word(f"part-{name}"), "note": word(f"note-{name}"), "share": seconds / whole, "ms": _ms(seconds)}
        for name, seconds in sorted(numbers["parts"].items(), key=lambda item: -item[1])
    ]
    run = [{"name": word(f"run-{name}"), "note": word(f"run-note-{name}"), "seconds": f"{numbers['run'][name]:.2f}"} for name in _RUN]
    first, second = parts[:2]
    return document(
        "profile.html",
        word,
        lang,
        numbers=numbers,
        headline=word("headline", percent=f"{first['share']:.0%}", part=first["name"]),
        verdict=word(
            "verdict",
            ms=_ms(whole),
            part=first["name"],
            percent=f"{first['share']:.0%}",
            next=second["name"],
            rest=f"{second['share']:.0%}",
        ),
        advice=[word(f"advice-{first['key']}"), *_about_evaluation(numbers, word)],
        figure=f"{first['share']:.0%}",
        parts=parts,
        run=run,
        arithmetic=_arithmetic(numbers, word),
        operators=[{**one, "ms": f"{one['ms']:.2f}", "calls": f"{one['calls']:g}"} for one in numbers["operators"]],
        bar=charts.interval_bar,
    )


def _about_evaluation(numbers: Mapping[str, Any], word: Callable[..., str]) -> list[str]:
    run = numbers["run"]
    share = run["evaluate"] / max(1e-9, run["evaluate"] + run["steps"])
    return [word("advice-evaluate", percent=f"{share:.0%}")] if share > _BUSY else []


def _arithmetic(numbers: Mapping[str, Any], word: Callable[..., str]) -> str:
    useful, peak = numbers["useful_flops_per_second"], numbers["peak_flops_per_second"]
    values = {"useful": f"{useful / _GIGA:,.3g}", "peak": f"{peak / _GIGA:,.3g}", "percent": f"{useful / peak:.1%}"}
    return word("arithmetic-said", precision=numbers["precision"], **values)


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:,.0f}" if seconds >= 0.1 else f"{1000 * seconds:.3g}"
