"""`danlu prove` holds, whatever the recipe, and a fault planted in the code that training uses makes its proof fail."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch

from danlu.cli.main import run
from danlu.train import step
from danlu.train.prove import proofs
from danlu.train.prove.proofs import PROOFS, Bench
from danlu.train.run import to_yaml


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DANLU_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("task", ["", "image-classification"])
def test_every_proof_holds(task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["prove", "--json"]
    if task:
        from danlu.api import recipe_of

        file = tmp_path / "recipe.yaml"
        file.write_text(to_yaml(recipe_of(tiny.recipe(task, tiny.write(task, tmp_path / "data")))), encoding="utf8")
        words += [str(file)]
    code = run(words)
    said = capsys.readouterr()
    found = json.loads(said.out)["proofs"]
    assert code == 0, said.err
    assert [proof["name"] for proof in found] == list(PROOFS)
    assert all(proof["passed"] and proof["difference"] <= proof["bound"] for proof in found)
    assert [proof["name"] for proof in found if proof["stood_in"]] == (["packed"] if task else [])


def holds(name: str, folder: Path) -> bool:
    shown = PROOFS[name](Bench(None, folder))
    return shown.difference <= shown.bound


def optimizer_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("danlu.train.checkpoint.restore_optimizer", lambda *args: None)


def mean_of_means(patch: pytest.MonkeyPatch) -> None:
    forward = step.forward
    patch.setattr(step, "forward", lambda *args: (lambda loss: type(loss)(loss.total / loss.count, 1 / 3))(forward(*args)))


def rows_see_each_other(patch: pytest.MonkeyPatch) -> None:
    from danlu.nn.packing import Rows

    attend = Rows.attend

    def faulty(self: Rows, *args: Any, **settings: Any) -> torch.Tensor:
        blocks = self.blocks
        if self.mask_RL is None:
            self.blocks = [(1, sum(rows * length for rows, length in blocks))]
        seen = attend(self, *args, **settings)
        self.blocks = blocks
        return seen

    patch.setattr(Rows, "attend", faulty)


def another_row(patch: pytest.MonkeyPatch) -> None:
    from danlu.train.prefix import Kept

    row = Kept.row
    patch.setattr(Kept, "row", lambda self, i: row(self, i)[::-1].copy())


def gradients_not_summed(patch: pytest.MonkeyPatch, folder: Path) -> None:
    script = folder / "faulty.py"
    script.write_text(
        "import sys\nfrom danlu.train.prove import rank\nfrom danlu.train.ranks import Ranks\n"
        "Ranks._sum_gradients = lambda *args: None\nrank.main(sys.argv[1])\n",
        encoding="utf8",
    )
    patch.setattr(proofs, "COMMAND", [sys.executable, str(script)])


def scale_left_on(patch: pytest.MonkeyPatch) -> None:
    forward = step.forward

    def faulty(job: Any, *args: Any) -> Any:
        loss = forward(job, *args)
        return type(loss)(loss.total * 1.5, loss.count) if job.precision == "bf16" else loss

    patch.setattr(step, "forward", faulty)


def tensor_lost(patch: pytest.MonkeyPatch) -> None:
    from danlu.bundle import store

    read = store.read_weights
    patch.setattr(store, "read_weights", lambda *args: {name: tensor * (tensor.ndim > 1) for name, tensor in read(*args).items()})


def drawn_anew(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(step, "key", lambda *args: int.from_bytes(os.urandom(7)))


@pytest.mark.parametrize(
    ("name", "plant"),
    [
        ("resumed", optimizer_forgotten),
        ("accumulated", mean_of_means),
        ("packed", rows_see_each_other),
        ("prefix", another_row),
        ("bf16", scale_left_on),
        ("saved", tensor_lost),
        ("repeated", drawn_anew),
    ],
)
def test_a_fault_is_seen(name: str, plant: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    assert not holds(name, tmp_path)


def test_a_fault_between_processes_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gradients_not_summed(monkeypatch, tmp_path)
    assert not holds("processes", tmp_path)


def test_a_failed_proof_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("danlu.train.prove.all.PROOFS", {"saved": lambda bench: proofs.Shown(float("inf"), 1e-4, stood_in=True)})
    monkeypatch.setenv("DANLU_LANG", "en")
    assert run(["prove", "--json"]) == 1
    said = capsys.readouterr()
    assert json.loads(said.out) == {"proofs": [{"name": "saved", "passed": False, "difference": None, "bound": 1e-4, "stood_in": True}]}
    assert "unequal" in said.err
    assert "FAILED" in said.err
