"""Text architectures: padding and batch mates never change an answer, and each learns."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from danlu.nn.table import ARCHITECTURES, architecture

TOKENS = [name for name in ARCHITECTURES["text"] if name != "bag"]


def small(name: str, vocabulary: int = 50):
    torch.manual_seed(0)
    return architecture("text", name)(2, "small", vocabulary=vocabulary, max_length=32)


@pytest.mark.parametrize("name", TOKENS)
def test_padding_never_changes_an_answer(name):
    model = small(name).eval()
    ids_BT, lengths_B = torch.zeros(2, 12, dtype=torch.long), torch.tensor([1, 5])
    ids_BT[0, 0], ids_BT[1, :5] = 7, torch.tensor([2, 9, 11, 4, 3])
    with torch.no_grad():
        together = model({"ids": ids_BT, "ids_lengths": lengths_B})
        for i, length in enumerate(lengths_B.tolist()):
            alone = model({"ids": ids_BT[i : i + 1, :length], "ids_lengths": lengths_B[i : i + 1]})
            assert torch.allclose(alone[0], together[i], atol=1e-5)
        rubbish = ids_BT.clone()
        rubbish[1, 5:] = 8  # what stands in the padding is never read
        assert torch.allclose(model({"ids": rubbish, "ids_lengths": lengths_B}), together, atol=1e-5)


@pytest.mark.parametrize("name", TOKENS)
def test_learns_which_piece_matters_and_where_texts_differ_in_length(name):
    model = small(name)
    generator = torch.Generator().manual_seed(1)
    ids_BT = torch.randint(10, 50, (96, 12), generator=generator)
    lengths_B = torch.randint(4, 13, (96,), generator=generator)
    target_B = torch.arange(96) % 2
    ids_BT[torch.arange(96), (torch.rand(96, generator=generator) * lengths_B).long()] = 3 + target_B
    ids_BT = ids_BT * (torch.arange(12) < lengths_B[:, None])
    batch = {"ids": ids_BT[:64], "ids_lengths": lengths_B[:64]}
    optimizer = torch.optim.AdamW(model.parameter_groups(5e-3, 0.01), lr=5e-3)
    model.train()
    for _ in range(50):
        optimizer.zero_grad()
        cross_entropy(model(batch), target_B[:64]).backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        right = model({"ids": ids_BT[64:], "ids_lengths": lengths_B[64:]}).argmax(1) == target_B[64:]
    assert right.float().mean() >= 0.85


@pytest.mark.parametrize("name", ARCHITECTURES["text"])
def test_stages_hold_every_parameter_once(name):
    cls = architecture("text", name)
    with torch.device("meta"):
        model = cls(3, "base", **cls.example_facts())
    in_stages = [id(p) for stage in model.stages() for p in stage.parameters()]
    assert sorted(in_stages) == sorted(id(p) for p in model.parameters())
