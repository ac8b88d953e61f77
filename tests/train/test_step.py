"""A step divided into micro-batches is the step of one large batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tiny
import torch

from danlu.api import recipe_of
from danlu.core.recipe import Clip
from danlu.train import step
from danlu.train.checkpoint import State
from danlu.train.loop import Job
from danlu.train.optim import make_optimizer
from danlu.train.prepare import Prepared, prepare
from danlu.train.start import starting_model


def job_of(task: str, folder: Any, **train: Any) -> Job:
    return job_of_prepared(prepare(recipe_of(tiny.recipe(task, tiny.write(task, folder), **train))))


def job_of_prepared(prepared: Prepared) -> Job:
    recipe = prepared.recipe
    model, _ = starting_model(prepared, recipe)
    optimizer = make_optimizer(model, recipe.train.optimizer)
    return Job(recipe, prepared.task, model, optimizer, prepared.sides, torch.device("cpu"), "fp32", State())


def gradients(job: Job, rows: int = 16) -> tuple[float, list[torch.Tensor]]:
    job.model.eval()  # dropout and batch norm look at one micro-batch at a time
    job.optimizer.zero_grad()
    loss = step.accumulate(job, np.arange(rows), step.micro_batch(job) or rows)
    found = [p.grad for p in job.model.parameters() if p.grad is not None]
    step.scale_and_clip(found, loss.count, Clip(by="none"))
    return float(loss.total) / loss.count, found


@pytest.mark.parametrize("task", tiny.ALL)
def test_micro_batches_of_unequal_size_give_the_gradient_of_one_batch(task, tmp_path):
    whole = gradients(job_of(task, tmp_path / "whole", batch_size=16))
    parts = gradients(job_of(task, tmp_path / "parts", batch_size=16, micro_batch=5))
    assert parts[0] == pytest.approx(whole[0], rel=1e-5)
    for ours, theirs in zip(parts[1], whole[1], strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-4)


def test_a_mean_of_means_would_be_seen(tmp_path, monkeypatch):
    """The usual mistake, planted: every micro-batch divided by its own count."""
    whole = gradients(job_of("text-classification", tmp_path / "whole", batch_size=16))
    forward = step.forward
    monkeypatch.setattr(step, "forward", lambda *args: (lambda loss: type(loss)(loss.total / loss.count, 1 / 4))(forward(*args)))
    parts = gradients(job_of("text-classification", tmp_path / "parts", batch_size=16, micro_batch=5))
    assert any(not torch.allclose(ours, theirs, atol=1e-6, rtol=1e-4) for ours, theirs in zip(parts[1], whole[1], strict=True))


def test_clipping_shortens_what_is_too_long_and_nothing_else():
    by_norm = [(Clip(by="none"), [3.0, -4.0]), (Clip(limit=10.0), [3.0, -4.0]), (Clip(limit=2.0), [1.2, -1.6])]
    by_value = [(Clip(by="value", limit=10.0), [3.0, -4.0]), (Clip(by="value", limit=3.5), [3.0, -3.5])]
    for clip, expected in by_norm + by_value:
        gradient = torch.tensor([6.0, -8.0])
        norm = step.scale_and_clip([gradient], 2, clip)
        assert float(norm) == pytest.approx(5.0)
        assert gradient.tolist() == pytest.approx(expected, rel=1e-4)


def test_padding_can_be_had_to_compare_and_changes_nothing(tmp_path):
    path = tiny.write("text-classification", tmp_path)
    trees = [tiny.recipe("text-classification", path, batch_size=16, packed=packed) for packed in (True, False)]
    jobs = [job_of_prepared(prepare(recipe_of({**tree, "model": {"architecture": "transformer"}}))) for tree in trees]
    assert [job.model.packs for job in jobs] == [True, False]
    packed, padded = map(gradients, jobs)
    assert packed[0] == pytest.approx(padded[0], rel=1e-5)
    for ours, theirs in zip(packed[1], padded[1], strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-3)
