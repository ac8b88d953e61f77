"""One picture <-> an array of a fixed size. Pictures are uint8 [H, W, C] with C = 1 (grey) or 3 (RGB)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_FLOOR = 5e-4  # added to a variance, so that a constant patch is not blown up
_LUMA = np.array([299, 587, 114], dtype=np.uint32)  # ITU-R BT.601, in thousandths
_KEPT = 2 / 3  # a picture that would lose more than the rest of this to cropping is padded instead


def to_channels(image_HWC: np.ndarray, channels: int) -> np.ndarray:
    """Grey repeated to RGB, or RGB weighed to grey: uint8 [H, W, channels]."""
    if image_HWC.shape[2] == channels:
        return image_HWC
    if channels == 3:
        return np.repeat(image_HWC[:, :, :1], 3, axis=2)
    return ((image_HWC[:, :, :3] @ _LUMA + 500) // 1000).astype(np.uint8)[:, :, None]


def is_coloured(image_HWC: np.ndarray, tolerance: int = 8) -> bool:
    """Whether some pixel's channels differ by more than `tolerance`; a grey scan saved as RGB is not coloured."""
    if image_HWC.shape[2] == 1:
        return False
    wide_HWC = image_HWC.astype(np.int16)
    return bool((wide_HWC.max(axis=2) - wide_HWC.min(axis=2)).max() > tolerance)


def kept(height: int, width: int, to_height: int, to_width: int) -> float:
    """Share of a picture's area that is left when it is scaled to cover the wanted size and cropped."""
    ratio = (width * to_height) / (height * to_width)
    return min(ratio, 1 / ratio)


def fit_to(image_HWC: np.ndarray, height: int, width: int) -> np.ndarray:
    """The picture at exactly `height` x `width`, never distorted: uint8 [height, width, C].

    It is scaled to cover the wanted shape and its middle cut out; where that would lose more than a third of it (a strip, a
    panorama), it is scaled to fit inside and padded with the median of its own border. A picture of the right size is unchanged.
    """
    had_height, had_width, channels = image_HWC.shape
    if (had_height, had_width) == (height, width):
        return image_HWC
    scales = (height / had_height, width / had_width)
    cover = kept(had_height, had_width, height, width) >= _KEPT
    scale = max(scales) if cover else min(scales)
    scaled_HWC = _resize(image_HWC, max(1, round(had_height * scale)), max(1, round(had_width * scale)))
    top, left = (height - scaled_HWC.shape[0]) // 2, (width - scaled_HWC.shape[1]) // 2
    if cover:
        return np.ascontiguousarray(scaled_HWC[max(0, -top) :, max(0, -left) :][:height, :width])
    canvas_HWC = np.empty((height, width, channels), dtype=np.uint8)
    canvas_HWC[:] = np.median(_border(scaled_HWC), axis=0).astype(np.uint8)
    canvas_HWC[top : top + scaled_HWC.shape[0], left : left + scaled_HWC.shape[1]] = scaled_HWC
    return canvas_HWC


def whitening(pictures: Sequence[np.ndarray], mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
    """Filters that turn 2 x 2 patches of normalised pictures into uncorrelated values of deviation 1: float32 [P, P], P = 4 C.

    Lines are eigenvectors of the patches' covariance in the order C, y, x, over the root of their eigenvalue (PCA whitening). Pictures of
    one line of pixels have no patches.
    """
    total_PP, count = np.zeros((4 * len(mean), 4 * len(mean))), 0
    for image_HWC in pictures:
        if min(image_HWC.shape[:2]) < 2:
            continue
        x_HWC = (image_HWC / np.float32(255) - np.float32(mean)) / np.float32(std)
        patches = np.lib.stride_tricks.sliding_window_view(x_HWC, (2, 2), axis=(0, 1)).reshape(-1, 4 * len(mean))
        total_PP += patches.T @ patches
        count += len(patches)
    values_P, vectors_PP = np.linalg.eigh(total_PP / max(1, count))
    return (vectors_PP / np.sqrt(values_P.clip(0) + _FLOOR)).T[::-1].astype(np.float32)


def _border(image_HWC: np.ndarray) -> np.ndarray:
    """All pixels of the four edges: [N, C]."""
    edges = (image_HWC[0], image_HWC[-1], image_HWC[:, 0], image_HWC[:, -1])
    return np.concatenate([edge.reshape(-1, image_HWC.shape[2]) for edge in edges])


def _resize(image_HWC: np.ndarray, height: int, width: int) -> np.ndarray:
    """Antialiased bilinear scaling by Pillow."""
    from PIL import Image

    plain = image_HWC[:, :, 0] if image_HWC.shape[2] == 1 else image_HWC
    scaled = np.asarray(Image.fromarray(np.ascontiguousarray(plain)).resize((width, height), Image.Resampling.BILINEAR))
    return scaled.reshape(height, width, image_HWC.shape[2])
