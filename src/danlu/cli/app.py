"""All verbs, one file each. Nothing heavy is imported until a verb is called."""

from __future__ import annotations

import typer

from danlu.cli import check, evaluate, models, new, plan, predict, prove, quickstart, recipe, report, serve, train
from danlu.core.words import say

app = typer.Typer(
    help=say("cli.about"),
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    options_metavar="[--...]",
)
app.command("quickstart", help=say("cli.quickstart"))(quickstart.quickstart)
app.command("new", help=say("cli.new"))(new.new)
app.command("check", help=say("cli.check"))(check.check)
app.command("plan", help=say("cli.plan"))(plan.plan)
app.command("train", help=say("cli.train"))(train.train)
app.command("prove", help=say("cli.prove"))(prove.prove)
app.command("evaluate", help=say("cli.evaluate"))(evaluate.evaluate)
app.command("predict", help=say("cli.predict"))(predict.predict)
app.command("serve", help=say("cli.serve"))(serve.serve)
app.command("report", help=say("cli.report"))(report.report)
app.command("models", help=say("cli.models"))(models.models)
app.add_typer(recipe.app, name="recipe", help=say("cli.recipe"))


@app.callback(invoke_without_command=True)
def root(version: bool = typer.Option(False, "--version", help=say("cli.version"))) -> None:
    if version:
        import danlu

        print(f"danlu {danlu.__version__}")
        raise typer.Exit
