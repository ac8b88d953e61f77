"""Adapting any model: only the chosen parameters move, and what a bundle keeps answers as the adapted model does."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from danlu.core.errors import InputError
from danlu.core.recipe import Adapt
from danlu.nn import adapt
from danlu.nn.added import Added
from danlu.nn.audio.conformer import Conformer
from danlu.nn.image.cnn import CNN
from danlu.nn.model import Model
from danlu.nn.pretrained import Pretrained
from danlu.nn.text.recurrent import LSTM
from danlu.nn.text.transformer import Transformer

MODELS = [Transformer, Pretrained, CNN, Conformer, LSTM]
PARTS = {"full": {}, "head": {}, "last": {"layers": 1}, "named": {"names": ["*bias*"]}}
MERGED = {"lora": {"rank": 2}, "dora": {"rank": 2}, "ia3": {}}
KEPT = {"bottleneck": {"width": 3}, "prompt": {"tokens": 3}, "prefix": {"tokens": 3}}
ADDED = MERGED | KEPT
WITHOUT = {LSTM: set(ADDED), CNN: {"prompt", "prefix"}, Conformer: {"prompt", "prefix"}}  # methods that make no sense
POSSIBLE = [(cls, method) for cls in MODELS for method in ADDED if method not in WITHOUT.get(cls, ())]


def made(cls: type[Model]) -> Model:
    torch.manual_seed(0)
    return cls(3, "small", **cls.example_facts())


def applied(cls: type[Model], method: str) -> tuple[Model, Adapt]:
    model, spec = made(cls), Adapt(method=method, **(PARTS | ADDED).get(method, {}))
    adapt.apply(model, spec, cls.example_batch(2))
    return model, spec


def moved(model: Model, spec: Adapt, batch: dict, epoch: int = 0) -> set[str]:
    """Names of what two steps of training change."""
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optimizer = torch.optim.AdamW(model.parameter_groups(1e-2, 0.1), lr=1e-2)
    adapt.begin_epoch(model, spec, epoch)
    for _ in range(2):
        optimizer.zero_grad()
        model(batch).square().sum().backward()
        optimizer.step()
    return {name for name, tensor in model.state_dict().items() if not torch.equal(before[name], tensor)}


def names_of(model: Model, stages: list) -> set[str]:
    wanted = {id(t) for stage in stages for t in [*stage.parameters(), *stage.buffers()]}
    return {name for name, tensor in [*model.named_parameters(), *model.named_buffers()] if id(tensor) in wanted}


def added_names(model: Model) -> set[str]:
    return names_of(model, [m for m in model.modules() if isinstance(m, Added)]) | {
        name for name in model.state_dict() if ".lora_" in name or ".ia3_l." in name
    }


@pytest.mark.parametrize("cls", MODELS)
@pytest.mark.parametrize("method", PARTS)
def test_only_the_chosen_parts_move(cls, method):
    model, spec = applied(cls, method)
    allowed = {"full": model.stages(), "head": [], "last": model.stages()[-2:], "named": []}[method]
    biases = {name for name in model.state_dict() if method == "named" and "bias" in name}
    changed, head = moved(model, spec, cls.example_batch(4)), names_of(model, [model.head])
    assert changed & head
    assert changed <= head | names_of(model, allowed) | biases
    if method != "head":
        assert changed - head


@pytest.mark.parametrize(("cls", "method"), POSSIBLE)
def test_only_what_was_added_and_the_head_move(cls, method):
    model, spec = applied(cls, method)
    added = added_names(model)
    changed = moved(model, spec, cls.example_batch(4))
    assert changed <= added | names_of(model, [model.head])
    assert changed & names_of(model, [model.head])
    without = {name for name, p in model.named_parameters() if name in added and p.grad is None}
    assert added
    assert not without


@pytest.mark.parametrize(("cls", "method"), [(cls, method) for cls, methods in WITHOUT.items() for method in sorted(methods)])
def test_a_method_that_makes_no_sense_is_said_in_one_sentence(cls, method):
    with pytest.raises(InputError) as caught:
        applied(cls, method)
    assert caught.value.code in ("adapt.no-layers", "adapt.no-attention")
    assert method in caught.value.sentence()


@pytest.mark.parametrize(("cls", "method"), [pair for pair in POSSIBLE if pair[1] not in ("prompt", "prefix")])
def test_at_first_the_answer_is_that_of_the_weights(cls, method):
    batch = cls.example_batch(4)
    torch.testing.assert_close(applied(cls, method)[0].eval()(batch), made(cls).eval()(batch), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("cls", "method"), POSSIBLE)
def test_what_a_bundle_keeps_answers_as_the_adapted_model(cls, method, tmp_path):
    model, spec = applied(cls, method)
    batch = cls.example_batch(4)
    moved(model, spec, batch)
    after = model.eval()(batch).detach()
    weights = {name: tensor.detach().clone() for name, tensor in adapt.merged(model).items()}
    adapt.adapter_files(model, tmp_path)
    assert torch.equal(model(batch), after)  # merging left the model as it was
    alone = made(cls)
    assert set(weights) == set(alone.weights())
    before = alone.eval()(batch)
    if method in KEPT:
        adapt.rebuild(alone, json.loads(json.dumps(model.adapter)))
        weights |= adapt.stored(alone, load_file(tmp_path / adapt.FILE))
    alone.load_weights(weights)
    with torch.no_grad():
        torch.testing.assert_close(alone.eval()(batch), after, atol=1e-5, rtol=1e-5)
        assert not torch.allclose(before, after, atol=1e-3)


@pytest.mark.parametrize("method", ["lora", "dora", "ia3", "prompt"])
def test_peft_reads_the_adapter(method, tmp_path):
    from peft import PeftModel

    model, spec = applied(Pretrained, method)
    batch = Pretrained.example_batch(4)
    mask_BT = (torch.arange(4) < batch["ids_lengths"][:, None]).long()
    moved(model, spec, batch)
    adapt.adapter_files(model, tmp_path)
    theirs = PeftModel.from_pretrained(made(Pretrained).net, tmp_path / "adapter").eval()
    with torch.no_grad():
        logits_BC = theirs(input_ids=batch["ids"], attention_mask=mask_BT).logits
        torch.testing.assert_close(logits_BC, model.eval()(batch), atol=1e-5, rtol=1e-5)


def test_without_adapters_nothing_is_written_and_merged_is_plain(tmp_path: Path):
    model = made(Transformer)
    adapt.adapter_files(model, tmp_path)
    assert not list(tmp_path.iterdir())
    assert set(adapt.merged(model)) == set(model.weights())


@pytest.mark.parametrize("cls", MODELS)
def test_gradual_opens_one_more_stage_from_the_top(cls):
    model, spec = made(cls), Adapt(method="gradual", every=2)
    adapt.apply(model, spec, cls.example_batch(2))
    optimized = {id(p) for group in model.parameter_groups(1e-2, 0.1) for p in group["params"]}
    assert optimized == {id(p) for p in model.parameters()}  # all of them, from the start
    stages = model.stages()
    for epoch in (5, 0, 2):  # a pure function of the epoch, whatever was before
        open_now = stages[-1 - epoch // 2 :]
        changed = moved(model, spec, cls.example_batch(4), epoch)
        assert changed <= names_of(model, open_now)
        assert changed & names_of(model, [model.head])
    adapt.begin_epoch(model, spec, 1000)
    assert all(p.requires_grad for p in model.parameters())


def test_names_are_patterns_of_whole_names_or_of_their_ends():
    def trained(*names: str) -> set[str]:
        model = made(Pretrained)
        adapt.apply(model, Adapt(method="named", names=list(names)), Pretrained.example_batch(2))
        return {name for name, p in model.named_parameters() if p.requires_grad} - names_of(model, [model.head])

    layer = trained("encoder.layer.1")
    assert layer == trained("bert.encoder.layer.1") == trained("layer.1.*")
    assert layer
    assert all(name.startswith("net.bert.encoder.layer.1.") for name in layer)
    assert trained("encoder.layer.?.attention") > trained("encoder.layer.1.attention")
    with pytest.raises(InputError) as caught:
        trained("encoder.layer.1", "encoder.layers.1")
    assert caught.value.code == "adapt.no-name"
    assert "encoder.layer.1" in caught.value.hint


def test_scales_and_vectors_are_not_decayed():
    for method in ("ia3", "prompt", "prefix"):
        model, _ = applied(Pretrained, method)
        decayed = {id(p) for group in model.parameter_groups(1e-2, 0.1) if group["weight_decay"] for p in group["params"]}
        assert decayed
        assert not {name for name, p in model.named_parameters() if id(p) in decayed} & added_names(model)


def test_frozen_stages_answer_without_dropout():
    model, batch = made(Pretrained), Pretrained.example_batch(3)
    adapt.apply(model, Adapt(method="head"), batch)
    model.train()
    adapt.frozen_eval(model)
    body = [model.net.bert.embeddings, *model.net.bert.encoder.layer]
    assert not any(module.training for stage in body for module in stage.modules())
    assert model.net.classifier.training
    full = made(Pretrained).train()
    adapt.frozen_eval(full)
    assert all(module.training for module in full.modules())
    assert model(batch).shape == (3, 3)
