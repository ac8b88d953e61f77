"""Averaged weights against the plain formula, and that they are the ones judged and kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from safetensors.torch import load_file
from test_step import job_of

import danlu
from danlu.train import average
from danlu.train.loop import Job, loop
from danlu.train.optim import make_optimizer

IMAGES = "image-classification"


def weights_over_time(job: Job, method: str, n: int, steps: int) -> list[dict[str, torch.Tensor]]:
    """Gives the model random weights after each of `n` steps, every second one ending an epoch; those weights."""
    taken = []
    for step in range(1, n + 1):
        generator = torch.Generator().manual_seed(step)
        with torch.no_grad():
            for p in job.model.parameters():
                p.copy_(torch.randn(p.shape, generator=generator))
        job.state.step = step
        average.update(job, steps, step % 2 == 0)
        taken.append({name: p.detach().clone() for name, p in job.model.named_parameters()})
    return taken


def test_moving_average_is_the_plain_formula(tmp_path: Path) -> None:
    job = job_of(IMAGES, tmp_path, average={"method": "ema", "decay": 0.6, "start": 0.2})
    taken = weights_over_time(job, "ema", 10, steps=10)
    for name in taken[0]:
        expected = taken[1][name].double()  # the first step at or after 0.2 of 10
        for n, weights in enumerate(taken[2:], 1):
            decay = min(0.6, (1 + n) / (10 + n))
            expected = decay * expected + (1 - decay) * weights[name]
        torch.testing.assert_close(job.average[name], expected.float())


def test_mean_of_epochs_is_the_plain_mean(tmp_path: Path) -> None:
    job = job_of(IMAGES, tmp_path, average={"method": "swa", "start": 0.4})
    taken = weights_over_time(job, "swa", 10, steps=10)
    for name in taken[0]:
        expected = torch.stack([taken[step - 1][name] for step in (4, 6, 8, 10)]).mean(dim=0)
        torch.testing.assert_close(job.average[name], expected)
    assert job.state.averaged == 4


def test_batch_norms_of_a_mean_get_their_own_statistics(tmp_path: Path) -> None:
    job = job_of(IMAGES, tmp_path, average={"method": "swa", "start": 0.0})
    weights_over_time(job, "swa", 4, steps=4)
    batches = [np.arange(0, 12), np.arange(12, 24)]
    first = next(m for m in job.model.modules() if isinstance(m, torch.nn.BatchNorm2d))
    before = {name: tensor.clone() for name, tensor in job.model.state_dict().items()}
    seen: list[torch.Tensor] = []
    handle = first.register_forward_hook(lambda module, args, output: seen.append(args[0]))
    with average.judged(job, batches):
        handle.remove()
        means = torch.stack([x_BCHW.mean(dim=(0, 2, 3)) for x_BCHW in seen])
        assert len(seen) == len(batches)
        torch.testing.assert_close(first.running_mean, means.mean(dim=0))
        assert first.momentum is not None
        assert not torch.equal(first.running_mean, before["stem.1.running_mean"])
    assert all(torch.equal(tensor, before[name]) for name, tensor in job.model.state_dict().items())


def test_batch_norms_of_a_moving_average_are_averaged_too(tmp_path: Path) -> None:
    job = job_of(IMAGES, tmp_path, average={"method": "ema", "decay": 0.5})
    assert {"stem.1.running_mean", "stem.1.running_var", "stem.0.weight"} <= average.changing(job).keys()
    assert "stem.1.num_batches_tracked" not in average.changing(job)


def test_frozen_weights_are_not_averaged(tmp_path: Path) -> None:
    job = job_of(IMAGES, tmp_path)
    job.model.requires_grad_(False)
    job.model.head.requires_grad_(True)
    job.optimizer = make_optimizer(job.model, job.recipe.train.optimizer)
    assert {name for name in average.changing(job) if name.endswith("weight")} == {"classify.weight"}


@pytest.mark.parametrize("validation", [0.2, 0.0])
@pytest.mark.parametrize("method", ["ema", "swa"])
def test_the_average_is_what_is_judged_and_kept(method: str, validation: float, tmp_path: Path) -> None:
    tree: dict[str, Any] = tiny.recipe(IMAGES, tiny.write(IMAGES, tmp_path), epochs=1, average={"method": method})
    tree["data"]["split"]["validation"] = validation
    run = danlu.train(tree, out=tmp_path / "run", progress=False).path
    (saved,) = (run / "checkpoints").iterdir()
    files = run / "bundle/model.safetensors", saved / "average.safetensors", saved / "model.safetensors"
    kept, averaged, last = map(load_file, files)
    trained = [name for name in averaged if name.endswith("weight")]
    assert trained
    assert all(torch.equal(kept[name], averaged[name]) for name in trained)
    assert method == "swa" or not all(torch.equal(kept[name], last[name]) for name in trained)


def test_training_goes_on_with_its_own_weights(tmp_path: Path) -> None:
    """What is averaged and judged does not touch what is trained."""
    ends = []
    for number, method in enumerate(("none", "ema", "swa")):
        job = job_of(IMAGES, tmp_path / str(number), average={"method": method, **({} if method == "none" else {"start": 0.0})})
        list(loop(job))
        ends.append(job.model.state_dict())
    for end in ends[1:]:
        assert all(torch.equal(tensor, ends[0][name]) for name, tensor in end.items())
