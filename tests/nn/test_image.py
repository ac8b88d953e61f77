"""What is particular to pictures: stems by size, any size at all, normalising inside the model."""

import numpy as np
import pytest
import torch

from danlu.fields.image import whitening
from danlu.nn.image.model import ImageModel
from danlu.nn.image.vit import Patches
from danlu.nn.model import parameter_count
from danlu.nn.table import ARCHITECTURES, architecture


def build(name: str, height: int, width: int, channels: int = 1, classes: int = 3) -> ImageModel:
    torch.manual_seed(0)
    facts = {"channels": channels, "height": height, "width": width, "mean": [0.5] * channels, "std": [0.25] * channels}
    return architecture("image", name)(classes, "small", **facts)


@pytest.mark.parametrize("name", ["mlp", "cnn", "resnet", "vit"])
@pytest.mark.parametrize("shape", [(1, 1), (2, 5), (8, 8), (28, 20), (65, 9), (96, 130)])
def test_every_size_can_be_learned_and_answered(name: str, shape: tuple[int, int]) -> None:
    model = build(name, *shape)
    batch = {"image": torch.randint(0, 256, (2, 1, *shape), dtype=torch.uint8)}
    for training in (True, False):
        logits_BC = model.train(training)(batch)
        assert logits_BC.shape == (2, 3)
        assert logits_BC.isfinite().all()


def test_stem_keeps_small_pictures_and_quarters_large_ones() -> None:
    for name, side in (("cnn", 31), ("resnet", 32)):
        small, large = build(name, 32, 32), build(name, 128, 96)
        assert small.stem(torch.zeros(1, 1, 32, 32)).shape[2:] == (side, side)
        assert large.stem(torch.zeros(1, 1, 128, 96)).shape[2:] == (32, 24)


def test_the_model_normalises_whole_numbers_itself() -> None:
    model = build("mlp", 4, 4)
    x_BCHW = model.normalised({"image": torch.tensor([0, 255, 128, 64], dtype=torch.uint8).view(1, 1, 2, 2)})
    torch.testing.assert_close(x_BCHW.flatten(), (torch.tensor([0, 255, 128, 64]) / 255 - 0.5) / 0.25)
    assert {"mean", "std"} <= model.weights().keys()


def test_published_sizes() -> None:
    counts = {}
    for name in ("resnet18", "resnet34", "resnet50"):
        cls = architecture("image", name)
        with torch.device("meta"):
            counts[name] = parameter_count(cls(10, "small", **cls.example_facts()))
    assert counts["resnet18"] == 11_173_962  # the CIFAR network of 10 classes in the literature: 11.17 M
    assert counts["resnet34"] == 21_282_122  # 21.28 M
    assert counts["resnet50"] == 23_520_842  # 23.52 M


def test_patches_are_few_and_cover_every_pixel() -> None:
    for height, width in ((8, 8), (28, 28), (32, 32), (33, 47), (128, 96), (9, 400)):
        patches = Patches(1, height, width, 4)
        assert patches.place_TD.shape[0] <= 100
        torch.nn.init.ones_(patches.cut.weight)
        torch.nn.init.zeros_(patches.cut.bias)
        torch.nn.init.zeros_(patches.place_TD)
        covered = patches(torch.ones(1, 1, height, width))[..., 0].detach().sum()
        assert float(covered) == height * width


def test_every_picture_architecture_takes_the_same_facts() -> None:
    for name in ARCHITECTURES["image"]:
        assert issubclass(architecture("image", name), ImageModel)


def test_pictures_of_one_line_have_no_patches() -> None:
    line, plain = np.zeros((1, 9, 1), np.uint8), np.arange(64, dtype=np.uint8).reshape(8, 8, 1)
    assert np.isfinite(whitening([line], [0.5], [0.3])).all()
    assert np.array_equal(whitening([line, plain], [0.5], [0.3]), whitening([plain], [0.5], [0.3]))


def test_the_first_layer_begins_by_whitening_patches() -> None:
    random = np.random.Generator(np.random.Philox(1))
    smooth = [random.integers(0, 128, (12, 12, 1)).repeat(2, 0).repeat(2, 1).repeat(3, 2) + random.integers(0, 99, (24, 24, 3)) for _ in range(30)]
    mean, std = [0.4, 0.4, 0.4], [0.2, 0.2, 0.2]
    facts = {"channels": 3, "height": 24, "width": 24, "mean": mean, "std": std}
    model = architecture("image", "cnn")(3, "small", **facts)
    model.start(torch.from_numpy(whitening(smooth, mean, std)))
    batch = {"image": torch.from_numpy(np.stack(smooth)).permute(0, 3, 1, 2)}
    with torch.no_grad():
        values_PN = model.stem[0](model.normalised(batch)).transpose(0, 1).flatten(1)
    assert torch.allclose(values_PN[:12], -values_PN[12:], atol=1e-4)
    correlations_PP = values_PN[:12] @ values_PN[:12].T / values_PN.shape[1]
    torch.testing.assert_close(correlations_PP, torch.eye(12), atol=0.02, rtol=0)
