"""Adapting any model: only the chosen parameters move, and merged weights answer as the adapted model does."""

import json

import pytest
import torch
from safetensors.torch import load_file

from danlu.core.errors import InputError
from danlu.core.recipe import Adapt
from danlu.nn import adapt
from danlu.nn.image.cnn import CNN
from danlu.nn.model import Model
from danlu.nn.pretrained import Pretrained
from danlu.nn.text.recurrent import LSTM
from danlu.nn.text.transformer import Transformer

MODELS = [Transformer, Pretrained, CNN, LSTM]
METHODS = ["full", "head", "last", "lora"]


def made(cls: type[Model]) -> Model:
    torch.manual_seed(0)
    return cls(3, "small", **cls.example_facts())


def moved(model: Model, batch: dict) -> set[str]:
    """Names of what two steps of training change."""
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optimizer = torch.optim.AdamW(model.parameter_groups(1e-2, 0.1), lr=1e-2)
    model.train()
    adapt.frozen_eval(model)
    for _ in range(2):
        optimizer.zero_grad()
        model(batch).square().sum().backward()
        optimizer.step()
    return {name for name, tensor in model.state_dict().items() if not torch.equal(before[name], tensor)}


def names_of(model: Model, stages: list) -> set[str]:
    wanted = {id(t) for stage in stages for t in [*stage.parameters(), *stage.buffers()]}
    return {name for name, tensor in [*model.named_parameters(), *model.named_buffers()] if id(tensor) in wanted}


@pytest.mark.parametrize("cls", MODELS)
@pytest.mark.parametrize("method", METHODS)
def test_only_the_chosen_parameters_move(cls, method):
    model = made(cls)
    if method == "lora" and cls is LSTM:
        with pytest.raises(InputError):
            adapt.apply(model, Adapt(method="lora"))
        return
    adapt.apply(model, Adapt(method=method, layers=1, rank=2))
    allowed = {"full": model.stages(), "head": model.stages()[-1:], "last": model.stages()[-2:], "lora": model.stages()[-1:]}[method]
    changed = moved(model, cls.example_batch(4))
    assert changed
    head = names_of(model, [model.head])
    assert changed & head
    if method == "lora":
        assert {name for name in changed if ".lora_" in name}
        changed = {name for name in changed if ".lora_" not in name}
    assert changed <= names_of(model, allowed)


@pytest.mark.parametrize("cls", [Transformer, Pretrained, CNN])
def test_merged_weights_answer_as_the_adapted_model(cls, tmp_path):
    model, batch = made(cls), cls.example_batch(4)
    plain = set(model.weights())
    adapt.apply(model, Adapt(method="lora", rank=2))
    moved(model, batch)
    weights = {name: tensor.detach() for name, tensor in adapt.merged(model).items()}
    assert set(weights) == plain
    alone = made(cls)
    before = alone.eval()(batch)
    alone.load_weights(weights)
    with torch.no_grad():
        assert torch.allclose(alone.eval()(batch), model.eval()(batch), atol=1e-5)
        assert not torch.allclose(before, model(batch), atol=1e-3)
    adapt.adapter_files(model, tmp_path)
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert config["r"] == 2
    stored = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert all(name.startswith("base_model.model.") and "base_layer" not in name for name in stored)


def test_without_adapters_nothing_is_written_and_merged_is_plain(tmp_path):
    model = made(Transformer)
    adapt.adapter_files(model, tmp_path)
    assert not list(tmp_path.iterdir())
    assert set(adapt.merged(model)) == set(model.weights())


def test_frozen_stages_answer_without_dropout():
    model, batch = made(Pretrained), Pretrained.example_batch(3)
    adapt.apply(model, Adapt(method="head"))
    model.train()
    adapt.frozen_eval(model)
    body = [model.net.bert.embeddings, *model.net.bert.encoder.layer]
    assert not any(module.training for stage in body for module in stage.modules())
    assert model.net.classifier.training
    full = made(Pretrained).train()
    adapt.frozen_eval(full)
    assert all(module.training for module in full.modules())
    assert model(batch).shape == (3, 3)
