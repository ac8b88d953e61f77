"""A run that is killed at any instant gives, taken up again, the very weights of a run that was not."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import tiny

import danlu
from danlu.core.errors import InputError
from danlu.train import checkpoint, loop
from danlu.train.run import Run, to_yaml

KILLS = 3


def digest(run: Path) -> str:
    return hashlib.sha256((run / "bundle" / "model.safetensors").read_bytes()).hexdigest()


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "danlu", *map(str, words)]


def recipe_file(task: str, folder: Path) -> Path:
    tree = tiny.recipe(task, tiny.write(task, folder), epochs=4, batch_size=4, save={"every": 1, "unit": "steps"})
    path = folder / "recipe.yaml"
    path.write_text(to_yaml(danlu.api.recipe_of(tree)), encoding="utf8")
    return path


@pytest.mark.parametrize("task", tiny.ALL)
def test_killed_at_random_instants(task: str, tmp_path: Path) -> None:
    recipe = recipe_file(task, tmp_path)
    began = time.monotonic()
    subprocess.run(command("train", recipe, "--out", tmp_path / "whole"), check=True, capture_output=True)
    whole = time.monotonic() - began
    draw, out = random.Random(task), tmp_path / "killed"
    words: list[object] = ["train", recipe, "--out", out]
    kills = 0
    while kills < KILLS:
        process = subprocess.Popen(command(*words), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(whole * draw.uniform(0.3, 0.95))
            break
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
        words = ["train", "--resume", out] if (out / "recipe.yaml").exists() else ["train", recipe, "--out", out]
    done = subprocess.run(
        command(*words if not Run(out).finished else ["train", "--resume", out]), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert kills > 0
    assert digest(out) == digest(tmp_path / "whole")
    assert [e for e in Run(out).events() if e["event"] == "Evaluated"][-1]["metrics"] == [
        e for e in Run(tmp_path / "whole").events() if e["event"] == "Evaluated"
    ][-1]["metrics"]


class Crash(Exception):
    pass


def crash_after(steps: int) -> Any:
    def hear(event: Any) -> None:
        if type(event).__name__ == "Saved" and event.step >= steps:
            raise Crash

    return hear


@pytest.fixture
def text_recipe(tmp_path: Path) -> dict[str, Any]:
    task = "text-classification"
    return tiny.recipe(task, tiny.write(task, tmp_path), batch_size=8, save={"every": 1, "unit": "steps"})


def trained_with_crashes(recipe: dict[str, Any], out: Path, at: list[int]) -> Path:
    from danlu.train.train import resume, train

    checked = danlu.api.recipe_of(recipe)
    for number, step in enumerate(at):
        with pytest.raises(Crash):
            train(checked, out, listen=[crash_after(step)]) if number == 0 else resume(out, listen=[crash_after(step)])
    resume(out)
    return out


def test_crashes_at_every_step_of_an_epoch(text_recipe: dict[str, Any], tmp_path: Path) -> None:
    whole = danlu.train(text_recipe, out=tmp_path / "whole", progress=False).path
    steps = max(event["step"] for event in Run(whole).events())
    killed = trained_with_crashes(text_recipe, tmp_path / "killed", list(range(1, steps // 3 + 2)))
    assert digest(killed) == digest(whole)
    kept = [
        {k: v for k, v in event.items() if k != "seconds"}
        for event in Run(killed).events()
        if event["event"] in ("Stepped", "Evaluated", "Finished")
    ]
    plain = [
        {k: v for k, v in event.items() if k != "seconds"}
        for event in Run(whole).events()
        if event["event"] in ("Stepped", "Evaluated", "Finished")
    ]
    assert kept == plain


@pytest.mark.parametrize("method", ["gradual", "dora", "prefix"])
def test_adapted_runs_are_resumed_alike(method: str, text_recipe: dict[str, Any], tmp_path: Path) -> None:
    text_recipe["train"]["average"] = {"method": "ema", "start": 0.0}
    text_recipe["model"] = {"pretrained": str(tiny.bert(tmp_path / "bert")), "adapt": {"method": method}}
    whole = danlu.train(text_recipe, out=tmp_path / "whole", progress=False).path
    killed = trained_with_crashes(text_recipe, tmp_path / "killed", [1, 4, 5, 8])
    for name in ("model.safetensors", "adapter/adapter_model.safetensors"):
        files = [run / "bundle" / name for run in (killed, whole)]
        assert files[0].exists() == files[1].exists() == ("adapter" not in name or method != "gradual")
        assert not files[0].exists() or files[0].read_bytes() == files[1].read_bytes()


def test_batches_by_tokens_are_counted_and_resumed_alike(
    text_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("danlu.data.batches._POOL", 2)  # small pools: epochs differ in their number of batches
    del text_recipe["train"]["batch_size"]
    text_recipe["train"]["batch_tokens"] = 35
    text_recipe["model"] = {"architecture": "transformer"}
    whole = danlu.train(text_recipe, out=tmp_path / "whole", progress=False)
    assert whole.recipe.train.batch_size is None
    events = Run(whole.path).events()
    started, finished = (next(event for event in events if event["event"] == name) for name in ("Started", "Finished"))
    assert started["steps"] == finished["step"]
    assert started["steps"] % started["epochs"]
    assert digest(trained_with_crashes(text_recipe, tmp_path / "killed", [1, 3, 8])) == digest(whole.path)


METHODS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "muon, moving average, plateau": (
        "text-classification",
        {"architecture": "gru"},
        {
            "optimizer": {"name": "muon", "l1": 1e-4, "layer_decay": 0.8},
            "average": {"method": "ema", "decay": 0.9},
            "schedule": {"name": "plateau", "patience": 1, "warmup": 0},
            "epochs": 4,
            "batch_size": 12,
        },
    ),
    "lion, mean of epochs, one cycle": (
        "image-classification",
        {"architecture": "cnn"},
        {
            "optimizer": {"name": "lion"},
            "average": {"method": "swa", "start": 0.3},
            "schedule": {"name": "one-cycle"},
            "epochs": 4,
            "batch_size": 12,
        },
    ),
}


@pytest.mark.parametrize("name", METHODS)
def test_crashes_under_methods_that_remember(name: str, tmp_path: Path) -> None:
    """Averages, momenta and the history that a schedule looks at all come back."""
    task, model, settings = METHODS[name]
    tree = tiny.recipe(task, tiny.write(task, tmp_path), save={"every": 1, "unit": "steps"}, early_stopping={"patience": 0}, **settings)
    tree["model"] = model
    whole = danlu.train(tree, out=tmp_path / "whole", progress=False).path
    steps = max(event["step"] for event in Run(whole).events())
    killed = trained_with_crashes(tree, tmp_path / "killed", [1, steps // 2, steps // 2 + 1, steps - 1])
    assert digest(killed) == digest(whole)
    rates = [[event["lr"] for event in Run(run).events() if event["event"] == "Stepped"] for run in (killed, whole)]
    assert rates[0] == rates[1]


def test_the_comparison_has_teeth(text_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an order that is not a function of (seed, epoch), resuming gives other weights, and the comparison sees it."""
    whole = danlu.train(text_recipe, out=tmp_path / "whole", progress=False).path
    plan = loop.plan
    monkeypatch.setattr(loop, "plan", lambda lengths, size, seed, epoch: plan(lengths, size, random.SystemRandom().randrange(2**30), epoch))
    assert digest(trained_with_crashes(text_recipe, tmp_path / "killed", [2, 4])) != digest(whole)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_says_so(number: int, tmp_path: Path) -> None:
    task = "text-classification"
    tree = tiny.recipe(task, tiny.write(task, tmp_path), epochs=20_000, batch_size=4, early_stopping={"patience": 0})
    recipe, out = tmp_path / "recipe.yaml", tmp_path / "run"
    recipe.write_text(to_yaml(danlu.api.recipe_of(tree)), encoding="utf8")
    process = subprocess.Popen(command("train", recipe, "--out", out, "--json"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not any(event["event"] == "Evaluated" for event in Run(out).events()):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "Traceback" not in errors
    assert '"train.stopped"' in output
    assert checkpoint.newest(out / "checkpoints")[0] is not None


def test_a_finished_run_says_so(text_recipe: dict[str, Any], tmp_path: Path) -> None:
    run = danlu.train(text_recipe, out=tmp_path / "run", progress=False)
    before = (run.path / "report.json").read_bytes()
    done = subprocess.run(command("train", "--resume", run.path, "--lang", "en"), capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "already finished" in done.stderr
    assert (run.path / "report.json").read_bytes() == before


def test_changed_data_is_not_resumed(text_recipe: dict[str, Any], tmp_path: Path) -> None:
    from danlu.train.train import resume, train

    with pytest.raises(Crash):
        train(danlu.api.recipe_of(text_recipe), tmp_path / "run", listen=[crash_after(1)])
    with open(text_recipe["data"]["path"], "a", encoding="utf8") as file:
        file.write("one more row,good\n")
    with pytest.raises(InputError) as caught:
        resume(tmp_path / "run")
    assert caught.value.code == "train.data-changed"


def test_two_processes_do_not_share_a_run(text_recipe: dict[str, Any], tmp_path: Path) -> None:
    from danlu.train.run import create, locked
    from danlu.train.train import resume

    run = create(danlu.api.recipe_of(text_recipe), tmp_path / "run", "x")
    with locked(run), pytest.raises(InputError) as caught:
        resume(run.path)
    assert caught.value.code == "train.locked"
    resume(run.path)
    assert os.path.exists(run.path / "report.html")
