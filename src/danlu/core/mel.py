"""The mel scale, shared by whoever turns sound into features: one formula for numpy and for torch.

The scale is Slaney's (Auditory Toolbox, 1998): linear to 1 kHz, logarithmic above. Triangles overlap by half and peak at 1.
"""

from __future__ import annotations

import numpy as np

FLOOR = 1e-9  # power below full scale (-90 dB) at which the logarithm ends: digital silence
_LINEAR = 200.0 / 3  # Hz per mel below 1 kHz
_KNEE = 1000.0 / _LINEAR
_STEP = np.log(6.4) / 27  # log ratio per mel above


def to_mel(hertz: np.ndarray) -> np.ndarray:
    """Frequencies on Slaney's mel scale."""
    hertz = np.asarray(hertz, dtype=np.float64)
    return np.where(hertz < 1000, hertz / _LINEAR, _KNEE + np.log(np.maximum(hertz, 1000) / 1000) / _STEP)


def to_hertz(mel: np.ndarray) -> np.ndarray:
    """The inverse of `to_mel`."""
    mel = np.asarray(mel, dtype=np.float64)
    return np.where(mel < _KNEE, mel * _LINEAR, 1000 * np.exp(_STEP * (np.maximum(mel, _KNEE) - _KNEE)))


def window(hop: int) -> np.ndarray:
    """A periodic Hann window of two hops, scaled so that a full-scale sine peaks at power 1: float32 [2 * hop]."""
    shape = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(2 * hop) / (2 * hop))
    return (2 * shape / shape.sum()).astype(np.float32)


def fft_size(hop: int) -> int:
    """The power of two that holds one window."""
    return 1 << (2 * hop - 1).bit_length()


def filterbank(rate: int, hop: int, mels: int, low: float = 20.0) -> np.ndarray:
    """Weights from power spectrum to mel bins between `low` Hz and half the rate: float32 [fft / 2 + 1, mels]."""
    bins_K = np.fft.rfftfreq(fft_size(hop), 1 / rate)
    edges = to_hertz(np.linspace(to_mel(low), to_mel(rate / 2), mels + 2))
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    rising_KM = (bins_K[:, None] - left) / (centre - left)
    falling_KM = (right - bins_K[:, None]) / (right - centre)
    return np.maximum(0, np.minimum(rising_KM, falling_KM)).astype(np.float32)


def cosines(mels: int, count: int) -> np.ndarray:
    """The orthonormal DCT-II that turns log-mel into `count` cepstral coefficients: float32 [mels, count]."""
    position_M = (np.arange(mels) + 0.5) / mels
    matrix_MC = np.cos(np.pi * position_M[:, None] * np.arange(count)) * np.sqrt(2 / mels)
    matrix_MC[:, 0] /= np.sqrt(2)
    return matrix_MC.astype(np.float32)


def projection(features: str, mels: int) -> np.ndarray | None:
    """What follows the logarithm: nothing for `log-mel`, the first 40 cosines for `mfcc`."""
    return None if features == "log-mel" else cosines(mels, min(mels, 40))
