"""Pictures to a fixed size and number of channels."""

import numpy as np
import pytest

from danlu.fields.image import fit_to, is_coloured, to_channels


def gradient(height: int, width: int, channels: int = 3) -> np.ndarray:
    x_HW = np.broadcast_to(np.linspace(0, 255, width), (height, width))
    return np.repeat(x_HW[:, :, None], channels, axis=2).astype(np.uint8)


def test_grey_to_colour_and_back_is_the_same_picture() -> None:
    grey_HWC = gradient(5, 7, 1)
    assert np.array_equal(to_channels(to_channels(grey_HWC, 3), 1), grey_HWC)


def test_green_weighs_more_than_blue() -> None:
    blue, green = np.zeros((1, 1, 3), np.uint8), np.zeros((1, 1, 3), np.uint8)
    blue[..., 2], green[..., 1] = 255, 255
    assert to_channels(green, 1)[0, 0, 0] == 150
    assert to_channels(blue, 1)[0, 0, 0] == 29


def test_grey_saved_as_colour_is_not_coloured() -> None:
    picture_HWC = gradient(8, 8)
    assert not is_coloured(picture_HWC)
    picture_HWC[3, 3] = (250, 10, 10)
    assert is_coloured(picture_HWC)
    assert not is_coloured(picture_HWC[:, :, :1])


def test_right_size_is_untouched() -> None:
    picture_HWC = gradient(9, 6)
    assert fit_to(picture_HWC, 9, 6) is picture_HWC


@pytest.mark.parametrize("shape", [(48, 64), (64, 48), (500, 20), (20, 500), (1, 1), (3, 200), (33, 31)])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_shape_becomes_the_wanted_one(shape: tuple[int, int], channels: int) -> None:
    made_HWC = fit_to(gradient(*shape, channels), 24, 32)
    assert made_HWC.shape == (24, 32, channels)
    assert made_HWC.dtype == np.uint8


def test_near_shapes_are_cropped_in_the_middle() -> None:
    picture_HWC = np.full((40, 50, 1), 100, np.uint8)
    picture_HWC[:, :2] = picture_HWC[:, -2:] = 255
    made_HWC = fit_to(picture_HWC, 40, 40)
    assert (made_HWC == 100).all()


def test_far_shapes_are_kept_whole_and_padded_with_the_border() -> None:
    strip_HWC = np.full((10, 100, 3), 200, np.uint8)
    strip_HWC[3:7, 45:55] = 0
    made_HWC = fit_to(strip_HWC, 50, 50)
    assert (made_HWC[0] == 200).all()
    assert (made_HWC[-1] == 200).all()
    assert made_HWC.min() < 100
