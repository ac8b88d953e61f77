"""A loss or gradient that is no number: never silent, its rows kept, and what follows is the recipe's choice, the same after every resume."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from faults.test_kill import Crash, crash_after, digest

import danlu
from danlu.core.errors import InputError
from danlu.tasks.image_classification import ImageClassification
from danlu.train import checkpoint
from danlu.train.run import Run
from danlu.train.train import resume, train

TASK = "image-classification"


class Poison:
    """Pictures of some rows, from some epoch on, reach the model as NaN."""

    def __init__(self, rows: set[int], epoch: int) -> None:
        self.rows, self.epoch, self.seen = rows, epoch, []

    def into(self, monkeypatch: pytest.MonkeyPatch) -> Poison:
        augment, poison = ImageClassification.augment, self

        def poisoned(task: Any, batch: dict[str, Any], seed: int, epoch: int) -> dict[str, Any]:
            poison.seen += batch["row"].tolist()
            batch = augment(task, batch, seed, epoch)
            if epoch >= poison.epoch:
                bad = torch.isin(batch["row"], torch.tensor(sorted(poison.rows) or [-1]))
                name = next(name for name, value in batch.items() if torch.is_floating_point(value))
                batch[name] = torch.where(bad.view(-1, *[1] * (batch[name].ndim - 1)), torch.nan, batch[name].float())
            return batch

        monkeypatch.setattr(ImageClassification, "augment", poisoned)
        return self


@pytest.fixture
def recipe(tmp_path: Path) -> Any:
    path = tiny.write(TASK, tmp_path)

    def make(policy: str, **more: Any) -> Any:
        return danlu.api.recipe_of(
            tiny.recipe(TASK, path, batch_size=6, save={"every": 3, "unit": "steps"}, listeners=[], non_finite=policy, **more)
        )

    return make


def some_row(recipe: Any) -> int:
    from danlu.train.prepare import prepare

    return int(prepare(recipe).sides["train"].rows[3])


def test_stop_names_the_rows_and_keeps_them(recipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = some_row(recipe("stop"))
    Poison({row}, 1).into(monkeypatch)
    with pytest.raises(InputError) as caught:
        train(recipe("stop"), tmp_path / "run")
    assert caught.value.code == "train.diverged"
    kept = json.loads(next((tmp_path / "run" / "non-finite").iterdir()).read_text())
    assert kept["epoch"] == 1
    assert row in [one["row"] for one in kept["rows"]]
    assert len(kept["rows"]) == 6
    assert all(Path(one["origin"]).suffix == ".png" for one in kept["rows"])
    assert kept["rows"][0]["origin"] in caught.value.sentence()
    assert str(tmp_path / "run" / "non-finite") in caught.value.sentence()


def log(run: Path) -> list[dict[str, Any]]:
    told = [event for event in Run(run).events() if event["event"] in ("Stepped", "Evaluated", "Warned", "Finished")]
    return [{name: value for name, value in event.items() if name != "seconds"} for event in told]


@pytest.mark.parametrize("policy", ["skip", "rollback"])
def test_leaving_steps_out_survives_crashes(policy: str, recipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same weights and the same log, whether or not the run was cut between the checkpoints around the step that was left out."""
    bad = some_row(recipe(policy))
    poison = Poison({bad}, 1).into(monkeypatch)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    whole = train(recipe(policy), "run").path.resolve()
    seen_whole = poison.seen.count(bad)
    told = [event for event in log(whole) if event["event"] == "Warned"]
    assert [event["key"] for event in told] == (["train.skipped"] * 2 if policy == "skip" else ["train.rolled-back"])
    assert seen_whole == (3 if policy == "skip" else 2)  # epoch 0, then every time or once
    state = checkpoint.read(checkpoint.newest(whole / "checkpoints")[0], Run(whole).recipe)[0]
    assert state.skipped == [event["step"] for event in told]
    assert (bad in state.left_out) == (policy == "rollback")
    weights = Run(whole).bundle / "model.safetensors"
    from safetensors.torch import load_file

    assert all(tensor.isfinite().all() for tensor in load_file(weights).values())  # the running means too
    monkeypatch.chdir(tmp_path / "b")
    for number, at in enumerate((3, told[0]["step"], told[0]["step"] + 3)):
        with pytest.raises(Crash):
            train(recipe(policy), "run", listen=[crash_after(at)]) if number == 0 else resume("run", listen=[crash_after(at)])
    resume("run")
    assert digest(Path("run")) == digest(whole)
    assert log(Path("run")) == log(whole)


def test_rolling_back_puts_the_weights_of_the_checkpoint_back(recipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Poison({some_row(recipe("rollback"))}, 1).into(monkeypatch)
    found: list[Any] = []
    back = checkpoint.restore

    def watched(path: Path, tensors: Any, model: Any, optimizer: Any) -> Any:
        given = back(path, tensors, model, optimizer)
        found.append((path.name, all(torch.equal(tensors.model[name], tensor) for name, tensor in model.state_dict().items())))
        return given

    monkeypatch.setattr(checkpoint, "restore", watched)
    run = train(recipe("rollback"), tmp_path / "run")
    told = next(event for event in run.events() if event.get("key") == "train.rolled-back")
    assert found == [(f"step-{told['values']['back']}", True)]
    assert told["values"]["back"] % 3 == 0
    assert told["step"] - 3 <= told["values"]["back"] <= told["step"]


@pytest.mark.parametrize("policy", ["skip", "rollback"])
def test_what_never_ends_is_ended(policy: str, recipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Poison(set(range(10_000)), 1).into(monkeypatch)
    with pytest.raises(InputError) as caught:
        train(recipe(policy, epochs=20), tmp_path / "run")
    assert caught.value.code == "train.diverged"
    assert any(event["event"] == "Warned" for event in Run(tmp_path / "run").events())
