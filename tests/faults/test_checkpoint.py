"""A checkpoint is written while training goes on, holds the values of its step, and is never missed: whatever ends the process, and wherever."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from safetensors.torch import load_file
from test_kill import Crash, crash_after, digest

import danlu
from danlu.core.errors import RefusedError, ResourceError
from danlu.core.files import MANIFEST, json_text
from danlu.nn.model import Model
from danlu.train import checkpoint, step
from danlu.train.checkpoint import State
from danlu.train.loop import Job
from danlu.train.optim import make_optimizer
from danlu.train.prepare import prepare
from danlu.train.run import Run
from danlu.train.start import starting_model
from danlu.train.train import resume, train

TASK = "text-classification"


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    prepared = prepare(danlu.api.recipe_of(tiny.recipe(TASK, tiny.write(TASK, tmp_path_factory.mktemp("job")))))
    model, _ = starting_model(prepared, prepared.recipe)
    optimizer = make_optimizer(model, prepared.recipe.train.optimizer)
    made = Job(prepared.recipe, prepared.task, model, optimizer, prepared.sides, torch.device("cpu"), "fp32", State())
    step.take(made, np.arange(8), 10)
    return made


def write(job: Job, folder: Path, number: int) -> Path:
    tensors = checkpoint.collect(job.model, job.optimizer, None)
    return checkpoint.save(folder, State(step=number), job.recipe, tensors)


def values(model: Model) -> dict[str, torch.Tensor]:
    return deepcopy(model.state_dict())


def test_a_write_holds_the_values_of_its_own_step(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mistake of pytorch #144657: the thread reads weights that training has changed meanwhile."""
    gate, save_file = threading.Event(), checkpoint.save_file
    monkeypatch.setattr(checkpoint, "save_file", lambda *args: (gate.wait(60), save_file(*args)))
    before, moments = values(job.model), deepcopy(checkpoint.optimizer_tensors(job.optimizer))
    with ThreadPoolExecutor(1) as writer:
        tensors = checkpoint.collect(job.model, job.optimizer, None)
        written = writer.submit(checkpoint.save, tmp_path, State(step=1), job.recipe, tensors)
        step.take(job, np.arange(8), 10)
        gate.set()
        path = written.result()
    assert any(not torch.equal(tensor, before[name]) for name, tensor in job.model.state_dict().items())
    for found, meant in ((load_file(path / "model.safetensors"), before), (load_file(path / "optimizer.safetensors"), moments)):
        assert found.keys() == meant.keys()
        assert all(torch.equal(found[name], tensor) for name, tensor in meant.items())


def in_fork(work: Callable[[], object], dies_at: int) -> int:
    """Runs `work` in a copy of this process that dies, as by SIGKILL, at its `dies_at`th touch of the disk; the exit status."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    touched = 0

    def mortal(real: Callable[..., Any]) -> Callable[..., Any]:
        def touch(*args: Any, **kwargs: Any) -> Any:
            nonlocal touched
            touched += 1
            if touched == dies_at:
                os._exit(9)
            return real(*args, **kwargs)

        return touch

    for module, name in ((os, "fsync"), (os, "rmdir"), (os, "unlink"), (Path, "replace"), (Path, "mkdir"), (checkpoint, "save_file")):
        setattr(module, name, mortal(getattr(module, name)))
    try:
        work()
        os._exit(0)
    except BaseException:
        os._exit(1)


def test_killed_at_every_touch_of_the_disk(job: Job, tmp_path: Path) -> None:
    """Full enumeration, not chance: whichever touch was the last, the newest whole checkpoint is the new one or the one before."""
    found: list[int] = []
    for dies_at in range(1, 200):
        folder = tmp_path / str(dies_at)
        write(job, folder, 1)
        write(job, folder, 2)
        status = in_fork(lambda folder=folder: write(job, folder, 3), dies_at)
        path, damaged = checkpoint.newest(folder)
        assert path is not None
        assert damaged == []
        found.append(int(path.name[5:]))
        if status == 0:
            break
        assert status == 9
        checkpoint.sweep(folder)
        assert [entry.name for entry in folder.iterdir() if entry.name.startswith(".")] == []
        shutil.rmtree(folder)
    assert found == sorted(found)  # 2 until the rename, 3 from there on
    assert set(found) == {2, 3}
    assert len(found) > 15


def test_older_checkpoints_go_only_when_the_new_one_has_been_read_again(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that gives back something else than it was given: the write fails with 3, and both older checkpoints are still there."""
    write(job, tmp_path, 1)
    write(job, tmp_path, 2)

    def flipped(file: Path) -> None:
        with file.open("r+b") as stored:
            stored.seek(-1, 2)
            last = stored.read(1)[0]
            stored.seek(-1, 2)
            stored.write(bytes([last ^ 1]))

    monkeypatch.setattr(checkpoint, "settle", flipped)
    with pytest.raises(ResourceError):
        write(job, tmp_path, 3)
    monkeypatch.undo()
    monkeypatch.setattr(checkpoint, "intact", lambda path: False)
    with pytest.raises(ResourceError):
        write(job, tmp_path, 4)
    monkeypatch.undo()
    assert {"step-1", "step-2"} <= {path.name for path in tmp_path.iterdir()}


def test_what_is_kept_after_a_fall_back_is_the_new_one(job: Job, tmp_path: Path) -> None:
    """Damaged checkpoints with higher numbers must not push out what a resumed run writes."""
    for number in (8, 10):
        write(job, tmp_path, number)
        (tmp_path / f"step-{number}" / "model.safetensors").write_bytes(b"")
    assert checkpoint.newest(tmp_path)[0] is None
    for number in (2, 4, 6):
        write(job, tmp_path, number)
        assert checkpoint.newest(tmp_path) == (tmp_path / f"step-{number}", [])
    assert {path.name for path in tmp_path.iterdir()} == {"step-4", "step-6"}


def edited(path: Path, name: str, change: Callable[[dict[str, Any]], object]) -> None:
    tree = json.loads((path / name).read_text())
    change(tree)
    (path / name).write_text(json_text(tree))


DAMAGE: dict[str, Callable[[Path], object]] = {
    "another file beside": lambda path: (path / "best.safetensors").write_bytes((path / "model.safetensors").read_bytes()),
    "an entry gone": lambda path: (edited(path, MANIFEST, lambda tree: tree["files"].pop("state.json")), (path / "state.json").unlink()),
    "a blank more": lambda path: (path / MANIFEST).write_text((path / MANIFEST).read_text().replace(":", ": ", 1)),
    "renamed": lambda path: path.rename(path.with_name("step-9")),
    "a folder instead": lambda path: ((path / "state.json").unlink(), (path / "state.json").mkdir()),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_what_is_not_as_danlu_wrote_it_is_passed_over(how: str, job: Job, tmp_path: Path) -> None:
    write(job, tmp_path, 1)
    DAMAGE[how](write(job, tmp_path, 2))
    path, damaged = checkpoint.newest(tmp_path)
    assert path == tmp_path / "step-1"
    assert len(damaged) == 1


@pytest.fixture
def recipe(tmp_path: Path) -> dict[str, Any]:
    return tiny.recipe(TASK, tiny.write(TASK, tmp_path), batch_size=8, save={"every": 2, "unit": "steps"})


def test_an_error_of_the_writer_ends_the_run_with_the_state_safe(recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, save = danlu.train(recipe, out=tmp_path / "whole", progress=False).path, checkpoint.save

    def full(folder: Path, state: State, *rest: Any) -> Path:
        if state.step >= 6:
            raise ResourceError("files.disk-full", folder, path=folder)
        return save(folder, state, *rest)

    monkeypatch.setattr(checkpoint, "save", full)
    with pytest.raises(ResourceError) as caught:
        train(danlu.api.recipe_of(recipe), tmp_path / "run")
    assert caught.value.code == "files.disk-full"
    assert checkpoint.newest(tmp_path / "run" / "checkpoints")[0] == tmp_path / "run" / "checkpoints" / "step-4"
    monkeypatch.undo()
    assert digest(resume(tmp_path / "run").path) == digest(whole)


def test_a_checkpoint_of_other_data_is_refused(recipe: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(Crash):
        train(danlu.api.recipe_of(recipe), tmp_path / "run", listen=[crash_after(2)])
    other = Path(recipe["data"]["path"]).with_name("other.csv")
    other.write_text(Path(recipe["data"]["path"]).read_text() + "one row more,good\n")
    with pytest.raises(Crash):
        train(danlu.api.recipe_of({**recipe, "data": {**recipe["data"], "path": str(other)}}), tmp_path / "other", listen=[crash_after(2)])
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    shutil.copytree(tmp_path / "other" / "checkpoints", tmp_path / "run" / "checkpoints")
    with pytest.raises(RefusedError):
        resume(tmp_path / "run")


def test_other_threads_are_told_and_the_recorded_number_is_kept(recipe: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(Crash):
        train(danlu.api.recipe_of(recipe), tmp_path / "run", listen=[crash_after(2)])
    edited(tmp_path / "run", "machine.json", lambda tree: tree.update(threads=3))
    run = resume(tmp_path / "run")
    told = [event["values"]["changes"] for event in run.events() if event.get("key") == "train.other-machine"]
    assert told == ["threads 3 -> 1"]
    assert run.recipe.train.threads == 1


def test_no_more_than_one_write_at_a_time_and_each_is_said_once(recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    running, most, save = [0], [0], checkpoint.save

    def counted(*args: Any) -> Path:
        running[0] += 1
        most[0] = max(most[0], running[0])
        try:
            return save(*args)
        finally:
            running[0] -= 1

    monkeypatch.setattr(checkpoint, "save", counted)
    run = train(danlu.api.recipe_of({**recipe, "train": {**recipe["train"], "save": {"every": 1, "unit": "steps"}}}), tmp_path / "run")
    events = Run(run.path).events()
    saved = [event["step"] for event in events if event["event"] == "Saved"]
    assert most == [1]
    assert saved == list(range(1, max(event["step"] for event in events) + 1))
    assert all(event["path"] == f"step-{event['step']}" for event in events if event["event"] == "Saved")


def last_tensors(run: Path) -> dict[str, bytes]:
    """The files of the last checkpoint: last weights, optimizer and best weights."""
    path, _ = checkpoint.newest(run / "checkpoints")
    assert path is not None
    return {file.name: file.read_bytes() for file in sorted(path.glob("*.safetensors"))}


@pytest.mark.parametrize("task", tiny.ALL)
def test_a_run_cut_in_the_middle_ends_with_every_tensor_the_same(task: str, tmp_path: Path) -> None:
    """Also where the layout in memory is not the one on disk: pictures are channels-last, and fused optimizers mind it."""
    recipe = danlu.api.recipe_of(tiny.recipe(task, tiny.write(task, tmp_path), batch_size=8, save={"every": 2, "unit": "steps"}, listeners=[]))
    whole = train(recipe, tmp_path / "whole").path
    for at in (2, 6):
        with pytest.raises(Crash):
            resume(tmp_path / "cut", [crash_after(at)]) if at > 2 else train(recipe, tmp_path / "cut", listen=[crash_after(at)])
    assert last_tensors(resume(tmp_path / "cut").path) == last_tensors(whole)
