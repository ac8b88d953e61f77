"""Other people's networks, cut between any two layers: prefix and then tail answer as the whole, and a head is known by what it reads."""

import pytest
import torch

from danlu.nn.model import Model
from danlu.nn.pretrained import Pretrained

SMALL = {"vocab_size": 200, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64, "pad_token_id": 0}
DISTIL = {"vocab_size": 200, "dim": 32, "n_layers": 3, "n_heads": 2, "hidden_dim": 64, "pad_token_id": 0}
KINDS = {
    "bert": (SMALL, True),
    "roberta": (SMALL, True),
    "electra": (SMALL, True),
    "distilbert": (DISTIL, True),
    "deberta-v2": (SMALL, True),
    "modernbert": (SMALL | {"classifier_pooling": "mean", "eos_token_id": 1, "bos_token_id": 2, "cls_token_id": 2, "sep_token_id": 1}, False),
}


@pytest.fixture(scope="module", params=KINDS)
def case(request: pytest.FixtureRequest) -> tuple[Model, bool]:
    config, first = KINDS[request.param]
    torch.manual_seed(0)
    model = Pretrained(3, "base", config={"model_type": request.param, "max_position_embeddings": 64} | config)
    model.settle()
    return model.eval(), first


def test_prefix_and_tail_answer_as_the_whole(case: tuple[Model, bool]) -> None:
    model, batch = case[0], Pretrained.example_batch(5)
    names = set(model.state_dict())
    with torch.inference_mode():
        whole_BC = model(batch)
        for cut in range(1, len(model.stages())):
            inner = model.run(batch, 0, cut)
            lengths_B = model.inner_lengths(batch, cut)
            if lengths_B is not None:
                inner = inner.masked_fill((torch.arange(inner.shape[1])[None, :] >= lengths_B[:, None])[:, :, None], 0)
            torch.testing.assert_close(model.run(batch | {"inner": inner}, cut), whole_BC, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(model(batch), whole_BC, atol=0, rtol=0)
    assert set(model.state_dict()) == names


def test_what_the_head_reads_is_found_out(case: tuple[Model, bool]) -> None:
    model, first = case
    head = len(model.stages()) - 1
    batch = Pretrained.example_batch(5)
    with torch.inference_mode():
        assert (model.run(batch, 0, head).shape[1] == 1) == first
    assert (model.inner_lengths(batch, head) is None) == first


def test_the_tail_learns_alone(case: tuple[Model, bool]) -> None:
    model, batch = case[0], Pretrained.example_batch(5)
    stages = model.stages()
    cut = len(stages) - 2
    with torch.no_grad():
        inner = model.run(batch, 0, cut)
    model.zero_grad()
    model.run(batch | {"inner": inner}, cut).square().sum().backward()
    assert all(p.grad is None for stage in stages[:cut] for p in stage.parameters())
    assert any(p.grad is not None for p in stages[cut].parameters())
