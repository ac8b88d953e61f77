"""Learning from texts moved for the worse, against the plain computation, one row at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch

from danlu.api import recipe_of
from danlu.core.errors import InputError
from danlu.train import step
from danlu.train.checkpoint import State
from danlu.train.loop import Job
from danlu.train.optim import make_optimizer
from danlu.train.prepare import prepare
from danlu.train.start import starting_model

TEXTS, ROWS, EPSILON = "text-classification", 12, 0.7


def job_of(folder: Path, task: str, model: dict[str, Any], **train: Any) -> Job:
    tree = tiny.recipe(task, tiny.write(task, folder), **train) | {"model": model}
    prepared = prepare(recipe_of(tree))
    made, _ = starting_model(prepared, prepared.recipe)
    optimizer = make_optimizer(made, prepared.recipe.train.optimizer)
    return Job(prepared.recipe, prepared.task, made.eval(), optimizer, prepared.sides, torch.device("cpu"), "fp32", State())


def gradients(job: Job) -> list[torch.Tensor]:
    job.optimizer.zero_grad()
    step.accumulate(job, np.arange(ROWS), step.micro_batch(job))
    return [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in job.model.parameters()]


def plainly(job: Job) -> list[torch.Tensor]:
    """The gradient of J + J_adv, every row a batch of its own and the layer's output caught by hand."""
    parameters, layer = list(job.model.parameters()), job.model.embedding
    own, total = layer.forward, [torch.zeros_like(p) for p in job.model.parameters()]
    for i in range(ROWS):
        shift: torch.Tensor | float = 0.0
        for _ in range(2):
            caught = []

            def lookup(*args: Any, shift: Any = shift, caught: list[Any] = caught, **kwargs: Any) -> torch.Tensor:
                caught.append(own(*args, **kwargs) + shift)
                return caught[0]

            layer.forward = lookup
            loss = step.forward(job, np.array([i])).total
            *found, slope = torch.autograd.grad(loss, [*parameters, caught[0]], allow_unused=True)
            layer.forward = own
            total = [sum_ if part is None else sum_ + part for sum_, part in zip(total, found, strict=True)]
            shift = EPSILON * slope / slope.norm()
    return total


@pytest.mark.parametrize("architecture", ["bag", "gru", "textcnn", "transformer"])
def test_it_is_the_plain_computation_however_rows_are_divided(architecture: str, tmp_path: Path) -> None:
    for number, settings in enumerate(({}, {"micro_batch": 5}, {"checkpoint_activations": True})):
        job = job_of(tmp_path / str(number), TEXTS, {"architecture": architecture}, adversarial={"epsilon": EPSILON}, **settings)
        for parameter in job.model.parameters():  # a head that begins at 0 sends nothing back to the embedding
            parameter.data += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))
        expected, ours = plainly(job), gradients(job)
        for ours_, expected_ in zip(ours, expected, strict=True):
            torch.testing.assert_close(ours_, expected_, atol=1e-5, rtol=1e-3)
        if architecture == "transformer":
            job.model.packs = not number
            job.model.add_prompt(3)
            for ours_, expected_ in zip(gradients(job), plainly(job), strict=True):
                torch.testing.assert_close(ours_, expected_, atol=1e-5, rtol=1e-3)
    without = gradients(job_of(tmp_path / "without", TEXTS, {"architecture": architecture}))
    assert not all(torch.allclose(a, b, atol=1e-3) for a, b in zip(ours, without, strict=True))


def test_a_task_without_texts_refuses(tmp_path: Path) -> None:
    for task in ("image-classification", "audio-classification"):
        with pytest.raises(InputError) as caught:
            job_of(tmp_path / task, task, {}, adversarial={"epsilon": 1.0})
        assert caught.value.code == "train.no-embedding"


def test_dropout_is_set_everywhere_or_refused(tmp_path: Path) -> None:
    for task, architecture in ((TEXTS, "bag"), (TEXTS, "transformer"), ("image-classification", "vit"), ("audio-classification", "cnn")):
        job = job_of(tmp_path / architecture / task, task, {"architecture": architecture, "dropout": 0.25})
        assert {module.p for module in job.model.modules() if isinstance(module, torch.nn.Dropout)} == {0.25}
    with pytest.raises(InputError) as caught:
        job_of(tmp_path / "cnn", "image-classification", {"architecture": "cnn", "dropout": 0.25})
    assert caught.value.code == "train.no-dropout"
