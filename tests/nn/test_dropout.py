"""Dropout by bits: the share it says, the mean it keeps, the same zeros in the gradient, everything from torch's seed."""

import pytest
import torch
from torch import nn

from danlu.nn.dropout import Dropout, dropout, replace_dropout


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_share_of_zeros_and_mean(dtype, p):
    torch.manual_seed(0)
    x = torch.ones(1001, 499, dtype=dtype)
    y = dropout(x, p, training=True)
    share = float((y == 0).float().mean())
    assert abs(share - p) < 5 * (p * (1 - p) / x.numel()) ** 0.5
    assert torch.allclose(y[y != 0].float(), torch.tensor(1 / (1 - p)), rtol=0.01)
    assert y.dtype == dtype


def test_gradient_passes_where_values_passed():
    torch.manual_seed(0)
    x = torch.randn(64, 33, requires_grad=True)
    y = dropout(x, 0.3, training=True)
    y.sum().backward()
    assert torch.equal(x.grad == 0, y == 0)
    kept = x.grad[x.grad != 0]
    assert torch.equal(kept, kept[:1].expand_as(kept))
    assert torch.allclose(y, x * x.grad)


def test_torchs_seed_decides_everything():
    x = torch.randn(7, 5)  # 35 values: not a whole number of draws

    def drawn(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return torch.stack([dropout(x, 0.5, training=True), dropout(x, 0.5, training=True)])

    assert torch.equal(drawn(3), drawn(3))
    assert not torch.equal(drawn(3), drawn(4))
    first, second = drawn(3)
    assert not torch.equal(first, second)


def test_neighbours_rows_and_columns_are_independent():
    torch.manual_seed(0)
    zeros_NM = (dropout(torch.ones(400, 400), 0.5, training=True) == 0).double() - 0.5
    bound = 5 * 0.25 / zeros_NM.numel() ** 0.5
    for shift in [(0, 1), (0, 2), (0, 3), (0, 4), (1, 0), (1, 1)]:
        assert abs(float((zeros_NM * zeros_NM.roll(shift, (0, 1))).mean())) < bound


def test_evaluation_and_zero_chance_change_nothing():
    x = torch.randn(3, 4)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0).train()(x) is x
    assert torch.equal(dropout(x, 1.0, training=True), torch.zeros(3, 4))
    assert dropout(torch.empty(0, 4), 0.5, training=True).shape == (0, 4)
    columns = torch.randn(6, 4).t()  # not contiguous
    torch.manual_seed(0)
    kept = dropout(columns, 0.25, training=True)
    assert torch.allclose(kept[kept != 0], (columns / 0.75)[kept != 0], rtol=1e-3)


def test_replaces_another_librarys():
    model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Dropout(0.25), nn.Dropout2d(0.1)))
    replace_dropout(model)
    assert type(model[1][0]) is Dropout
    assert model[1][0].p == 0.25
    assert type(model[1][1]) is nn.Dropout2d
