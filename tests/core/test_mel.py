"""The mel scale and its filters."""

import numpy as np

from danlu.core import mel


def test_scale_is_slaneys_and_invertible():
    assert np.allclose(mel.to_mel([0, 1000, 6400]), [0, 15, 42])
    hertz = np.linspace(0, 8000, 50)
    assert np.allclose(mel.to_hertz(mel.to_mel(hertz)), hertz)


def test_every_filter_sees_the_spectrum_and_neighbours_add_up_to_one():
    for rate, hop in ((16_000, 256), (8_000, 128), (11_025, 176)):
        bank_KM = mel.filterbank(rate, hop, 64)
        assert bank_KM.shape == (mel.fft_size(hop) // 2 + 1, 64)
        assert (bank_KM.sum(axis=0) > 0).all()
        hertz = np.fft.rfftfreq(mel.fft_size(hop), 1 / rate)
        centres = mel.to_hertz(np.linspace(mel.to_mel(20), mel.to_mel(rate / 2), 66))[1:-1]
        inner = (hertz > centres[0]) & (hertz < centres[-1])
        assert np.allclose(bank_KM.sum(axis=1)[inner], 1, atol=1e-5)


def test_a_full_scale_sine_peaks_at_power_one():
    hop = 256
    wave = np.sin(2 * np.pi * 1000 * np.arange(2 * hop) / 16_000)
    power = np.abs(np.fft.rfft(wave * mel.window(hop), n=mel.fft_size(hop))) ** 2
    assert abs(power.max() - 1) < 0.02


def test_cosines_are_orthonormal():
    matrix_MC = mel.cosines(40, 40)
    assert np.allclose(matrix_MC.T @ matrix_MC, np.eye(40), atol=1e-5)
