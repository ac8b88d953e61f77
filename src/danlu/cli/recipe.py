from __future__ import annotations

from typing import Annotated

import typer

from danlu.cli.options import Json, Lang, Overrides, emit, speak
from danlu.core.words import say

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@app.command("schema", help=say("cli.recipe-schema"))
def schema(lang: Lang = "") -> None:
    from danlu.core.schema import recipe_schema

    speak(lang)
    emit(recipe_schema())


@app.command("validate", help=say("cli.recipe-validate"))
def validate(
    recipe: Annotated[str, typer.Argument(help=say("cli.option-recipe"), metavar="RECIPE")],
    overrides: Overrides = [],  # noqa: B006
    json: Json = False,
    lang: Lang = "",
) -> None:
    from danlu import api
    from danlu.tasks.table import task_class
    from danlu.train.prepare import draft_task
    from danlu.train.progress import line

    speak(lang)
    checked = api.recipe_of(recipe, overrides)
    draft_task(checked, task_class(checked.task_name))
    if json:
        emit({"valid": True, "recipe": checked.model_dump(mode="json")})
    line(say("cli.recipe-valid", path=recipe))
