from __future__ import annotations

from typing import Annotated

import typer

from danlu.cli.options import Json, Lang, emit, speak
from danlu.core.words import say


def report(
    run: Annotated[str, typer.Argument(help=say("cli.option-run"), metavar="RUN")],
    json: Json = False,
    lang: Lang = "",
) -> None:
    from danlu.cli.summary import tell
    from danlu.evaluate.report import write
    from danlu.train.progress import line
    from danlu.train.run import Run

    said, found = speak(lang), Run(run)
    if said:
        write(found.path, found.report, said)
        line(say("cli.report-at", path=found.path / "report.html"))
    if json:
        emit(found.report)
    else:
        tell(found)
