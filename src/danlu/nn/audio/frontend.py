"""The first stage of every sound model: waveform -> normalised log-mel or MFCC frames, the same in training and serving.

Shapes: B rows, T samples, F frames, W samples of a window, K frequencies, M mel bins or cepstral coefficients.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from danlu.core import mel


class FrontEnd(nn.Module):
    """Power spectrum of Hann windows of two hops, mel bins, logarithm, (MFCC: DCT-II), then per bin (x - mean) / deviation.

    `batch["audio"]` is [B, T], int16 or float in -1..1. Where `batch["spec_masks"]` [B, 2, n, 2] is present (see `nn.augment_audio`),
    its n stretches of time and n of frequency, as (begin, end) shares, are set to the mean. It has no trained parameters.
    """

    def __init__(self, rate: int, hop: int, features: str, mels: int, mean: Sequence[float], deviation: Sequence[float]) -> None:
        super().__init__()
        self.hop, self.fft = hop, mel.fft_size(hop)
        project = mel.projection(features, mels)
        self.register_buffer("window", torch.as_tensor(mel.window(hop)), persistent=False)
        self.register_buffer("bank", torch.as_tensor(mel.filterbank(rate, hop, mels)), persistent=False)
        self.register_buffer("project", None if project is None else torch.as_tensor(project), persistent=False)
        self.register_buffer("mean", torch.as_tensor(mean, dtype=torch.float32))
        self.register_buffer("deviation", torch.as_tensor(deviation, dtype=torch.float32))

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Features [B, F, M] in float32, whatever the precision around."""
        wave_BT = batch["audio"]
        wave_BT = wave_BT.float() if wave_BT.is_floating_point() else wave_BT.float() / 32767
        with torch.autocast(wave_BT.device.type, enabled=False):
            frames_BFW = pad(wave_BT, (self.hop, self.hop)).unfold(-1, 2 * self.hop, self.hop) * self.window
            spectrum_BFK = torch.fft.rfft(frames_BFW, n=self.fft)
            power_BFK = spectrum_BFK.real.square() + spectrum_BFK.imag.square()
            logs_BFM = (power_BFK @ self.bank + mel.FLOOR).log()
            if self.project is not None:
                logs_BFM = logs_BFM @ self.project
            features_BFM = (logs_BFM - self.mean) / self.deviation
        masks = batch.get("spec_masks")
        return features_BFM if masks is None else _masked(features_BFM, masks)


def _masked(features_BFM: Tensor, masks_B2n2: Tensor) -> Tensor:
    """Features with the masked stretches at 0, which is the mean of the training rows."""
    time_BF = _covered(masks_B2n2[:, 0], features_BFM.shape[1])
    bins_BM = _covered(masks_B2n2[:, 1], features_BFM.shape[2])
    return features_BFM.masked_fill(time_BF[:, :, None] | bins_BM[:, None, :], 0)


def _covered(masks_Bn2: Tensor, size: int) -> Tensor:
    """Which of `size` steps lie in any of the stretches: bool [B, size]."""
    share = (torch.arange(size, device=masks_Bn2.device) + 0.5) / size
    return ((share >= masks_Bn2[..., :1]) & (share < masks_Bn2[..., 1:])).any(dim=1)
