"""Every optimizer against a plain one, its groups, its state, and that its defaults learn."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from torch import nn

import danlu
from danlu.core.recipe import Model as ModelSpec
from danlu.core.recipe import Optimizer
from danlu.data.dataset import Dataset
from danlu.nn.pretrained import HEAD_RATE, Pretrained
from danlu.nn.table import ARCHITECTURES, architecture
from danlu.tasks.table import build_task, task_class
from danlu.train.muon import hidden_matrices, orthogonal
from danlu.train.optim import make_optimizer, optimizer_tensors, parameter_groups, restore_optimizer, set_rate, shrink

NAMES = list(Optimizer.own)
STEPS = 5


class Plain(nn.Module):
    """A body of one layer and a head, with the groups that every model has."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head = nn.Linear(6, 4), nn.Linear(4, 3)

    def stages(self) -> list[nn.Module]:
        return [self.body, self.head]

    def parameter_groups(self, lr: float, weight_decay: float) -> list[dict[str, Any]]:
        matrices, vectors = [p for p in self.parameters() if p.ndim > 1], [p for p in self.parameters() if p.ndim == 1]
        return [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]


def stepped(model: nn.Module, optimizer: torch.optim.Optimizer, first: int = 0, last: int = STEPS) -> list[torch.Tensor]:
    for step in range(first, last):
        random = torch.Generator().manual_seed(step)
        for p in model.parameters():
            p.grad = torch.randn(p.shape, generator=random)
        optimizer.step()
    return [p.detach().clone() for p in model.parameters()]


def spec(name: str, **settings: Any) -> Optimizer:
    return Optimizer(name=name, lr=0.01, weight_decay=0.1, **settings)


def plain(name: str, w: np.ndarray, gradients: list[np.ndarray], decay: float) -> np.ndarray:
    """Each optimizer as its paper writes it, in float64."""
    lr, m, v = 0.01, np.zeros_like(w), np.zeros_like(w)
    for t, g in enumerate(gradients, 1):
        size = math.sqrt((w * w).mean())
        if name in ("sgd", "adam", "rmsprop", "adagrad"):
            g = g + decay * w
        else:
            w = w - lr * decay * w
        if name == "sgd":
            m = 0.9 * m + g
            w = w - lr * (g + 0.9 * m)
        elif name in ("adam", "adamw"):
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
            w = w - lr * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        elif name == "rmsprop":
            v = 0.99 * v + 0.01 * g * g
            w = w - lr * g / (np.sqrt(v) + 1e-8)
        elif name == "adagrad":
            v = v + g * g
            w = w - lr * g / (np.sqrt(v) + 1e-10)
        elif name == "lion":
            w, m = w - lr * np.sign(0.9 * m + 0.1 * g), 0.99 * m + 0.01 * g
        elif name == "adafactor":
            keep = t**-0.8
            v = (1 - keep) * v + keep * g * g
            if w.ndim == 2:
                rows, columns = (v.mean(axis, keepdims=True) for axis in (1, 0))
                spread = rows @ columns / rows.mean()
            else:
                spread = v
            u = g / np.sqrt(spread)
            rate = max(1e-3, size) * min(lr, t**-0.5)
            w = w - rate * u / max(1.0, math.sqrt((u * u).mean()))
    return w


@pytest.mark.parametrize("name", [name for name in NAMES if name != "muon"])
def test_steps_as_the_paper_says(name: str) -> None:
    model = Plain()
    before = [p.detach().double().numpy().copy() for p in model.parameters()]
    after = stepped(model, make_optimizer(model, spec(name)))
    for i, (w, ours) in enumerate(zip(before, after, strict=True)):
        gradients = []
        for step in range(STEPS):
            random = torch.Generator().manual_seed(step)
            gradients.append([torch.randn(p.shape, generator=random) for p in model.parameters()][i].double().numpy())
        expected = plain(name, w, gradients, 0.1 if w.ndim == 2 else 0.0)
        np.testing.assert_allclose(ours.numpy(), expected, atol=2e-6, rtol=1e-5)


def test_muon_turns_the_body_and_adamw_the_rest() -> None:
    model = Plain()
    other = copy.deepcopy(model)
    after = stepped(model, make_optimizer(model, spec("muon")))
    theirs = torch.optim.Muon([other.body.weight], lr=0.01, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    rest = torch.optim.AdamW(
        [{"params": [other.head.weight], "weight_decay": 0.1}, {"params": [other.body.bias, other.head.bias], "weight_decay": 0.0}], lr=0.01
    )
    for step in range(STEPS):
        random = torch.Generator().manual_seed(step)
        for p in other.parameters():
            p.grad = torch.randn(p.shape, generator=random)
        theirs.step()
        rest.step()
    torch.testing.assert_close(after[0], other.body.weight.detach(), atol=1e-3, rtol=1e-2)  # torch's works in bf16
    for ours, p in zip(after[1:], list(other.parameters())[1:], strict=True):
        torch.testing.assert_close(ours, p.detach())


def test_orthogonal_is_torchs_own_in_its_precision_and_nearly_orthogonal() -> None:
    from torch.optim._muon import _zeropower_via_newtonschulz as theirs

    for shape in ((5, 8), (8, 5), (4, 4)):
        matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        expected = theirs(matrix, (3.4445, -4.7750, 2.0315), 5, 1e-7).float()
        torch.testing.assert_close(orthogonal(matrix, torch.bfloat16), expected, atol=2e-2, rtol=2e-2)
        values = torch.linalg.svdvals(orthogonal(matrix))
        assert 0.5 < float(values.min()) <= float(values.max()) < 1.5


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in ARCHITECTURES.items() for name in names])
def test_muon_never_turns_embeddings_heads_norms_and_biases(kind: str, name: str) -> None:
    cls = architecture(kind, name)
    model = cls(5, cls.sizes[0], **cls.example_facts())
    turned = hidden_matrices(model)
    kept = [p for m in model.modules() if isinstance(m, nn.Embedding | nn.EmbeddingBag | nn.LayerNorm | nn.BatchNorm2d) for p in m.parameters()]
    kept += [*model.head.parameters(), *(p for p in model.parameters() if p.ndim < 2)]
    assert not turned & {id(p) for p in kept}
    bodies = [m.weight for stage in model.stages()[:-1] for m in stage.modules() if isinstance(m, nn.Linear | nn.Conv1d | nn.Conv2d)]
    assert {id(p) for p in bodies} <= turned
    assert bool(turned) == (name != "bag")


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_a_kernel_is_a_matrix_with_a_line_for_each_output(memory: torch.memory_format) -> None:
    class Net(Plain):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Conv2d(3, 4, 3, bias=False).to(memory_format=memory)

    model = Net()
    before = model.body.weight.detach().clone()
    stepped(model, make_optimizer(model, Optimizer(name="muon", lr=0.01, weight_decay=0.0)), last=1)
    random = torch.Generator().manual_seed(0)
    gradient = next(torch.randn(p.shape, generator=random) for p in model.parameters())
    expected = before - 0.01 * 0.2 * math.sqrt(27) * orthogonal(gradient.reshape(4, 27)).view(4, 3, 3, 3)
    torch.testing.assert_close(model.body.weight.detach(), expected, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_saved_and_restored_goes_on_to_the_same_bits(name: str) -> None:
    whole = Plain()
    expected = stepped(whole, make_optimizer(whole, spec(name)))
    first = Plain()
    optimizer = make_optimizer(first, spec(name))
    stepped(first, optimizer, 0, 2)
    tensors = {key: tensor.clone() for key, tensor in optimizer_tensors(optimizer).items()}
    second = Plain()
    second.load_state_dict(first.state_dict())
    fresh = make_optimizer(second, spec(name))
    restore_optimizer(fresh, tensors)
    assert all(torch.equal(tensor, tensors[key]) for key, tensor in optimizer_tensors(fresh).items())
    for ours, wanted in zip(stepped(second, fresh, 2), expected, strict=True):
        assert torch.equal(ours, wanted)


def test_state_of_channels_last_kernels_comes_back_in_their_order() -> None:
    """Fused steps walk through memory: a momentum in another order would be that of other weights."""

    def kernels() -> Plain:
        model = Plain()
        model.body = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
        return model

    torch.manual_seed(0)
    whole = kernels()
    first, second = (copy.deepcopy(whole) for _ in range(2))
    expected = stepped(whole, make_optimizer(whole, spec("adamw")))
    optimizer = make_optimizer(first, spec("adamw"))
    stepped(first, optimizer, 0, 2)
    second.load_state_dict(first.state_dict())
    fresh = make_optimizer(second, spec("adamw"))
    restore_optimizer(fresh, {key: tensor.clone().contiguous() for key, tensor in optimizer_tensors(optimizer).items()})
    for ours, wanted in zip(stepped(second, fresh, 2), expected, strict=True):
        assert torch.equal(ours, wanted)


def test_l1_shrinks_towards_0_and_stays_there() -> None:
    model = Plain()
    optimizer = make_optimizer(model, Optimizer(name="sgd", lr=0.1, weight_decay=0.0, l1=1.0))
    before = [p.detach().clone() for p in model.parameters()]
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    set_rate(optimizer, 0.5)
    shrink(optimizer, 1.0)
    for p, was in zip(model.parameters(), before, strict=True):
        expected = was if p.ndim == 1 else was.sign() * (was.abs() - 0.05).clamp(min=0)
        torch.testing.assert_close(p.detach(), expected)
    assert int((model.body.weight == 0).sum()) > 0


@pytest.mark.parametrize("kind", list(ARCHITECTURES))
def test_lower_layers_learn_more_slowly(kind: str) -> None:
    cls = architecture(kind, "transformer" if kind == "text" else "cnn")
    model = cls(5, "small", **cls.example_facts())
    groups = parameter_groups(model, Optimizer(name="adamw", lr=1.0, weight_decay=0.1, layer_decay=0.5))
    rates = {id(p): group["peak"] for group in groups for p in group["params"]}
    stages = [list(stage.parameters()) for stage in model.stages() if list(stage.parameters())]
    assert set(rates) == {id(p) for p in model.parameters()}
    for depth, stage in enumerate(reversed(stages)):
        assert {rates[id(p)] for p in stage} == {0.5**depth}
    assert {group["weight_decay"] for group in groups for p in group["params"] if p.ndim == 1} == {0.0}


def test_layer_decay_leaves_the_new_heads_rate() -> None:
    model = Pretrained(3, "base", **Pretrained.example_facts())
    groups = parameter_groups(model, Optimizer(name="adamw", lr=1.0, weight_decay=0.1, layer_decay=0.5))
    rates = {id(p): group["peak"] for group in groups for p in group["params"]}
    assert {rates[id(p)] for p in model.head.parameters()} == {HEAD_RATE}
    assert {rates[id(p)] for p in model.stages()[0].parameters()} == {0.5**3}
    assert rates[id(next(model.stages()[-2].parameters()))] == 0.5


@pytest.mark.parametrize("name", NAMES)
def test_left_alone_it_learns(name: str, tmp_path: Any) -> None:
    """Rate and decay that the task leaves to the optimizer are good enough for its tiny rows."""
    task = "image-classification"
    run = danlu.train(tiny.recipe(task, tiny.write(task, tmp_path), epochs=12, optimizer={"name": name}), out=tmp_path / "run", progress=False)
    assert run.metrics["test"]["accuracy"]["value"] >= 0.8


def test_groups_of_a_task_hold_every_trained_weight_once() -> None:
    for name in tiny.ALL:
        cls = task_class(name)
        rows = tiny.rows(name)
        task = build_task(name, {}, ModelSpec(architecture=cls.architecture))
        task.fit(Dataset.of(rows, cls.inputs, cls.target, sides=["train"] * len(rows)).rows(np.arange(len(rows))))
        model = task.build()
        for settings in ({}, {"layer_decay": 0.7}):
            held = [id(p) for group in parameter_groups(model, spec("adamw", **settings)) for p in group["params"]]
            assert sorted(held) == sorted(id(p) for p in model.parameters())
