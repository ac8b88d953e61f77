"""Every architecture can be divided over processes: here over one, which takes the same way through gathering and scattering as over many."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import get_args

import pytest
import torch
import torch.distributed as dist

from danlu.core.recipe import Optimizer
from danlu.core.recipe_file import make_recipe
from danlu.nn.model import Model, is_vector
from danlu.nn.pretrained import Pretrained
from danlu.nn.table import ARCHITECTURES, architecture
from danlu.train.optim import make_optimizer, optimizer_tensors, restore_optimizer, shrink
from danlu.train.prepare import fill
from danlu.train.shard import WHOLE, like, shard, step_by_tensor, whole
from danlu.train.step import scale_and_clip

SAME = ("resnet34", "resnet50")  # resnet18 with more layers
CASES = {name: architecture(kind, name) for kind, names in ARCHITECTURES.items() for name in names if name not in SAME} | {"pretrained": Pretrained}
ROWS = 3
DECIDED = {"train.optimizer.lr": 0.01, "train.optimizer.weight_decay": 0.01}


@pytest.fixture(scope="module", autouse=True)
def world() -> Iterator[None]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def gradients(model: Model, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    logits_BC = model.train()({name: tensor.clone() for name, tensor in batch.items()})
    torch.nn.functional.cross_entropy(logits_BC, torch.arange(ROWS), reduction="sum").backward()
    return {name: whole(p.grad) for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", CASES)
def test_a_divided_model_learns_as_the_whole_one(name: str) -> None:
    cls = CASES[name]
    torch.manual_seed(0)
    model = cls(5, "small", **cls.example_facts())
    batch = model.example_batch(ROWS)
    before = copy.deepcopy(model.state_dict())
    divided = cls(5, "small", **cls.example_facts())
    divided.load_state_dict(before)
    for p in divided.parameters():
        p.is_scale = True
    shard(divided, torch.device("cpu"), 1, lambda model: model(batch))
    assert all(hasattr(p, "full_tensor") for p in divided.parameters())
    assert all(is_vector(p) for p in divided.parameters())
    results = []
    for one in (model, divided):
        torch.manual_seed(1)
        results.append(gradients(one, batch))
    assert results[0].keys() == results[1].keys()
    for key, gradient in results[0].items():
        torch.testing.assert_close(results[1][key], gradient, msg=key)
    divided.load_state_dict({key: like(before[key], own) for key, own in divided.state_dict().items()})
    for key, own in divided.state_dict().items():
        assert torch.equal(whole(own), before[key]), key


@pytest.mark.parametrize("name", [name for name in get_args(get_args(Optimizer.model_fields["name"].annotation)[0]) if name not in WHOLE])
def test_optimizers_step_alike(name: str) -> None:
    spec = fill(make_recipe({"task": "image-classification", "data": {"path": "x"}, "train": {"optimizer": {"name": name, "l1": 0.1}}}), DECIDED)
    cls = CASES["mlp"]
    models = [cls(5, "small", **cls.example_facts()) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    batch = models[0].example_batch(ROWS)
    shard(models[1], torch.device("cpu"), 1, lambda model: model(batch))
    optimizers = [make_optimizer(model, spec.train.optimizer) for model in models]
    step_by_tensor(optimizers[1])
    for step in range(3):
        for model, optimizer in zip(models, optimizers, strict=True):
            torch.manual_seed(step)
            optimizer.zero_grad()
            gradients(model, batch)
            norm = scale_and_clip([p.grad for p in model.parameters()], ROWS, spec.train.clip)
            assert norm > 0
            optimizer.step()
            shrink(optimizer, spec.train.optimizer.l1)
    for ours, theirs in zip(models[1].parameters(), models[0].parameters(), strict=True):
        torch.testing.assert_close(whole(ours), theirs)
    stored = {key: whole(tensor) for key, tensor in optimizer_tensors(optimizers[1]).items()}
    restore_optimizer(optimizers[1], stored)
    for key, tensor in optimizer_tensors(optimizers[1]).items():
        assert torch.equal(whole(tensor), stored[key])
