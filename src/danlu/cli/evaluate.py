from __future__ import annotations

from typing import Annotated

import typer

from danlu.cli.options import Json, Lang, Out, emit, speak
from danlu.core.words import say


def evaluate(
    bundle: Annotated[str, typer.Argument(help=say("cli.option-bundle"), metavar="BUNDLE")],
    data: Annotated[str, typer.Option("--data", help=say("cli.option-labelled"), metavar="PATH")],
    out: Out = "",
    json: Json = False,
    lang: Lang = "",
) -> None:
    from danlu import api
    from danlu.cli.summary import table
    from danlu.train.progress import line

    report = api.evaluate(bundle, data, lang=speak(lang), out=out or None)
    if json:
        emit({"bundle": bundle, "metrics": {"test": report["metrics"]["test"]}, "baselines": report["baselines"]})
    line(say("cli.score-test", n=report["metrics"]["test"]["accuracy"]["n"]))
    table(report["metrics"]["test"], report["baselines"])
    for note in report["contract"]["notes"]:
        line(f"  {say(note['key'], **{name: value for name, value in note.items() if name != 'key'})}")
    if out:
        line(say("cli.report-at", path=f"{out}/report.html"))
