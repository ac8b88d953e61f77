from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from danlu.cli.options import Json, Lang, Overrides, emit, speak
from danlu.core.kernels import keep_for
from danlu.core.words import say

if TYPE_CHECKING:
    from danlu.train.plan import Formula, Plan


def plan(
    recipe: Annotated[str, typer.Argument(help=say("cli.option-recipe"), metavar="RECIPE")],
    overrides: Overrides = [],  # noqa: B006
    json: Json = False,
    lang: Lang = "",
) -> None:
    from danlu import api

    speak(lang)
    keep_for(api.recipe_of(recipe, overrides))
    found = api.plan(recipe, *overrides, hear=tell_formula)
    if json:
        emit(found.as_json())
    tell(found)


def tell_formula(formula: Formula) -> None:
    """What is known before a step is taken."""
    from danlu.train.progress import line, size

    line(say("plan.parameters", total=f"{formula.parameters:,}", trained=f"{formula.trainable:,}"))
    line(say("plan.formula", least=size(formula.least), disk=size(formula.disk)))


def tell(found: Plan) -> None:
    """What was measured, and what to change where it does not fit."""
    from danlu.train.progress import duration, line, size

    peaks = found.peak_memory_bytes
    line(say("plan.measured", train=size(peaks["train"]), evaluate=size(peaks["evaluate"]), available=size(found.available_bytes)))
    line(say("plan.time", seconds=f"{found.seconds_per_epoch:.1f}", duration=duration(found.seconds_per_epoch), disk=size(found.disk_bytes)))
    line(say("plan.fits" if found.fits else "plan.does-not-fit", batch=found.batch, largest=found.largest_batch))
