"""The verbs as Python functions: what the command line, a notebook and other programs call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from danlu.core.recipe import Recipe
from danlu.core.recipe_file import load_recipe, make_recipe
from danlu.core.words import say

if TYPE_CHECKING:
    from collections.abc import Callable

    from danlu.bundle.predictor import Predictor
    from danlu.data.contract import Contract
    from danlu.train.plan import Formula, Plan
    from danlu.train.prove import Proof
    from danlu.train.run import Run

RecipeLike = str | Path | Mapping[str, Any] | Recipe


def recipe_of(recipe: RecipeLike, overrides: tuple[str, ...] | list[str] = ()) -> Recipe:
    """A recipe from a file, a mapping or itself, with `key.path=value` overrides."""
    if isinstance(recipe, Recipe):
        return make_recipe(recipe.model_dump(), overrides) if overrides else recipe
    if isinstance(recipe, Mapping):
        return make_recipe(recipe, overrides)
    return load_recipe(recipe, overrides)


def check(recipe: RecipeLike, *overrides: str) -> Contract:
    """What training would keep, cut and drop of every row, before any model is built. InputError where nothing can be learned."""
    from danlu.train.prepare import check as run_check

    return run_check(recipe_of(recipe, overrides))


def plan(recipe: RecipeLike, *overrides: str, hear: Callable[[Formula], None] = lambda formula: None) -> Plan:
    """Memory, time and disk that training would take: by formula, which `hear` gets at once, then measured on a few real steps."""
    from danlu.train.plan import plan as run_plan

    return run_plan(recipe_of(recipe, overrides), hear)


def train(
    recipe: RecipeLike,
    *overrides: str,
    out: str | Path | None = None,
    name: str = "",
    progress: bool = True,
    lang: str | None = None,
    profile: bool = False,
) -> Run:
    """Trains, judges, and writes bundle and report into a new run folder: `out`, or the next free `runs/NAME-N`.

    `name` is the recipe's file name or task where left out; `lang` is the report's language. `profile` also writes
    `profile/` into it: a trace, and a page that says where the time goes.
    """
    checked = recipe_of(recipe, overrides)
    name = name or (Path(recipe).stem if isinstance(recipe, (str, Path)) else checked.task_name)
    with _shown(progress) as listen:
        from danlu.train.train import train as run_train

        return run_train(checked, out, name, listen, lang, profile)


def resume(run: str | Path, progress: bool = True, lang: str | None = None, profile: bool = False) -> Run:
    """Continues a run that was stopped or killed, to the same bits; a finished run is returned as it is."""
    with _shown(progress) as listen:
        from danlu.train.train import resume as run_resume

        return run_resume(run, listen, lang, profile)


def find_lr(
    recipe: RecipeLike, *overrides: str, out: str | Path | None = None, progress: bool = True, lang: str | None = None
) -> dict[str, Any]:
    """The learning-rate range test: `suggestion` (None where no rate helps), `minimum` (the rate of the lowest loss), `points`, `page` (a file)."""
    from danlu.core.files import write_atomic
    from danlu.evaluate.page.rates import page
    from danlu.train.find_lr import STEPS, conclude, measure
    from danlu.train.progress import line

    points = []
    for point in measure(recipe_of(recipe, overrides)):
        points.append(point)
        if progress and len(points) % 25 == 0:
            line(say("cli.trying-rates", step=len(points), steps=STEPS, lr=f"{point.lr:.1e}", loss=f"{point.smoothed:.4f}"))
    found = conclude(points).as_json()
    file = Path(out or f"{Path(recipe).stem if isinstance(recipe, (str, Path)) else recipe_of(recipe).task_name}-rates.html")
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(file, page(found, lang))
    return {**found, "page": str(file)}


def prove(recipe: RecipeLike | None = None, *overrides: str) -> Iterator[Proof]:
    """Shows on this machine that every shortcut of training equals the plain way: on a few rows of the recipe's data, or on small texts."""
    from danlu.train.prove import prove as run_prove

    yield from run_prove(None if recipe is None else recipe_of(recipe, overrides))


def load(path: str | Path, device: str = "auto") -> Predictor:
    """A bundle or run folder as something that answers: `load("runs/x").predict(["..."])`."""
    from danlu.bundle.predictor import Predictor

    return Predictor(path, device)


def evaluate(
    bundle: str | Path, data: str | Path, lang: str | None = None, out: str | Path | None = None, **columns: str
) -> dict[str, Any]:
    """Scores a bundle on labelled data: the test part of `data` where it has one, else all of it. Writes a report folder where `out` is given."""
    from danlu.train.evaluate import evaluate as run_evaluate

    return run_evaluate(bundle, data, columns, lang=lang, out=out)


def serve(bundle: str | Path, **settings: Any) -> int:
    """Serves a bundle over HTTP until it is told to stop; the exit code."""
    from danlu.serve.run import run

    return run(bundle, **settings)


def _shown(progress: bool) -> Any:
    from danlu.train.launch import place
    from danlu.train.progress import shown

    return shown(progress and place().rank == 0)
