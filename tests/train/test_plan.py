"""What is predicted of a run: formulas exactly, what is measured loosely, since machines are busy."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from torch import nn

import danlu
from danlu.core.recipe import Optimizer
from danlu.data.batches import Size, plan
from danlu.nn.model import parameter_count
from danlu.train.optim import make_optimizer, optimizer_tensors
from danlu.train.plan import formula, largest, optimizer_bytes
from danlu.train.prepare import prepare
from danlu.train.probe import Probe
from danlu.train.start import starting_model

MODELS = [
    *(("text-classification", {"architecture": name}) for name in ("bag", "textcnn", "gru", "transformer")),
    *(("image-classification", {"architecture": name}) for name in ("mlp", "cnn", "resnet", "vit")),
    *(("audio-classification", {"architecture": name}) for name in ("cnn", "conformer")),
]


@pytest.mark.parametrize(("task", "model"), MODELS, ids=[f"{task} {model['architecture']}" for task, model in MODELS])
def test_parameters_are_those_of_the_model(task: str, model: dict[str, str], tmp_path: Path) -> None:
    prepared = prepare(danlu.api.recipe_of(tiny.recipe(task, tiny.write(task, tmp_path)) | {"model": model}))
    real, _ = starting_model(prepared, prepared.recipe)
    counted = formula(prepared)
    assert counted.parameters == parameter_count(real)
    assert counted.trainable == sum(p.numel() for p in real.parameters() if p.requires_grad)


@pytest.mark.parametrize("method", ["full", "head", "last", "lora", "bottleneck", "prefix"])
def test_trained_parameters_are_those_of_the_method(method: str, tmp_path: Path) -> None:
    tree = tiny.recipe("text-classification", tiny.write("text-classification", tmp_path))
    tree["model"] = {"pretrained": str(tiny.bert(tmp_path / "bert")), "adapt": {"method": method}}
    prepared = prepare(danlu.api.recipe_of(tree))
    real, _ = starting_model(prepared, prepared.recipe)
    counted = formula(prepared)
    assert counted.parameters == parameter_count(real)
    assert counted.trainable == sum(p.numel() for p in real.parameters() if p.requires_grad)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 4)), nn.Linear(4, 3)

    def stages(self) -> list[nn.Module]:
        return [self.body, self.head]

    def parameter_groups(self, lr: float, weight_decay: float) -> list[dict]:
        return [{"params": list(self.parameters()), "weight_decay": weight_decay}]


@pytest.mark.parametrize("name", list(Optimizer.own))
def test_bytes_of_the_optimizer_are_those_that_it_keeps(name: str) -> None:
    spec = Optimizer(name=name, lr=1e-3, weight_decay=0.0, **Optimizer.own[name])
    model = Net()
    optimizer = make_optimizer(model, spec)
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    optimizer.step()
    kept = sum(tensor.nbytes for key, tensor in optimizer_tensors(optimizer).items() if not key.endswith(".step"))
    assert optimizer_bytes(model, spec) == kept


def test_the_probe_takes_the_largest_batches_and_typical_ones() -> None:
    lengths = np.random.default_rng(0).integers(1, 100, 500).tolist()
    size, probe = Size(16), Probe()
    memory, typical = (probe.plan(lengths, size, 3, epoch) for epoch in (0, 1))
    tokens = [sum(lengths[i] for i in batch) for epoch in range(8) for batch in plan(lengths, size, 3, epoch)]
    assert sum(lengths[i] for i in memory[2]) == max(tokens)
    assert len(memory[0]) == 8
    assert probe.batches == 32
    middle = np.mean([sum(lengths[i] for i in batch) for batch in typical])
    assert middle == pytest.approx(np.mean(tokens), rel=0.05)


def test_the_largest_batch_follows_from_what_a_row_takes() -> None:
    found = {"rows": [16, 32], "peaks": [600, 760], "peak": 800}
    assert largest(found, 900) == 42
    assert largest(found, 700) == 22
    assert largest(found, 10) == 1


def test_a_plan_is_near_the_run(tmp_path: Path) -> None:
    tree = tiny.recipe("text-classification", tiny.write("text-classification", tmp_path), batch_size=8)
    tree["model"] = {"architecture": "textcnn"}
    (tmp_path / "recipe.json").write_text(json.dumps(tree), encoding="utf8")
    heard = []
    found = danlu.api.plan(tree, hear=heard.append).as_json()
    assert heard[0].parameters == found["parameters"]
    words = [sys.executable, "-m", "danlu", "train", str(tmp_path / "recipe.json"), "--out", str(tmp_path / "run"), "--json"]
    real = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)["peak_memory_bytes"]
    assert found["peak_memory_bytes"]["train"] == pytest.approx(real, rel=0.15)
    assert 0 < found["peak_memory_bytes"]["evaluate"] < real
    assert found["seconds_per_epoch"] > 0
    size = sum(file.stat().st_size for file in (tmp_path / "run").rglob("*") if file.is_file())
    assert found["disk_bytes"] == pytest.approx(size, rel=0.2)
    assert found["largest_batch"] >= found["batch"]
