"""Options that several verbs share, and printing for programs."""

from __future__ import annotations

import json as json_module
import os
from typing import Annotated, Any

import typer

from danlu.core.words import say

Json = Annotated[bool, typer.Option("--json", help=say("cli.option-json"))]
Lang = Annotated[str, typer.Option("--lang", help=say("cli.option-lang"), metavar="en|zh")]
Out = Annotated[str, typer.Option("--out", help=say("cli.option-out"), metavar="DIR")]
Overrides = Annotated[list[str], typer.Argument(help=say("cli.option-overrides"), metavar="[KEY.PATH=VALUE]...")]


def emit(value: Any) -> None:
    """One JSON object on stdout."""
    print(json_module.dumps(value, ensure_ascii=False, allow_nan=False), flush=True)


def speak(lang: str) -> str | None:
    """Makes `--lang` the language of everything said from here on; None where it was not given."""
    from danlu.core.errors import InputError
    from danlu.core.words import LANGUAGES

    if lang and lang not in LANGUAGES:
        raise InputError("cli.no-language", lang, name=lang, known=", ".join(LANGUAGES))
    if lang:
        os.environ["DANLU_LANG"] = lang
    return lang or None
