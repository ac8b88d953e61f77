"""Several processes give the loss curve of one, take up each other's checkpoints, and end together."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from safetensors.torch import load_file

import danlu
from danlu.core.errors import InputError
from danlu.nn import adapt
from danlu.train.launch import launch
from danlu.train.run import Run, to_yaml
from danlu.train.train import resume, train

WORKER = Path(__file__).with_name("ranks_worker.py")
TEXT, IMAGE = "text-classification", "image-classification"
SETTINGS: dict[str, Any] = {"batch_size": 8, "micro_batch": 3, "listeners": [], "early_stopping": {"patience": 0}}


class Crash(Exception):
    pass


def recipe(task: str, folder: Path, model: dict[str, Any] | None = None, **settings: Any) -> dict[str, Any]:
    tree = tiny.recipe(task, tiny.write(task, folder / task), **{**SETTINGS, **settings}) | {"model": model or {}}
    return danlu.api.recipe_of(tree).model_dump(mode="json")


def alone(tree: dict[str, Any], out: Path) -> Path:
    return danlu.train(tree, out=out, progress=False).path


def crashed(tree: dict[str, Any], out: Path, step: int) -> Path:
    def hear(event: Any) -> None:
        if type(event).__name__ == "Saved" and event.step >= step:
            raise Crash

    with pytest.raises(Crash):
        train(danlu.api.recipe_of(tree), out, listen=[hear])
    return out


def together(folder: Path, processes: int, jobs: list[dict[str, Any]]) -> None:
    """The jobs, in one group of processes."""
    file = folder / f"jobs-{processes}.json"
    file.write_text(json.dumps([{name: str(value) if name == "out" else value for name, value in job.items()} for job in jobs]))
    assert launch([sys.executable, str(WORKER), str(file)], processes) == 0


def curve(run: Path) -> list[float]:
    return [event["loss"] for event in Run(run).events() if event["event"] == "Stepped"]


def equal(run: Path, other: Path) -> None:
    """Within float error, which grows from step to step."""
    assert curve(run) == pytest.approx(curve(other), rel=1e-4)
    ours, theirs = (load_file(path / "bundle" / "model.safetensors") for path in (run, other))
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], rtol=1e-4, atol=2e-4, msg=name)


def test_two_processes_give_what_one_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dropout and all: with `micro_batch` the parts of a step and their random numbers are the same. fsdp, resuming and stopping likewise."""
    monkeypatch.setenv("DANLU_LANG", "en")
    save = {"every": 1, "unit": "steps"}
    plain = {"optimizer": {"name": "sgd", "lr": 0.05}, "precision": "fp32"}  # Adam would make steps of float error where a gradient is 0
    much = {"save": save, "average": {"method": "ema", "start": 0.3}, "adversarial": {"epsilon": 0.1}}
    text, image = recipe(TEXT, tmp_path, **much), recipe(IMAGE, tmp_path, {"architecture": "vit"}, epochs=1, **plain)
    divided = recipe(TEXT, tmp_path, **much, parallel="fsdp")
    whole, pictures = alone(text, tmp_path / "whole"), alone(image, tmp_path / "pictures")
    halves = [crashed(text, tmp_path / "half", 5), crashed(divided, tmp_path / "half-divided", 5)]
    out = {name: tmp_path / name for name in ("ddp", "fsdp", "image", "image-fsdp", "stopped")}
    jobs = [
        {"recipe": text, "out": out["ddp"]},
        {"recipe": divided, "out": out["fsdp"]},
        {"recipe": image, "out": out["image"]},
        {"recipe": image | {"train": image["train"] | {"parallel": "fsdp", "checkpoint_activations": True}}, "out": out["image-fsdp"]},
        {"out": halves[0]},
        {"out": halves[1]},
        {"recipe": divided, "out": out["stopped"], "stop": [4, 1]},
        {"recipe": text, "out": tmp_path / "differs", "seeds": [0, 1]},
    ]
    together(tmp_path, 2, jobs)
    for run in (out["ddp"], out["fsdp"], *halves):
        equal(run, whole)
    for run in (out["image"], out["image-fsdp"]):
        equal(run, pictures)
    assert [(tmp_path / f"jobs-2.json-6-{rank}").read_text() for rank in (0, 1)] == ["143 5", "143 5"]
    equal(resume(out["stopped"]).path, whole)
    for rank in (0, 1):
        assert "1 does not have the same recipe as process 0" in (tmp_path / f"jobs-2.json-7-{rank}").read_text()
    assert not (tmp_path / "differs").exists()
    assert json.loads((whole / "machine.json").read_text())["processes"] == 1
    assert json.loads((out["ddp"] / "machine.json").read_text())["processes"] == 2


def test_four_processes_give_what_one_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where they are more than a step has parts, and without `micro_batch` where nothing is random within a batch."""
    text, plain = recipe(TEXT, tmp_path, batch_size=10), recipe(TEXT, tmp_path, batch_size=11, micro_batch=None)
    together(tmp_path, 4, [{"recipe": text, "out": tmp_path / "four"}, {"recipe": plain, "out": tmp_path / "plain", "still": True}])
    equal(tmp_path / "four", alone(text, tmp_path / "one"))
    monkeypatch.setattr(adapt, "begin_epoch", lambda model, *rest: model.eval())
    equal(tmp_path / "plain", alone(plain, tmp_path / "plain-one"))


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "danlu", *map(str, words)]


def children(process: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def test_a_killed_process_ends_the_job_and_the_job_goes_on(tmp_path: Path) -> None:
    """No orphan, one sentence, the state safe; resumed, the very weights of an unbroken run of two processes."""
    tree = recipe(TEXT, tmp_path, save={"every": 1, "unit": "steps"}, epochs=8)
    file, out = tmp_path / "recipe.yaml", tmp_path / "killed"
    file.write_text(to_yaml(danlu.api.recipe_of(tree)), encoding="utf8")
    job = subprocess.Popen(
        command("train", file, "--out", out, "--processes", 2, "--json", "--lang", "en"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while not any(event["event"] == "Saved" for event in Run(out).events()):
        assert job.poll() is None, job.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    ranks = children(job.pid)
    with pytest.raises(InputError) as second:
        resume(out)
    os.kill(ranks[1], signal.SIGKILL)
    output, errors = job.communicate(timeout=30)
    assert second.value.code == "train.locked"
    assert job.returncode == 3
    assert json.loads(output)["error"]["code"] == "train.rank-died"
    assert "Process 1 of this training ended unexpectedly (SIGKILL)" in errors
    assert "Traceback" not in errors
    assert not [rank for rank in ranks if Path(f"/proc/{rank}").exists()]
    together(tmp_path, 2, [{"out": out}, {"recipe": tree, "out": tmp_path / "whole"}])
    assert digest(out) == digest(tmp_path / "whole")


def digest(run: Path) -> str:
    return hashlib.sha256((run / "bundle" / "model.safetensors").read_bytes()).hexdigest()


def test_torchrun_starts_them_too(tmp_path: Path) -> None:
    """As on several machines; and what one process finds wrong is said once, by it."""
    tree = recipe(TEXT, tmp_path)
    file = tmp_path / "recipe.yaml"
    file.write_text(to_yaml(danlu.api.recipe_of(tree)), encoding="utf8")
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "danlu", "train", str(file)]
    done = subprocess.run([*words, "--out", str(tmp_path / "run"), "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["run"] == str(tmp_path / "run")
    equal(tmp_path / "run", alone(tree, tmp_path / "one"))
