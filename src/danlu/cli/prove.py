from __future__ import annotations

from typing import Annotated

import typer

from danlu.cli.options import Json, Lang, Overrides, emit, speak
from danlu.core.words import say


def prove(
    recipe: Annotated[str, typer.Argument(help=say("cli.option-recipe"), metavar="[RECIPE]")] = "",
    overrides: Overrides = [],  # noqa: B006
    json: Json = False,
    lang: Lang = "",
) -> int:
    from danlu import api
    from danlu.train.progress import line

    speak(lang)
    proofs = []
    line(say("prove.begin"))
    for proof in api.prove(recipe or None, *overrides):
        proofs.append(proof)
        measured = say("prove.unequal") if proof.difference is None else f"{proof.difference:.1e}"
        text = say(
            f"prove.{'holds' if proof.passed else 'fails'}",
            what=say(f"prove.{proof.name}"),
            difference=measured,
            bound=f"{proof.bound:.0e}",
        )
        line(text + (f" {say('prove.stood-in')}" if proof.stood_in else ""))
    failed = [proof for proof in proofs if not proof.passed]
    line(say("prove.failed", n=len(failed)) if failed else say("prove.all", n=len(proofs)))
    if json:
        emit({"proofs": [proof.as_json() for proof in proofs]})
    return 1 if failed else 0
