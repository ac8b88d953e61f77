from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from danlu.cli.options import Json, Lang, Out, emit, speak
from danlu.core.words import say


def quickstart(
    digits: Annotated[str, typer.Option("--digits", help=say("cli.option-digits"), metavar="DIR")] = "digits",
    out: Out = "",
    json: Json = False,
    lang: Lang = "",
) -> None:
    from danlu import api
    from danlu.cli.summary import tell
    from danlu.data.digits import write_digits
    from danlu.train.progress import line

    said = speak(lang)
    count, unseen = write_digits(Path(digits))
    line(say("cli.quickstart-data", n=count, path=digits))
    recipe = {"task": "image-classification", "data": {"path": digits, "split": {"validation": 0.1, "test": 0.2}}}
    run = api.train(recipe, out=out or None, name="quickstart", lang=said)
    picture = sorted(unseen.glob("*.png"))[0]
    answer = api.load(run.path).predict([picture])[0]
    if json:
        emit(run.summary())
    tell(run)
    line("")
    line(say("cli.quickstart-prediction", path=picture, label=answer.label, score=f"{answer.score:.3f}", truth=picture.stem.split("-")[0]))
    line("")
    line(say("cli.next"))
    line(f"  danlu predict {run.path} {picture}")
    line(f"  danlu serve {run.path}")
    line("  danlu new text-classification --data YOUR.csv")
