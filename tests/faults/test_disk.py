"""Damaged checkpoints are passed over, damaged bundles refused, and a full disk loses nothing that was saved."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny
from test_kill import Crash, crash_after, digest, recipe_file

import danlu
from danlu.core.errors import RefusedError
from danlu.core.files import broken, folder_aside, read_json
from danlu.train import checkpoint
from danlu.train.run import Run


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run that crashed with two checkpoints on disk, and the same run whole."""
    from danlu.train.train import train

    folder, task = tmp_path_factory.mktemp("stopped"), "text-classification"
    recipe = danlu.api.recipe_of(tiny.recipe(task, tiny.write(task, folder), batch_size=8, save={"every": 2, "unit": "steps"}))
    whole = train(recipe, folder / "whole").path
    with pytest.raises(Crash):
        train(recipe, folder / "run", listen=[crash_after(6)])
    return folder / "run", whole


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize("how", ["cut", "flip", "empty", "gone"])
def test_a_damaged_checkpoint_is_passed_over(stopped: tuple[Path, Path], tmp_path: Path, name: str, how: str) -> None:
    shutil.copytree(stopped[0], tmp_path / "run")
    newest, _ = checkpoint.newest(tmp_path / "run" / "checkpoints")
    damage(newest / name, how)
    before, damaged = checkpoint.newest(tmp_path / "run" / "checkpoints")
    assert damaged == [newest]
    assert before is not None


def test_resuming_from_the_one_before_gives_the_same_weights(stopped: tuple[Path, Path], tmp_path: Path) -> None:
    shutil.copytree(stopped[0], tmp_path / "moved" / "run")
    newest, _ = checkpoint.newest(tmp_path / "moved" / "run" / "checkpoints")
    damage(newest / "model.safetensors", "flip")
    run = danlu.resume(tmp_path / "moved" / "run", progress=False)
    assert digest(run.path) == digest(stopped[1])
    assert any(event["event"] == "Warned" for event in run.events())


def damage(file: Path, how: str) -> None:
    content = bytearray(file.read_bytes())
    if how == "cut":
        file.write_bytes(content[: len(content) // 2])
    elif how == "flip":
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    elif how == "empty":
        file.write_bytes(b"")
    else:
        file.unlink()


@pytest.mark.parametrize("name", ["model.safetensors", "task.json", "danlu.json", "card.md"])
@pytest.mark.parametrize("how", ["cut", "flip", "empty", "gone"])
def test_a_damaged_bundle_is_refused(stopped: tuple[Path, Path], tmp_path: Path, name: str, how: str) -> None:
    shutil.copytree(stopped[1] / "bundle", tmp_path / "bundle")
    damage(tmp_path / "bundle" / name, how)
    if (name, how) == ("danlu.json", "gone"):
        code = 2  # no bundle at all
    else:
        code = 4
        with pytest.raises(RefusedError):
            danlu.load(tmp_path / "bundle")
    done = subprocess.run(
        [sys.executable, "-m", "danlu", "predict", str(tmp_path / "bundle"), "x"], capture_output=True, text=True, check=False
    )
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_folder_is_whole_or_not_there(tmp_path: Path) -> None:
    with pytest.raises(Crash), folder_aside(tmp_path / "a") as aside:
        (aside / "x").write_text("half")
        raise Crash
    assert list(tmp_path.iterdir()) == []
    with folder_aside(tmp_path / "a") as aside:
        (aside / "x").write_text("whole")
    assert broken(tmp_path / "a") is None


@pytest.mark.parametrize("left", [None, 700, 0])
def test_a_record_that_was_cut_is_told_of_and_goes_on(stopped: tuple[Path, Path], tmp_path: Path, left: int | None) -> None:
    """Its whole lines stay, nothing is made up in their place, and the weights are those of the run that was not stopped."""
    from danlu.train.train import resume

    shutil.copytree(stopped[0], tmp_path / "run")
    record = tmp_path / "run" / "events.jsonl"
    before, (newest, _) = record.read_bytes(), checkpoint.newest(tmp_path / "run" / "checkpoints")
    length = read_json(newest / "state.json")["events"]
    kept = before[: length if left is None else left]
    record.write_bytes(before if left is None else kept)
    resume(tmp_path / "run")
    after = record.read_bytes()
    whole_lines = kept[: kept.rfind(b"\n") + 1]
    assert after.startswith(whole_lines)
    assert all(isinstance(json.loads(line), dict) for line in after.splitlines())
    told = [event["values"] for event in Run(tmp_path / "run").events() if event.get("key") == "train.cut-record"]
    assert told == ([] if left is None else [{"path": str(record), "bytes": length - left}])
    assert digest(tmp_path / "run") == digest(stopped[1])


def in_small_disk(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs a shell script in a namespace of its own, with an 8 MB disk mounted on `folder`."""
    mount = f"mount -t tmpfs -o size=8m tmpfs {folder} && {script}"
    return subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount], capture_output=True, text=True, check=False
    )


def can_mount(tmp_path: Path) -> bool:
    return shutil.which("unshare") is not None and in_small_disk("true", tmp_path).returncode == 0


@pytest.mark.parametrize("room", [20, 200, 600])
def test_a_full_disk_loses_nothing(tmp_path: Path, room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `room` KB left the run ends with 3 and one sentence; with the space back it ends as if nothing had been."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if not can_mount(disk):
        pytest.skip("this machine lets nobody mount a small disk")
    recipe = recipe_file("text-classification", tmp_path)
    monkeypatch.setenv("DANLU_LANG", "en")
    danlu_command = f"{sys.executable} -m danlu"
    script = f"""
        dd if=/dev/zero of={disk}/filler bs=1024 count=$((8192 - {room})) 2>/dev/null
        {danlu_command} train {recipe} --out {disk}/run; echo "code $?"
        rm {disk}/filler
        if [ -e {disk}/run/recipe.yaml ]; then {danlu_command} train --resume {disk}/run; else {danlu_command} train {recipe} --out {disk}/run; fi
        echo "code $?"
        sha256sum {disk}/run/bundle/model.safetensors | cut -d' ' -f1
    """
    done = in_small_disk(script, disk)
    words: list[Any] = done.stdout.split()
    assert words[:2] == ["code", "3"], done.stderr
    assert words[2:4] == ["code", "0"], done.stderr
    assert "The disk is full" in done.stderr
    assert "Traceback" not in done.stderr
    whole = danlu.train(str(recipe), out=tmp_path / "whole", progress=False)
    assert words[4] == digest(whole.path)
