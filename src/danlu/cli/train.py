from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from danlu.cli.options import Json, Lang, Out, Overrides, emit, speak
from danlu.core.errors import InputError
from danlu.core.words import say


def train(
    recipe: Annotated[str, typer.Argument(help=say("cli.option-recipe"), metavar="RECIPE")] = "",
    overrides: Overrides = [],  # noqa: B006
    out: Out = "",
    processes: Annotated[int, typer.Option("--processes", help=say("cli.option-processes"), min=1)] = 1,
    resume: Annotated[str, typer.Option("--resume", help=say("cli.option-resume"), metavar="RUN")] = "",
    profile: Annotated[bool, typer.Option("--profile", help=say("cli.option-profile"))] = False,
    json: Json = False,
    lang: Lang = "",
    *,
    context: typer.Context,
) -> int:
    from danlu import api
    from danlu.cli.summary import tell
    from danlu.train.launch import launch, place
    from danlu.train.progress import line

    said = speak(lang)
    if processes > 1 and place().size > 1:
        raise InputError("cli.processes-twice", "--processes")
    if processes > 1:
        return launch([sys.executable, "-m", "danlu", "train", *_words(context)], processes)
    if resume:
        if recipe or overrides or out:
            raise InputError("cli.resume-alone", resume)
        from danlu.train.run import Run

        already = Run(resume).finished
        run = api.resume(resume, lang=said, profile=profile)
        if already and place().rank == 0:
            line(say("cli.already-finished", path=run.path))
    elif recipe:
        run = api.train(recipe, *overrides, out=out or None, lang=said, profile=profile)
    else:
        raise InputError("cli.missing", "danlu train", name="RECIPE", usage="danlu train")
    if place().rank:  # its part is done: what is still to be taken down must not fail while the first process judges
        sys.stderr.flush()
        os._exit(0)
    if json:
        emit(run.summary())
    tell(run)
    if profile:
        line(say("cli.where-profile", page=run.path / "profile" / "profile.html"))
    return 0


def _words(context: typer.Context) -> list[str]:
    """The arguments and options of this call, but for the number of processes."""
    words: list[str] = []
    for parameter in context.command.params:
        value = context.params.get(parameter.name)
        if parameter.name == "processes" or not value:
            continue
        values = [str(one) for one in (value if isinstance(value, list | tuple) else [value])]
        if parameter.param_type_name == "argument":
            words += values
        else:
            words += [parameter.opts[0], *([] if value is True else values)]
    return words
