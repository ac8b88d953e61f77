"""Augmentation: a pure function of (seed, epoch, row), and each step does what its name says."""

import pytest
import torch

from danlu.nn.augment import STEPS, augment_images
from danlu.tasks.image_classification import STEPS as NAMES

EVERY = list(STEPS)


def pictures(n: int = 16, channels: int = 3, height: int = 12, width: int = 20) -> torch.Tensor:
    return torch.randint(0, 256, (n, channels, height, width), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def test_the_task_knows_every_step_by_name() -> None:
    assert sorted(NAMES) == sorted(STEPS)


@pytest.mark.parametrize("steps", [*([name] for name in EVERY), EVERY], ids="+".join)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_row_changes_the_same_whatever_batch_it_is_in(steps: list[str], channels: int) -> None:
    image_BCHW, rows_B = pictures(channels=channels), torch.arange(16) * 7
    whole_BCHW = augment_images(image_BCHW, rows_B, steps, 3, 5)
    assert whole_BCHW.shape == image_BCHW.shape
    order_B = torch.tensor([9, 2, 14])
    assert torch.equal(augment_images(image_BCHW[order_B], rows_B[order_B], steps, 3, 5), whole_BCHW[order_B])
    for row in range(16):
        alone_BCHW = augment_images(image_BCHW[row : row + 1], rows_B[row : row + 1], steps, 3, 5)
        assert torch.equal(alone_BCHW[0], whole_BCHW[row])


@pytest.mark.parametrize("name", EVERY)
def test_another_epoch_or_seed_changes_it_otherwise_and_the_input_stays(name: str) -> None:
    image_BCHW, rows_B = pictures(), torch.arange(16)
    before_BCHW = image_BCHW.clone()
    first_BCHW = augment_images(image_BCHW, rows_B, [name], 0, 0)
    assert not torch.equal(first_BCHW, augment_images(image_BCHW, rows_B, [name], 0, 1))
    assert not torch.equal(first_BCHW, augment_images(image_BCHW, rows_B, [name], 1, 0))
    assert torch.equal(image_BCHW, before_BCHW)
    assert first_BCHW.min() >= 0
    assert first_BCHW.max() <= 255


def test_no_steps_no_change() -> None:
    image_BCHW = pictures()
    assert torch.equal(augment_images(image_BCHW, torch.arange(16), [], 0, 0), image_BCHW)


def test_flip_mirrors_about_half() -> None:
    image_BCHW = pictures(400, 1, 2, 5)
    made_BCHW = augment_images(image_BCHW, torch.arange(400), ["flip"], 0, 0)
    mirrored_B = (made_BCHW == image_BCHW.flip(-1)).flatten(1).all(1)
    same_B = (made_BCHW == image_BCHW).flatten(1).all(1)
    assert bool((mirrored_B | same_B).all())
    assert 150 < int(mirrored_B.sum()) < 250


def test_every_picture_is_mirrored_in_one_of_two_epochs() -> None:
    image_BCHW, rows_B = pictures(100, 1, 2, 5), torch.arange(100)
    for epoch in (0, 6):
        first_B, second_B = (
            (augment_images(image_BCHW, rows_B, ["flip"], 0, e) == image_BCHW).flatten(1).all(1) for e in (epoch, epoch + 1)
        )
        assert bool((first_B ^ second_B).all())


def test_shift_moves_whole_pixels_and_reflects() -> None:
    image_BCHW = torch.arange(16 * 16, dtype=torch.float32).view(1, 1, 16, 16).expand(300, -1, -1, -1)
    made_BCHW = augment_images(image_BCHW, torch.arange(300), ["shift"], 0, 0)
    offsets = {(int(made[0, 8, 8]) // 16 - 8, int(made[0, 8, 8]) % 16 - 8) for made in made_BCHW}
    assert offsets == {(y, x) for y in range(-2, 3) for x in range(-2, 3)}
    moved = next(made for made in made_BCHW if int(made[0, 8, 8]) == 8 * 16 + 10)
    assert torch.equal(moved[0, 0, -3:], torch.tensor([15.0, 14.0, 13.0]))


def test_affine_keeps_the_middle_in_the_picture_and_a_plain_one_plain() -> None:
    plain_BCHW = torch.full((50, 1, 28, 28), 130, dtype=torch.uint8)
    torch.testing.assert_close(augment_images(plain_BCHW, torch.arange(50), ["affine"], 0, 0), plain_BCHW.float(), atol=1e-3, rtol=0)
    dot_BCHW = torch.zeros(50, 1, 28, 28)
    dot_BCHW[:, :, 12:16, 12:16] = 255
    made_BCHW = augment_images(dot_BCHW, torch.arange(50), ["affine"], 0, 0)
    middle_BCHW = made_BCHW[:, :, 8:20, 8:20]
    assert bool((middle_BCHW.sum((1, 2, 3)) > 0.95 * made_BCHW.sum((1, 2, 3))).all())
    assert bool((made_BCHW.sum((1, 2, 3)) > 0.7 * dot_BCHW.sum((1, 2, 3))).all())


def test_erase_fills_a_rectangle_with_the_mean_in_about_half() -> None:
    image_BCHW = pictures(200, 3, 24, 24).float()
    made_BCHW = augment_images(image_BCHW, torch.arange(200), ["erase"], 0, 0)
    changed_BHW = (made_BCHW != image_BCHW).any(1)
    share_B = changed_BHW.flatten(1).float().mean(1)
    assert 70 < int((share_B > 0).sum()) < 130
    assert float(share_B.max()) < 0.15
    row = int(share_B.argmax())
    assert made_BCHW[row, :, changed_BHW[row]].std(1).max() < 1e-4


def test_colour_leaves_hue_of_grey_alone() -> None:
    grey_BCHW = pictures(20, 1).expand(-1, 3, -1, -1)
    made_BCHW = augment_images(grey_BCHW, torch.arange(20), ["colour"], 0, 0)
    torch.testing.assert_close(made_BCHW[:, 0], made_BCHW[:, 2], atol=1e-3, rtol=0)
