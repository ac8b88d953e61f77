"""A batch that does not fit is computed in parts, under a real limit of address space; the run remembers, and a resumed one too."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import danlu
from danlu.train.run import Run, to_yaml
from danlu.train.train import resume

CHILD = Path(__file__).with_name("memory_child.py")
ROOM = 150  # megabytes beyond what the process has where training starts, 256 of which its allocator holds free: half of a batch fits


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Long texts, 40 to a batch: 600 megabytes of activations."""
    folder = tmp_path_factory.mktemp("memory")
    draw = np.random.default_rng(0)
    with (folder / "texts.csv").open("w", encoding="utf8") as file:
        file.write("text,label\n")
        for i in range(90):
            words = draw.integers(0, 60, 600) + 40 * (i % 2)
            file.write(" ".join(f"w{number}" for number in words) + f",{'ab'[i % 2]}\n")
    tree = {
        "task": {"name": "text-classification", "max_length": 512},
        "data": {"path": str(folder / "texts.csv"), "split": {"validation": 0.1, "test": 0.1}},
        "model": {"architecture": "transformer"},
        "train": {"epochs": 1, "batch_size": 40, "threads": 1, "precision": "fp32", "save": {"every": 1, "unit": "steps"}, "listeners": []},
    }
    path = folder / "recipe.yaml"
    path.write_text(to_yaml(danlu.api.recipe_of(tree)), encoding="utf8")
    return path


def trained(recipe: Path, out: Path, megabytes: int, last: int = 0) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, str(CHILD), str(recipe), str(out), str(megabytes), str(last)]
    return subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)


def warned(run: Path) -> list[dict]:
    return [event for event in Run(run).events() if event["event"] == "Warned" and event["key"] == "train.divided"]


def digest(run: Path) -> str:
    return hashlib.sha256((run / "bundle" / "model.safetensors").read_bytes()).hexdigest()


def test_a_batch_that_does_not_fit_is_divided_and_a_resumed_run_obeys(recipe: Path, tmp_path: Path) -> None:
    """The failed attempt leaves nothing behind: the run is that of a recipe which had asked for such parts."""
    crashed = trained(recipe, tmp_path / "crashed", ROOM, last=1)
    assert crashed.returncode == 9, crashed.stdout + crashed.stderr
    (once,) = warned(tmp_path / "crashed")
    rows = once["values"]["rows"]
    assert 1 <= rows < 40
    resume(tmp_path / "crashed")  # with all the memory there is
    assert warned(tmp_path / "crashed") == [once]
    asked = danlu.train(str(recipe), f"train.micro_batch={rows}", out=tmp_path / "asked", progress=False)
    assert digest(tmp_path / "crashed") == digest(asked.path)


def test_one_row_that_does_not_fit_is_one_sentence(recipe: Path, tmp_path: Path) -> None:
    done = trained(recipe, tmp_path / "run", 0)
    assert (done.returncode, done.stdout.strip()) == (3, "train.out-of-memory"), done.stderr
