from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from danlu.cli.options import Json, Lang, emit, speak
from danlu.core.words import say


def new(
    task: Annotated[str, typer.Argument(help=say("cli.option-task"), metavar="TASK")],
    data: Annotated[str, typer.Option("--data", help=say("cli.option-data"), metavar="PATH")],
    test: Annotated[str, typer.Option("--test", help=say("cli.option-test"), metavar="PATH")] = "",
    out: Annotated[str, typer.Option("--out", help=say("cli.option-recipe-out"), metavar="FILE")] = "recipe.yaml",
    force: Annotated[bool, typer.Option("--force", help=say("cli.option-force"))] = False,
    json: Json = False,
    lang: Lang = "",
) -> None:
    from danlu.core.errors import InputError
    from danlu.core.files import disk_errors, write_atomic
    from danlu.data.draft import draft
    from danlu.tasks.table import task_class
    from danlu.train.progress import line

    speak(lang)
    cls = task_class(task)
    if Path(out).exists() and not force:
        raise InputError("cli.file-exists", out, path=out)
    text = draft(task, data, test or None, inputs=cls.inputs, target=cls.target, out=out)
    with disk_errors(Path(out)):
        Path(out).resolve().parent.mkdir(parents=True, exist_ok=True)
    write_atomic(Path(out), text)
    if json:
        emit({"recipe": out})
    line(say("cli.recipe-written", path=out))
