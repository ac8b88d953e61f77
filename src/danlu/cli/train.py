from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from danlu.cli.options import Json, Lang, Out, Overrides, emit, speak
from danlu.core.errors import InputError
from danlu.core.kernels import keep_for
from danlu.core.words import say


def train(
    recipe: Annotated[str, typer.Argument(help=say("cli.option-recipe"), metavar="RECIPE")] = "",
    overrides: Overrides = [],  # noqa: B006
    out: Out = "",
    processes: Annotated[int, typer.Option("--processes", help=say("cli.option-processes"), min=1)] = 1,
    resume: Annotated[str, typer.Option("--resume", help=say("cli.option-resume"), metavar="RUN")] = "",
    profile: Annotated[bool, typer.Option("--profile", help=say("cli.option-profile"))] = False,
    find_lr: Annotated[bool, typer.Option("--find-lr", help=say("cli.option-find-lr"))] = False,
    json: Json = False,
    lang: Lang = "",
) -> int:
    from danlu import api
    from danlu.cli.summary import tell
    from danlu.train.launch import launch, place
    from danlu.train.progress import line

    said = speak(lang)
    if find_lr:
        if resume or profile or processes > 1 or place().size > 1:
            raise InputError("cli.find-lr-alone", "--find-lr")
        return _find_lr(recipe, overrides, out, json, said)
    if processes > 1 and place().size > 1:
        raise InputError("cli.processes-twice", "--processes")
    if processes > 1:
        options = {"--out": out, "--resume": resume, "--profile": profile, "--json": json, "--lang": lang}
        return launch([sys.executable, "-m", "danlu", "train", *filter(None, [recipe]), *overrides, *_words(options)], processes)
    if resume:
        if recipe or overrides or out:
            raise InputError("cli.resume-alone", resume)
        from danlu.train.run import Run

        already = Run(resume).finished
        run = api.resume(resume, lang=said, profile=profile)
        if already and place().rank == 0:
            line(say("cli.already-finished", path=run.path))
    elif recipe:
        keep_for(api.recipe_of(recipe, overrides))
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


def _find_lr(recipe: str, overrides: list[str], out: str, json: bool, lang: str | None) -> int:
    from danlu import api
    from danlu.train.progress import line

    if not recipe:
        raise InputError("cli.missing", "danlu train", name="RECIPE", usage="danlu train --find-lr")
    line(say("cli.preparing"))
    found = api.find_lr(recipe, *overrides, out=out or None, lang=lang)
    if found["suggestion"]:
        line(say("rates.verdict", suggestion=f"{found['suggestion']:g}"))
    else:
        line(say("rates.verdict-none"))
    line(say("cli.where-rates", page=found["page"]))
    if json:
        emit(found)
    return 0


def _words(options: dict[str, str | bool]) -> list[str]:
    """The options that were given, as words of a command."""
    return [word for name, value in options.items() if value for word in ([name] if value is True else [name, str(value)])]
