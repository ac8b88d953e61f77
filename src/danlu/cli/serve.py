from __future__ import annotations

from typing import Annotated

import typer

from danlu.cli.options import Lang, speak
from danlu.core.words import say


def serve(
    bundle: Annotated[str, typer.Argument(help=say("cli.option-bundle"), metavar="BUNDLE")],
    host: Annotated[str, typer.Option("--host", help=say("cli.option-host"))] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help=say("cli.option-port"), min=0, max=65535)] = 8000,
    token: Annotated[str, typer.Option("--token", help=say("cli.option-token"), envvar="DANLU_TOKEN")] = "",
    queue: Annotated[int, typer.Option("--queue", help=say("cli.option-queue"), min=1)] = 64,
    lang: Lang = "",
) -> int:
    from danlu import api

    speak(lang)
    return api.serve(bundle, host=host, port=port, token=token or None, queue=queue)
