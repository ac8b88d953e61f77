"""One sound <-> arrays of fixed rate and length, and the cheap features of it. Numpy only; the model's front end repeats it in torch.

Shapes: T samples, F frames, K frequencies, M mel bins or cepstral coefficients.
"""

from __future__ import annotations

import numpy as np

from danlu.core import mel
from danlu.core.errors import InputError
from danlu.core.types import Sound

_FULL = 32767.0  # int16 at full scale


def resample(sound: Sound, rate: int) -> np.ndarray:
    """The samples at `rate`, band-limited (soxr, high quality): float32 [T'].

    InputError where the optional package soxr is missing and the rates differ.
    """
    samples = np.nan_to_num(np.asarray(sound.samples, dtype=np.float32), nan=0.0, posinf=1.0, neginf=-1.0)
    if sound.rate == rate or not len(samples):
        return samples
    try:
        import soxr
    except ImportError as missing:
        raise InputError("audio.no-soxr", have=sound.rate, want=rate) from missing
    return soxr.resample(samples, sound.rate, rate, quality="HQ").astype(np.float32, copy=False)


def fit_length(samples: np.ndarray, length: int) -> np.ndarray:
    """Exactly `length` samples: silence on both sides of a short sound, the loudest stretch of a long one (the earliest of equals)."""
    missing = length - len(samples)
    if missing >= 0:
        left = missing // 2
        return np.pad(samples, (left, missing - left))
    energy = np.concatenate([[0.0], np.cumsum(samples.astype(np.float64) ** 2)])
    start = int(np.argmax(energy[length:] - energy[:-length]))
    return samples[start : start + length]


def to_int16(samples: np.ndarray) -> np.ndarray:
    """Samples in -1..1 as 16-bit integers; what is louder is clipped. `nn.audio.frontend` divides by the same 32767."""
    return np.rint(np.clip(samples, -1, 1) * _FULL).astype(np.int16)


def features(samples: np.ndarray, rate: int, hop: int, mels: int, kind: str = "log-mel") -> np.ndarray:
    """Log-mel or MFCC frames, one per hop: float32 [F, M]. F = 1 + T // hop; frame f is centred on sample f * hop."""
    shape = mel.window(hop)
    padded = np.pad(np.asarray(samples, dtype=np.float32), hop)
    frames_FW = np.lib.stride_tricks.sliding_window_view(padded, 2 * hop)[::hop] * shape
    power_FK = np.abs(np.fft.rfft(frames_FW, n=mel.fft_size(hop))) ** 2
    logs_FM = np.log(power_FK @ mel.filterbank(rate, hop, mels) + mel.FLOOR).astype(np.float32)
    project = mel.projection(kind, mels)
    return logs_FM if project is None else logs_FM @ project


def mean_log_mel(sound: Sound, rate: int, mels: int = 40) -> np.ndarray:
    """A sound in few numbers, for baselines: mean and deviation over time of each log-mel bin, at `rate`: float32 [2 * mels]."""
    hop = round(rate * 0.016)
    frames_FM = features(resample(sound, rate), rate, hop, mels)
    return np.concatenate([frames_FM.mean(axis=0), frames_FM.std(axis=0)])
