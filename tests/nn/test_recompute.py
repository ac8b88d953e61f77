"""A model that computes its activations again learns the same, dropout and batch norm included, and keeps less."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from danlu.nn.model import Model
from danlu.nn.pretrained import Pretrained
from danlu.nn.recompute import recompute
from danlu.nn.table import ARCHITECTURES, architecture

CASES = [(kind, name) for kind, names in ARCHITECTURES.items() for name in names if name not in ("resnet18", "resnet34", "resnet50")]


def build(kind: str, name: str) -> Model:
    torch.manual_seed(0)
    if name == "pretrained":
        model = Pretrained(3, "base", **Pretrained.example_facts())
        model.settle()
        return model
    return architecture(kind, name)(3, "small", **architecture(kind, name).example_facts())


def learned(model: Model) -> tuple[list[torch.Tensor], dict[str, torch.Tensor], int]:
    """Gradients after two batches, buffers, and how many numbers were kept for the backward pass."""
    kept = 0

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal kept
        kept += tensor.numel()
        return tensor

    model.train()
    for seed in range(2):
        torch.manual_seed(seed)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = nn.functional.cross_entropy(model(model.example_batch(4)), torch.tensor([0, 1, 2, 0]))
        loss.backward()
    return [p.grad for p in model.parameters()], {name: b.clone() for name, b in model.named_buffers()}, kept


@pytest.mark.parametrize(("kind", "name"), [*CASES, ("text", "pretrained")])
def test_gradients_and_statistics_are_the_same_bits(kind: str, name: str) -> None:
    plain, again = build(kind, name), build(kind, name)
    recompute(again)
    expected, ours = learned(plain), learned(again)
    assert all(torch.equal(a, b) for a, b in zip(ours[0], expected[0], strict=True))
    assert all(torch.equal(buffer, expected[1][key]) for key, buffer in ours[1].items())
    if name not in ("bag", "textcnn"):  # one layer, or a lookup
        assert ours[2] < expected[2]


def test_it_has_teeth(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without putting the generator back, other zeros are drawn, and the comparison sees it."""
    import danlu.nn.recompute as module

    plain, again = build("text", "transformer"), build("text", "transformer")
    checkpoint = module.checkpoint
    monkeypatch.setattr(module, "checkpoint", lambda *args, **kwargs: checkpoint(*args, preserve_rng_state=False, **kwargs))
    recompute(again)
    assert not all(torch.equal(a, b) for a, b in zip(learned(again)[0], learned(plain)[0], strict=True))


def test_evaluation_is_untouched() -> None:
    plain, again = build("image", "cnn"), build("image", "cnn")
    recompute(again)
    with torch.inference_mode():
        batch = plain.example_batch(3)
        assert torch.equal(plain.eval()(batch), again.eval()(batch))
    assert plain.state_dict().keys() == again.state_dict().keys()
