"""Every task keeps the contract: register it and it is tested."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from starlette.testclient import TestClient

import danlu
from danlu.bundle.predictor import Predictor
from danlu.core.recipe import Model
from danlu.data.contract import account
from danlu.data.dataset import Dataset
from danlu.serve.app import make_app
from danlu.tasks.table import build_task, task_class


@pytest.fixture(scope="module", params=tiny.ALL)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Any]:
    """A run of the task on its own tiny rows, with all its own defaults."""
    folder = tmp_path_factory.mktemp(request.param)
    recipe = tiny.recipe(request.param, tiny.write(request.param, folder))
    del recipe["train"]["epochs"]
    return request.param, danlu.train(recipe, out=folder / "run", progress=False)


def fitted(name: str, rows: list, sides: list[str] | None = None) -> tuple[Any, Dataset]:
    cls = task_class(name)
    dataset = Dataset.of(rows, cls.inputs, cls.target, sides=sides)
    task = build_task(name, {}, Model(architecture=cls.architecture))
    task.fit(dataset.rows(dataset.indices("train")))
    return task, dataset


def test_learns_its_tiny_rows(trained: tuple[str, Any]) -> None:
    _, run = trained
    accuracy = run.metrics["test"]["accuracy"]
    assert accuracy["value"] >= 0.9
    assert accuracy["low"] <= accuracy["value"] <= accuracy["high"]
    assert run.report["baselines"]["majority"]["accuracy"]["value"] < accuracy["value"]


def test_saved_and_loaded_predicts_the_same(trained: tuple[str, Any]) -> None:
    name, run = trained
    rows = tiny.rows(name)[:6]
    first, second = Predictor(run.bundle), Predictor(run.bundle)
    assert [p.scores for p in first.predict(rows)] == [p.scores for p in second.predict(rows)]


def test_a_batch_of_one_equals_a_batch_of_many(trained: tuple[str, Any]) -> None:
    name, run = trained
    predictor, rows = Predictor(run.bundle), tiny.rows(name)[:16]
    together = predictor.predict(rows)
    for row, expected in zip(rows, together, strict=True):
        (alone,) = predictor.predict([row])
        assert alone.label == expected.label
        np.testing.assert_allclose(list(alone.scores.values()), list(expected.scores.values()), atol=1e-5)


def test_the_report_is_what_the_bundle_answers(trained: tuple[str, Any]) -> None:
    """Evaluating the bundle anew on the run's own test rows gives the accuracy that the report shows."""
    _, run = trained
    from danlu.train.prepare import prepare

    prepared = prepare(run.recipe)
    predictor = Predictor(run.bundle)
    rows = [prepared.dataset.row(int(i)) for i in prepared.sides["test"].rows]
    said = [
        prediction.label for prediction in predictor.predict([{k: v for k, v in row.items() if k in predictor.task.inputs} for row in rows])
    ]
    accuracy = float(np.mean([label == row["label"] for label, row in zip(said, rows, strict=True)]))
    assert accuracy == pytest.approx(run.metrics["test"]["accuracy"]["value"])


def test_rest_equals_python(trained: tuple[str, Any]) -> None:
    name, run = trained
    predictor = Predictor(run.bundle)
    kind = next(iter(predictor.task.inputs.values()))
    if kind == "text":
        values: list[Any] = [row["text"] for row in tiny.rows(name)[:4]]
        send = lambda client, value: client.post("/predict", json={"text": value})  # noqa: E731
    else:
        values = [path.read_bytes() for path in sorted(Path(run.recipe.data.path).rglob("*.*"))[:4]]
        send = lambda client, value: client.post("/predict", files={kind: ("x", value)})  # noqa: E731
    with TestClient(make_app(predictor), base_url="http://127.0.0.1") as client:
        deadline = time.monotonic() + 60
        while client.get("/health/ready").status_code != 200:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        for value in values:
            answer = send(client, value)
            assert answer.status_code == 200, answer.text
            body = answer.json()[0] if isinstance(answer.json(), list) else answer.json()
            (expected,) = predictor.predict([value])
            assert body["label"] == expected.label
            assert body["scores"] == pytest.approx(expected.scores, abs=1e-5)


@pytest.mark.parametrize("name", tiny.ALL)
def test_fit_sees_training_rows_only(name: str) -> None:
    """Whatever stands in the other rows, what the task learned is the same."""
    rows = tiny.rows(name)
    half = len(rows) // 2
    sides = ["train"] * half + ["test"] * (len(rows) - half)
    other = [*rows[:half], *(rows[0] for _ in rows[half:])]
    assert fitted(name, rows, sides)[0].state() == fitted(name, other, sides)[0].state()


@pytest.mark.parametrize("name", tiny.ALL)
def test_state_is_json_and_restores(name: str) -> None:
    task, dataset = fitted(name, tiny.rows(name))
    again = build_task(name, {}, Model(architecture=task_class(name).architecture))
    again.restore(json.loads(json.dumps(task.state())))
    row = dataset.row(0)
    for key, value in task.encode(row).items():
        np.testing.assert_array_equal(again.encode(row)[key], value)


@pytest.mark.parametrize("name", tiny.ALL)
def test_encoding_many_is_encoding_each(name: str) -> None:
    task, dataset = fitted(name, tiny.rows(name))
    rows = [dataset.row(i) for i in range(8)]
    for one, other in zip(task.encode_many(rows), map(task.encode, rows), strict=True):
        assert one.keys() == other.keys()
        for key in one:
            np.testing.assert_array_equal(one[key], other[key])


@pytest.mark.parametrize("name", tiny.ALL)
def test_augmenting_depends_on_row_and_epoch_alone(name: str) -> None:
    import torch

    from danlu.bundle.predictor import to_device

    task, dataset = fitted(name, tiny.rows(name))
    examples = [task.encode(dataset.row(i)) for i in range(8)]

    def augmented(which: list[int], epoch: int) -> dict[str, torch.Tensor]:
        batch = to_device(task.collate([examples[i] for i in which]), torch.device("cpu"))
        batch["row"] = torch.tensor(which)
        return task.augment(batch, 3, epoch)

    many, again, later = augmented(list(range(8)), 1), augmented(list(range(8)), 1), augmented(list(range(8)), 2)
    assert many.keys() == again.keys()
    assert all(torch.equal(many[key], again[key]) for key in many if isinstance(many[key], torch.Tensor))
    field = next(iter(task.inputs))
    if field in many:
        alone = augmented([5], 1)
        torch.testing.assert_close(alone[field][0].float(), many[field][5].float(), atol=1e-3, rtol=1e-4)
        assert not torch.equal(many[field], later[field])


@pytest.mark.parametrize("name", tiny.ALL)
def test_every_row_is_accounted_for(name: str) -> None:
    rows = [*tiny.rows(name), {**tiny.rows(name)[0], "label": None}]
    task, dataset = fitted(name, rows)
    contract, sides = account(dataset, task)
    assert sum(len(side.rows) for side in sides.values()) == len(rows) - 1
    json.dumps(contract.as_json(), allow_nan=False)
    assert contract.lines("en")
    assert contract.lines("zh")
