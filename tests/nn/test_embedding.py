"""A large table's gradient, written row by row, is torch's own."""

import copy

import pytest
import torch
from torch import nn

from danlu.nn.embedding import Embedding, replace_embeddings


def tables(padding_idx: int | None = 0) -> tuple[nn.Sequential, nn.Sequential]:
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Embedding(40_000, 32, padding_idx=padding_idx), nn.Linear(32, 3))
    ours = copy.deepcopy(plain)
    replace_embeddings(ours)
    assert type(ours[0]) is Embedding
    return plain, ours


@pytest.mark.parametrize("padding_idx", [0, None])
def test_three_steps_end_in_the_same_weights(padding_idx):
    pair = tables(padding_idx)
    optimizers = [torch.optim.AdamW(model.parameters(), lr=0.01, fused=True) for model in pair]
    for step in range(3):
        ids = torch.randint(0, 50 * (step + 1), (2, 5, 7), generator=torch.Generator().manual_seed(step))
        for model, optimizer in zip(pair, optimizers, strict=True):
            optimizer.zero_grad(set_to_none=True)
            for part in ids:  # two micro-batches
                model(part).square().sum().backward()
            optimizer.step()
        torch.testing.assert_close(pair[1][0].weight.grad, pair[0][0].weight.grad)
    torch.testing.assert_close(pair[1][0].weight, pair[0][0].weight)


def test_the_gradient_stays_in_one_place():
    _, ours = tables()
    places = set()
    for _ in range(3):
        ours.zero_grad(set_to_none=True)
        ours(torch.randint(0, 40_000, (4, 9))).sum().backward()
        places.add(ours[0].weight.grad.data_ptr())
    assert len(places) == 1


def test_a_frozen_table_and_a_small_one_are_left_to_torch():
    _, ours = tables()
    ours[0].weight.requires_grad_(False)
    ours(torch.tensor([[1, 2]])).sum().backward()
    assert ours[0].weight.grad is None
    small = nn.Sequential(nn.Embedding(10, 4))
    replace_embeddings(small)
    assert type(small[0]) is nn.Embedding


def test_a_table_that_another_layer_shares_is_left_to_torch():
    tied = nn.Sequential(nn.Embedding(40_000, 32), nn.Linear(32, 40_000, bias=False))
    tied[1].weight = tied[0].weight
    replace_embeddings(tied)
    assert type(tied[0]) is nn.Embedding
