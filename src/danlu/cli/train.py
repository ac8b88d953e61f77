from __future__ import annotations

from typing import Annotated

import typer

from danlu.cli.options import Json, Lang, Out, Overrides, emit, speak
from danlu.core.errors import InputError
from danlu.core.words import say


def train(
    recipe: Annotated[str, typer.Argument(help=say("cli.option-recipe"), metavar="RECIPE")] = "",
    overrides: Overrides = [],  # noqa: B006
    out: Out = "",
    resume: Annotated[str, typer.Option("--resume", help=say("cli.option-resume"), metavar="RUN")] = "",
    json: Json = False,
    lang: Lang = "",
) -> None:
    from danlu import api
    from danlu.cli.summary import tell
    from danlu.train.progress import line

    said = speak(lang)
    if resume:
        if recipe or overrides or out:
            raise InputError("cli.resume-alone", resume)
        from danlu.train.run import Run

        already = Run(resume).finished
        run = api.resume(resume, lang=said)
        if already:
            line(say("cli.already-finished", path=run.path))
    elif recipe:
        run = api.train(recipe, *overrides, out=out or None, lang=said)
    else:
        raise InputError("cli.missing", "danlu train", name="RECIPE", usage="danlu train")
    if json:
        emit(run.summary())
    tell(run)
