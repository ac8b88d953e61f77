"""Changing batches of waveforms while training. What happens to a row is a function of (seed, epoch, row) and of nothing else.

Each step that could hide what a class is about (its pitch, its level, its noise) leaves half of the rows as they are.
Shapes: B rows, T samples.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from danlu.core.randomness import key, uniforms

STEPS = ("speed", "shift", "gain", "noise", "spec")

_SHIFT = 0.1  # seconds, either way
_SPEED = 0.15  # share, either way
_GAIN = 10.0  # dB, either way
_NOISE = (5.0, 35.0)  # dB of signal to noise
_MASKS = 2  # of each kind
_MASK_TIME, _MASK_BINS = 0.2, 0.2  # largest share of one mask


def augment(audio_BT: Tensor, rows_B: np.ndarray, seed: int, epoch: int, rate: int, steps: tuple[str, ...]) -> dict[str, Tensor]:
    """Changed float samples under `audio` and, with `spec`, masks for the front end under `spec_masks` [B, 2, n, 2]."""
    wave_BT = audio_BT.float() if audio_BT.is_floating_point() else audio_BT.float() / 32767

    def draw(step: str, count: int) -> Tensor:
        return torch.from_numpy(uniforms(seed, epoch, rows_B, count, salt=step)).to(wave_BT.device)

    if "speed" in steps or "shift" in steps:
        speed_B = 1 + _SPEED * _sometimes(draw("speed", 2)) if "speed" in steps else torch.ones(len(rows_B), device=wave_BT.device)
        shift_B = _SHIFT * rate * (2 * draw("shift", 1)[:, 0] - 1) if "shift" in steps else torch.zeros_like(speed_B)
        wave_BT = warp(wave_BT, speed_B, shift_B)
    if "gain" in steps:
        wave_BT = wave_BT * 10 ** (_GAIN / 20 * _sometimes(draw("gain", 2)))[:, None]
    if "noise" in steps:
        wave_BT = _noisy(wave_BT, draw("noise", 2), [key(seed, epoch, "white", int(row)) for row in rows_B])
    changed = {"audio": wave_BT}
    if "spec" in steps:
        changed["spec_masks"] = masks(draw("spec", 4 * _MASKS))
    return changed


def _sometimes(draw_B2: Tensor) -> Tensor:
    """-1..1 for every other row, 0 for the rest."""
    return torch.where(draw_B2[:, 0] < 0.5, 2 * draw_B2[:, 1] - 1, 0)


def warp(wave_BT: Tensor, speed_B: Tensor, shift_B: Tensor) -> Tensor:
    """Each row played `speed` times as fast around its middle and `shift` samples later: linear between samples, silence outside."""
    length = wave_BT.shape[1]
    middle = (length - 1) / 2
    at_BT = (torch.arange(length, device=wave_BT.device) - middle - shift_B[:, None]) * speed_B[:, None] + middle
    left_BT = at_BT.floor()
    part_BT = at_BT - left_BT
    inside_BT = (at_BT >= 0) & (at_BT <= length - 1)
    index_BT = left_BT.long().clamp(0, length - 1)
    low, high = wave_BT.gather(1, index_BT), wave_BT.gather(1, (index_BT + 1).clamp(max=length - 1))
    return torch.lerp(low, high, part_BT) * inside_BT


def _noisy(wave_BT: Tensor, draw_B2: Tensor, seeds: list[int]) -> Tensor:
    """White noise, its level relative to the row's own, on every other row."""
    loud_B = draw_B2[:, 0] < 0.5
    decibel_B = _NOISE[0] + (_NOISE[1] - _NOISE[0]) * draw_B2[:, 1]
    level_B = wave_BT.square().mean(dim=1).sqrt() * 10 ** (-decibel_B / 20) * loud_B
    noise_BT = torch.zeros(wave_BT.shape)
    for i in loud_B.nonzero()[:, 0].tolist():
        noise_BT[i].normal_(generator=torch.Generator().manual_seed(seeds[i]))
    return wave_BT + noise_BT.to(wave_BT.device) * level_B[:, None]


def masks(draw_BN: Tensor) -> Tensor:
    """SpecAugment (Park et al. 2019) without the time warp: stretches of time and of bins as (begin, end) shares: [B, 2, n, 2]."""
    place, size = draw_BN.unflatten(1, (2, 2, _MASKS)).unbind(dim=1)
    size = size * torch.tensor([_MASK_TIME, _MASK_BINS], device=size.device)[None, :, None]
    begin = place * (1 - size)
    return torch.stack([begin, begin + size], dim=-1)
