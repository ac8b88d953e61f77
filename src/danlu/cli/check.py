from __future__ import annotations

from typing import Annotated

import typer

from danlu.cli.options import Json, Lang, Overrides, emit, speak
from danlu.core.words import say


def check(
    recipe: Annotated[str, typer.Argument(help=say("cli.option-recipe"), metavar="RECIPE")],
    overrides: Overrides = [],  # noqa: B006
    json: Json = False,
    lang: Lang = "",
) -> None:
    from danlu import api
    from danlu.core.words import language

    speak(lang)
    contract = api.check(recipe, *overrides)
    if json:
        emit(contract.as_json())
    else:
        print("\n".join(contract.lines(language())))
