"""Changing whole batches of pictures while training. Every draw is a function of (seed, epoch, row), so a row is changed the same way
whatever batch it is in, and a resumed run changes it as the uninterrupted one would. The draws of every second epoch are those of the
epoch before, moved by half their range: a picture is mirrored in exactly one of the two (Jordan 2024, arXiv 2404.00498, section 3.6).

Shapes: B batch, C channels, H height, W width. Values are 0..255, uint8 or float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from danlu.core.randomness import uniforms


def augment_images(image_BCHW: Tensor, rows_B: Tensor, steps: Sequence[str], seed: int, epoch: int) -> Tensor:
    """The pictures after the named steps, in that order: a new tensor of the same shape, uint8 or float32. Unknown step: KeyError."""
    rows = rows_B.cpu().numpy()
    for name in steps:
        step, count = STEPS[name]
        draws_BK = torch.from_numpy(uniforms(seed, epoch // 2, rows, count, salt=name)).to(image_BCHW.device)
        draws_BK = (draws_BK + 0.5) % 1 if epoch % 2 else draws_BK
        image_BCHW = step(image_BCHW, draws_BK)
    return image_BCHW


def flip(image_BCHW: Tensor, draws_BK: Tensor) -> Tensor:
    """Half of the pictures mirrored left to right."""
    return torch.where((draws_BK[:, 0] < 0.5).view(-1, 1, 1, 1), image_BCHW.flip(-1), image_BCHW)


def shift(image_BCHW: Tensor, draws_BK: Tensor) -> Tensor:
    """Moved by up to an eighth of each side in whole pixels; what was outside is the reflection of what is inside."""
    batch, channels, height, width = image_BCHW.shape
    y_BH = _reflected(draws_BK[:, 0], height)
    x_BW = _reflected(draws_BK[:, 1], width)
    moved_BCHW = image_BCHW.gather(2, y_BH.view(batch, 1, height, 1).expand(-1, channels, -1, width))
    return moved_BCHW.gather(3, x_BW.view(batch, 1, 1, width).expand(-1, channels, height, -1))


def _reflected(draw_B: Tensor, side: int) -> Tensor:
    """For each picture the source index of every pixel along one side: int64 [B, side]."""
    most = side // 8
    offset_B = (draw_B * (2 * most + 1)).long().clamp(max=2 * most) - most
    index_BS = (torch.arange(side, device=draw_B.device) + offset_B[:, None]).abs()
    return torch.where(index_BS >= side, 2 * (side - 1) - index_BS, index_BS)


def affine(image_BCHW: Tensor, draws_BK: Tensor) -> Tensor:
    """Rotated by up to 12 degrees, scaled by 0.88 to 1.14, sheared by up to 0.12 and moved by up to 8%, in one bilinear sampling."""
    batch, _, height, width = image_BCHW.shape
    signed_BK = draws_BK * 2 - 1
    angle_B = signed_BK[:, 0] * math.radians(12)
    zoom_BY, shear_B = torch.exp(signed_BK[:, 1:3] * 0.13), signed_BK[:, 3] * 0.12
    cos_B, sin_B = torch.cos(angle_B), torch.sin(angle_B)
    y_1H1 = torch.linspace(-1, 1, height, device=image_BCHW.device).view(1, height, 1) * height
    x_11W = torch.linspace(-1, 1, width, device=image_BCHW.device).view(1, 1, width) * width
    column = lambda value_B: value_B.view(batch, 1, 1)  # noqa: E731
    x_BHW = (column(cos_B) * x_11W + column(shear_B - sin_B) * y_1H1) * column(zoom_BY[:, 1]) / width + column(signed_BK[:, 4]) * 0.16
    y_BHW = (column(sin_B) * x_11W + column(cos_B) * y_1H1) * column(zoom_BY[:, 0]) / height + column(signed_BK[:, 5]) * 0.16
    grid_BHWY = torch.stack([x_BHW, y_BHW], dim=3)
    return F.grid_sample(image_BCHW.float(), grid_BHWY, mode="bilinear", padding_mode="border", align_corners=True)


def erase(image_BCHW: Tensor, draws_BK: Tensor) -> Tensor:
    """In half of the pictures a rectangle, a sixth to a third of each side, is filled with the picture's mean (DeVries, Taylor 2017)."""
    batch, _, height, width = image_BCHW.shape
    column = lambda value_B: value_B.view(batch, 1, 1, 1)  # noqa: E731
    y_H1 = torch.arange(height, device=image_BCHW.device).view(height, 1)
    x_W = torch.arange(width, device=image_BCHW.device)
    inside_Y = (y_H1 - column(draws_BK[:, 1] * height)).abs() < column((1 + draws_BK[:, 3]) * height / 12)
    inside_X = (x_W - column(draws_BK[:, 2] * width)).abs() < column((1 + draws_BK[:, 4]) * width / 12)
    mean_BC11 = image_BCHW.float().mean(dim=(2, 3), keepdim=True).to(image_BCHW.dtype)
    return torch.where(inside_Y & inside_X & column(draws_BK[:, 0] < 0.5), mean_BC11, image_BCHW)


def colour(image_BCHW: Tensor, draws_BK: Tensor) -> Tensor:
    """Brightness, contrast and saturation each changed by up to a fifth; grey pictures have no saturation."""
    x_BCHW = image_BCHW.float()
    bright_B111, contrast_B111, saturate_B111 = (0.8 + 0.4 * draws_BK).view(-1, 3, 1, 1, 1).unbind(1)
    mean_B111 = x_BCHW.mean(dim=(1, 2, 3), keepdim=True)
    x_BCHW = (x_BCHW - mean_B111) * contrast_B111 + mean_B111 * bright_B111
    if x_BCHW.shape[1] == 3:
        grey_B1HW = x_BCHW.mean(dim=1, keepdim=True)
        x_BCHW = (x_BCHW - grey_B1HW) * saturate_B111 + grey_B1HW
    return x_BCHW.clamp(0, 255)


STEPS: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], int]] = {
    "flip": (flip, 1),
    "shift": (shift, 2),
    "affine": (affine, 6),
    "erase": (erase, 5),
    "colour": (colour, 3),
}
"""Each step by its name in a recipe, with the number of draws that it takes for a picture."""
