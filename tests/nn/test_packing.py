"""Rows laid end to end answer and learn as padded rows do; a model that would not is padded, and says so."""

import pytest
import torch

from danlu.core.errors import InputError
from danlu.core.recipe import Adapt
from danlu.nn import adapt
from danlu.nn.added import Added
from danlu.nn.dropout import draw, keep_bits
from danlu.nn.packing import Rows, attention
from danlu.nn.pretrained import Pretrained
from danlu.nn.text.transformer import Transformer

FAMILIES = {  # settings of tiny networks of other families, by transformers' name
    "bert": {"intermediate_size": 64},
    "roberta": {"intermediate_size": 64, "pad_token_id": 1},
    "electra": {"intermediate_size": 64, "embedding_size": 16},
    "distilbert": {"dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 2},
    "mpnet": {"intermediate_size": 64},
    "deberta-v2": {"intermediate_size": 64, "relative_attention": True},
    "albert": {"intermediate_size": 64, "embedding_size": 16},
    "modernbert": {"intermediate_size": 64, "pad_token_id": 0},
    "qwen2": {"intermediate_size": 64, "num_key_value_heads": 1, "pad_token_id": 0},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2, "pad_token_id": 0},
}
PACKED = ("bert", "roberta", "electra", "distilbert")
SHAPE = {"vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 64}


def batch_of(lengths: list[int]) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    lengths_B = torch.tensor(lengths)
    ids_BT = torch.randint(2, 50, (len(lengths), max(lengths)), generator=generator)
    return {"ids": ids_BT * (torch.arange(max(lengths)) < lengths_B[:, None]), "ids_lengths": lengths_B}


def learned(model: torch.nn.Module, batch: dict[str, torch.Tensor], packs: bool) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Logits and gradients; without dropout, so that both ways can be compared."""
    model.packs = packs
    model.eval().zero_grad()
    logits_BC = model(batch)
    logits_BC.square().sum().backward()
    return logits_BC.detach(), [p.grad.clone() for p in model.parameters() if p.grad is not None]


def both_ways(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> None:
    padded, packed = learned(model, batch, False), learned(model, batch, True)
    torch.testing.assert_close(packed[0], padded[0], atol=1e-5, rtol=1e-4)
    assert len(packed[1]) == len(padded[1])
    for ours, theirs in zip(packed[1], padded[1], strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("lengths", [[3, 9, 1, 9, 4], [5, 5, 5], [1], [2, 1, 1]])
def test_our_transformer_answers_and_learns_as_with_padding(lengths):
    torch.manual_seed(0)
    both_ways(Transformer(3, "small", vocabulary=50, max_length=32), batch_of(lengths))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_packed_rightly_or_padded(family):
    torch.manual_seed(0)
    model = Pretrained(3, "base", config={"model_type": family, **SHAPE, **FAMILIES[family]})
    notes = model.settle()
    assert notes in ([], [{"key": "pretrained.padded"}])
    if family in PACKED:
        assert notes == []
    both_ways(model, batch_of([3, 9, 1, 9, 4]))


ADAPTED = [Adapt(method="prompt", tokens=3), Adapt(method="prefix", tokens=3), Adapt(method="bottleneck", width=4)]


def stirred(model, spec, batch):
    """Adapted, with values that a bottleneck no longer passes on as they came."""
    adapt.apply(model, spec, batch)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, Added):
                for p in module.parameters():
                    p.add_(torch.randn_like(p) * 0.1)
    return model


@pytest.mark.parametrize("spec", ADAPTED, ids=lambda spec: spec.method)
def test_what_stands_before_or_between_layers_is_packed_too(spec):
    torch.manual_seed(0)
    batch = batch_of([3, 9, 1, 9, 4])
    both_ways(stirred(Transformer(3, "small", vocabulary=50, max_length=9), spec, batch), batch)
    for family in PACKED:
        model = Pretrained(3, "base", config={"model_type": family, **SHAPE, **FAMILIES[family]})
        both_ways(stirred(model, spec, batch), batch)
        assert model.settle() == []


@pytest.mark.parametrize("family", FAMILIES)
def test_a_row_with_a_prefix_or_prompt_does_not_see_the_others(family):
    """For every family: the method answers for a row as for a batch, or says that it cannot."""
    torch.manual_seed(0)
    batch = batch_of([3, 9, 1, 9, 4])
    for spec in ADAPTED[:2]:
        model = Pretrained(3, "base", config={"model_type": family, **SHAPE, **FAMILIES[family]})
        model.settle()
        if spec.method == "prefix" and not model.padding_free:
            with pytest.raises(InputError):
                stirred(model, spec, batch)
            continue
        stirred(model, spec, batch).eval()
        with torch.no_grad():
            many = model(batch)
            for row, length in enumerate(batch["ids_lengths"].tolist()):
                alone = {"ids": batch["ids"][row : row + 1, :length], "ids_lengths": batch["ids_lengths"][row : row + 1]}
                torch.testing.assert_close(model(alone)[0], many[row], atol=1e-5, rtol=1e-4)


def test_causal_attention_sees_the_prefix_and_the_past():
    q, k, v = torch.randn(3, 7, 2, 4).unbind(0)
    prefix_2HPK = torch.randn(2, 2, 3, 4)
    rows = Rows(torch.tensor([5, 2]), 5)
    seen = rows.attend(q, k, v, causal=True, prefix_2HPK=prefix_2HPK)
    for last in (0, 1):  # the shorter row stands first: its piece `last` sees the prefix and what stands before it
        keys, values = (torch.cat([p, x[: last + 1].transpose(0, 1)], dim=1) for p, x in zip(prefix_2HPK, (k, v), strict=True))
        shares = torch.softmax((q[last][:, None] @ keys.transpose(1, 2)) / 2, dim=-1)
        torch.testing.assert_close(seen[last], (shares @ values)[:, 0])


def test_a_network_whose_attention_differs_is_padded(monkeypatch):
    """A fault planted in the packed way: the probe finds it, the answer stays right."""
    torch.manual_seed(0)
    model = Pretrained(3, "base", config={"model_type": "bert", **SHAPE, "intermediate_size": 64})
    batch = batch_of([3, 9, 4])
    right = learned(model, batch, False)[0]
    with monkeypatch.context() as fault:
        fault.setattr(Rows, "attend", lambda self, q, k, v, *rest: v)
        assert model.settle() == [{"key": "pretrained.padded"}]
    torch.testing.assert_close(learned(model, batch, True)[0], right)


def test_nothing_is_computed_for_padding():
    model = Pretrained(3, "base", config={"model_type": "bert", **SHAPE, "intermediate_size": 64}).eval()
    seen = []
    model.net.bert.encoder.layer[0].intermediate.register_forward_pre_hook(lambda module, args: seen.append(args[0].shape))
    with torch.no_grad():
        model(batch_of([3, 9, 1]))
    assert seen == [torch.Size([1, 13, 32])]


def test_pack_and_unpack_are_inverse_and_rows_do_not_see_each_other():
    rows = Rows(torch.tensor([2, 4, 1, 4]), 4)
    x_BTD = torch.arange(32.0).view(4, 4, 2) + 1
    back = rows.unpack(rows.pack(x_BTD))
    real_BT = torch.arange(4) < torch.tensor([2, 4, 1, 4])[:, None]
    assert torch.equal(back[real_BT], x_BTD[real_BT])
    assert not back[~real_BT].any()
    x_NHK = torch.randn(11, 2, 4)
    other = x_NHK.clone()
    other[:1] = 100  # the shortest row stands first
    seen, changed = rows.attend(x_NHK, x_NHK, x_NHK), rows.attend(other, other, other)
    assert torch.equal(seen[1:], changed[1:])


def test_attention_with_dropout_is_attention_whose_shares_are_dropped():
    """Against the plain way written out, with the same mask: answer and gradients."""
    q, k, v = (x.requires_grad_() for x in torch.randn(3, 2, 2, 5, 4).unbind(0))
    torch.manual_seed(3)
    seed = draw()
    plain = torch.softmax(q @ k.transpose(-1, -2) / 2, dim=-1)
    bits, scale = keep_bits(plain, 0.5, seed)
    expected = (plain * (bits != 0) * scale) @ v
    torch.manual_seed(3)
    found = attention(q, k, v, None, None, 0.5, False)
    torch.testing.assert_close(found, expected)
    weights = torch.randn_like(found)
    for ours, theirs in zip(torch.autograd.grad(found, (q, k, v), weights), torch.autograd.grad(expected, (q, k, v), weights), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_attention_with_dropout_under_autocast_stays_in_bf16():
    q, k, v = (x.requires_grad_() for x in torch.randn(3, 2, 2, 5, 4, dtype=torch.bfloat16).unbind(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = attention(q, k, v, None, None, 0.1, False)
    found.float().sum().backward()
    assert found.dtype == q.grad.dtype == v.grad.dtype == torch.bfloat16


def test_the_last_layer_computes_only_what_is_read(monkeypatch):
    """BERT's head reads the first piece: the mixing part of the last layer sees one piece of each row, and gradients stay the same."""
    torch.manual_seed(0)
    model = Pretrained(3, "base", config={"model_type": "bert", **SHAPE, "intermediate_size": 64})
    model.settle()
    seen = []
    for layer in model.net.base_model.encoder.layer:
        layer.intermediate.register_forward_hook(lambda module, args, output: seen.append(args[0].shape[1]))
    model.eval()(batch_of([3, 9, 1, 9, 4]))
    assert seen == [26, 5]
    both_ways(model, batch_of([3, 9, 1, 9, 4]))


def test_a_head_that_reads_more_gets_every_piece():
    """A head that takes the mean of all places, padding too, gets what it always got: neither packed nor narrowed."""
    torch.manual_seed(0)
    model = Pretrained(3, "base", config={"model_type": "bert", **SHAPE, "intermediate_size": 64})
    model.net.bert.pooler.forward = lambda hidden: torch.tanh(model.net.bert.pooler.dense(hidden.mean(1)))
    model.settle()
    seen = []
    model.net.base_model.encoder.layer[-1].intermediate.register_forward_hook(lambda module, args, output: seen.append(args[0].shape[1]))
    model.eval()(batch_of([3, 9, 1]))
    assert seen == [9]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_kept_share_is_told_by_its_sign(dtype):
    """With dropout, forward and backward agree with the same attention written out with the same zeros."""
    torch.manual_seed(0)
    q, k, v = (torch.randn(3, 2, 7, 8, dtype=dtype, requires_grad=True) for _ in range(3))
    grad = torch.randn(3, 2, 7, 8, dtype=dtype)
    torch.manual_seed(5)
    ours = attention(q, k, v, None, None, 0.3, False)
    found = torch.autograd.grad(ours, (q, k, v), grad)
    torch.manual_seed(5)
    bits, scale = keep_bits(torch.empty(3, 2, 7, 7, dtype=dtype), 0.3, draw())
    plain = [x.detach().double().requires_grad_() for x in (q, k, v)]
    shares = torch.softmax(plain[0] @ plain[1].transpose(-1, -2) * 8**-0.5, -1)
    wanted = (shares * (bits != 0) * scale) @ plain[2]
    expected = torch.autograd.grad(wanted, plain, grad.double())
    bound = 1e-5 if dtype == torch.float32 else 0.05
    for one, other in zip((ours, *found), (wanted, *expected), strict=True):
        torch.testing.assert_close(one.double(), other, atol=bound, rtol=bound)
