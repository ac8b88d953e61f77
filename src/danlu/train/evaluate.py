"""`evaluate`: a bundle on labelled data that somebody brings, with the looks at it counted in the run it came from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from danlu.bundle.predictor import Predictor
from danlu.core.errors import InputError
from danlu.core.files import disk_errors
from danlu.core.recipe import Data, Split
from danlu.data.contract import account
from danlu.data.dataset import Dataset, open_dataset
from danlu.evaluate import report as report_page
from danlu.evaluate.judge import judge
from danlu.train.machine import machine
from danlu.train.run import Run


def evaluate(
    bundle: str | Path, data: str | Path, columns: Mapping[str, Any], lang: str | None = None, out: str | Path | None = None
) -> dict[str, Any]:
    """The content of report.json for the test part of `data` where it has one, else for all its rows. `out` gets the report's two files.

    Columns are those named, else those that the bundle was trained on, else guessed.
    """
    predictor = Predictor(bundle)
    dataset = _open(predictor, data, columns)
    contract, sides = account(dataset, predictor.task)
    side = sides["test"]
    if not len(side.rows):
        raise InputError("train.nothing-to-evaluate", data, path=data)
    run = Run(predictor.path.parent)
    looks = run.look(str(data)) if (run.path / "recipe.yaml").is_file() else None
    facts = {
        "contract": contract,
        "machine": machine(predictor.device, 0),
        "model": {"architecture": predictor.about["architecture"], "parameters": predictor.about["parameters"]},
        "looks": looks,
    }
    found = judge(dataset, predictor.task, {"test": side}, {"test": predictor.task.probabilities(predictor.outputs(side.examples))}, facts)
    if out is not None:
        with disk_errors(Path(out)):
            Path(out).mkdir(parents=True, exist_ok=True)
        report_page.write(Path(out), found, lang)
    return found


def _open(predictor: Predictor, data: str | Path, columns: Mapping[str, Any]) -> Dataset:
    """Labelled rows, all on the test side."""
    task, whole = predictor.task, Split(validation=0.0, test=0.0)

    def opened(names: Mapping[str, Any]) -> Dataset:
        return open_dataset(Data(path=str(data), columns=dict(names), split=whole), task.inputs, task.target, 0)

    try:
        dataset = opened(columns or predictor.about.get("columns", {}))
    except InputError as error:
        if columns or not error.code.startswith("data.no-such-column"):
            raise
        dataset = opened({})
    if not len(dataset.indices("test")):
        dataset.sides[:] = "test"
        if dataset.fingerprint == predictor.about.get("data"):
            dataset.notes.append({"key": "train.note-own-data"})
    return dataset
