"""Sound architectures, their front end and the augmentation of waveforms."""

import numpy as np
import pytest
import torch

from danlu.fields import audio
from danlu.nn.audio.cnn import CNN
from danlu.nn.audio.conformer import Conformer, rotated
from danlu.nn.augment_audio import augment, masks, warp
from danlu.nn.model import transplant


@pytest.fixture(params=[CNN, Conformer])
def architecture(request):
    return request.param


def facts(**changes):
    return CNN.example_facts() | changes


def test_front_end_equals_the_numpy_formula():
    batch = CNN.example_batch(2)
    for kind, size in (("log-mel", 64), ("mfcc", 40)):
        mean, deviation = np.linspace(-9, -7, size), np.linspace(1, 2, size)
        front = CNN(3, **facts(features=kind, mean=mean.tolist(), deviation=deviation.tolist())).front
        wave = batch["audio"][1].numpy() / np.float32(32767)
        wanted = (audio.features(wave, 16_000, 256, 64, kind) - mean) / deviation
        assert np.allclose(front(batch)[1].numpy(), wanted, atol=1e-3)
        assert torch.allclose(front({"audio": batch["audio"].float() / 32767}), front(batch), atol=1e-4)


def test_front_end_keeps_full_precision_under_autocast():
    front, batch = CNN(3, **facts()).front, CNN.example_batch(2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(front(batch), front(batch | {}))
        assert front(batch).dtype == torch.float32


def test_masks_cover_what_they_say():
    front, batch = CNN(3, **facts()).front, CNN.example_batch(1)
    stretch = torch.tensor([[[[0.0, 0.5], [0.0, 0.0]], [[0.75, 1.0], [0.0, 0.0]]]])
    masked = front(batch | {"spec_masks": stretch})[0]
    plain = front(batch)[0]
    assert (masked[:31] == 0).all()
    assert (masked[:, 48:] == 0).all()
    assert torch.equal(masked[32:, :48], plain[32:, :48])


def test_learns_and_every_parameter_takes_part(architecture):
    torch.manual_seed(0)
    model = architecture(2, **facts())
    model(architecture.example_batch(2)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    held = [id(p) for stage in model.stages() for p in stage.parameters()]
    assert sorted(held) == sorted(id(p) for p in model.parameters())


def test_a_body_moves_to_other_labels(architecture):
    donor, body = architecture(8, **facts()), architecture(3, **facts(mean=[0.0] * 64))
    names = transplant(body, donor.weights())
    assert not [name for name in names if name.startswith("head_layer")]
    assert torch.equal(body.front.mean, donor.front.mean)
    batch = architecture.example_batch(2)
    body.eval(), donor.eval()
    seen = [stage(x) for x in [body.front(batch)] for stage in body.body[:1]]
    assert torch.equal(seen[0], donor.body[0](donor.front(batch)))


def test_very_short_sounds_pass(architecture):
    model = architecture(2, **facts(rate=8000, samples=200, hop=128)).eval()
    assert model({"audio": torch.zeros(3, 200, dtype=torch.int16)}).shape == (3, 2)


def test_pitch_is_not_lost_by_pooling(architecture):
    """A steady line in the spectrum, moved by whole strides of the convolutions, gives another answer even before any training."""
    torch.manual_seed(0)
    model = architecture(2, **facts()).eval()
    features_BFM = torch.zeros(3, 63, 64)
    features_BFM[1, :, 16] = features_BFM[2, :, 40] = 5
    x = features_BFM
    for stage in model.stages()[1:]:
        x = stage(x)
    silence, low, high = x
    assert (low - high).norm() > 0.3 * (low - silence).norm()


def test_rotation_depends_on_distance_only():
    q, k = torch.randn(2, 1, 1, 1, 8)
    q_all, k_all = rotated(q.expand(1, 1, 10, 8)), rotated(k.expand(1, 1, 10, 8))
    products = q_all[0, 0] @ k_all[0, 0].T
    assert torch.allclose(products[0, 3], products[5, 8], atol=1e-4)
    assert not torch.allclose(products[0, 3], products[0, 4], atol=1e-3)


def test_warp_moves_and_resamples():
    wave = torch.zeros(1, 101)
    wave[0, 50] = 1
    assert warp(wave, torch.ones(1), torch.tensor([10.0])).argmax() == 60
    pair = torch.zeros(1, 101)
    pair[0, [30, 70]] = 1
    fast = warp(pair, torch.tensor([2.0]), torch.zeros(1))[0]
    assert fast.nonzero()[:, 0].tolist() == [40, 60]


def test_each_row_changes_alone_and_repeatably():
    batch, rows = CNN.example_batch(4)["audio"], np.array([7, 3, 9, 4])
    steps = ("speed", "shift", "gain", "noise", "spec")
    whole = augment(batch, rows, 1, 2, 16_000, steps)
    part = augment(batch[[2]], rows[[2]], 1, 2, 16_000, steps)
    for name in ("audio", "spec_masks"):
        assert torch.equal(whole[name][2], part[name][0])
        assert not torch.equal(augment(batch, rows, 1, 3, 16_000, steps)[name], whole[name])
        assert not torch.equal(augment(batch, rows, 2, 2, 16_000, steps)[name], whole[name])


def test_steps_are_chosen_one_by_one():
    batch, rows = CNN.example_batch(32)["audio"], np.arange(32)
    plain = batch.float() / 32767
    assert torch.equal(augment(batch, rows, 0, 0, 16_000, ())["audio"], plain)
    for step in ("speed", "gain", "noise"):
        same = (augment(batch, rows, 0, 0, 16_000, (step,))["audio"] == plain).all(dim=1)
        assert 4 < same.sum() < 28
    noisy = augment(batch, rows, 0, 0, 16_000, ("noise",))["audio"] - plain
    ratio = 10 * torch.log10(plain.square().mean(1) / noisy.square().mean(1).clamp(min=1e-12))
    assert ratio.min() > 4.5
    assert ratio[ratio < 60].max() < 35.5


def test_masks_stay_inside():
    drawn = masks(torch.rand(100, 8))
    assert drawn.shape == (100, 2, 2, 2)
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    assert (drawn[..., 1] >= drawn[..., 0]).all()
