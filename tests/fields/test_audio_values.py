"""One sound to arrays: rate, length, features."""

import sys

import numpy as np
import pytest

from danlu.core.errors import InputError
from danlu.core.types import Sound
from danlu.fields import audio


def sine(hertz: float, rate: int, seconds: float = 0.5) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate).astype(np.float32)


def test_resampling_keeps_what_fits_below_half_the_rate_and_removes_the_rest():
    low = audio.resample(Sound(sine(1000, 44_100), 44_100), 16_000)
    high = audio.resample(Sound(sine(12_000, 44_100), 44_100), 16_000)
    assert len(low) == 8000
    assert np.abs(low[500:-500] - sine(1000, 16_000)[500:-500]).max() < 0.01
    assert np.abs(high[500:-500]).max() < 0.01


def test_broken_samples_become_silence_and_no_sound_stays_empty():
    assert audio.resample(Sound(np.array([np.nan, 0.5], dtype=np.float32), 8000), 8000).tolist() == [0, 0.5]
    assert len(audio.resample(Sound(np.zeros(0, dtype=np.float32), 44_100), 8000)) == 0


def test_without_soxr_the_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "soxr", None)
    with pytest.raises(InputError) as error:
        audio.resample(Sound(sine(100, 8000), 8000), 16_000)
    assert error.value.code == "audio.no-soxr"
    assert "danlu[audio]" in error.value.hint
    assert len(audio.resample(Sound(sine(100, 8000), 8000), 8000)) == 4000


def test_short_sounds_are_centred_and_long_ones_keep_their_loudest_stretch():
    assert audio.fit_length(np.array([1.0, 2.0]), 5).tolist() == [0, 1, 2, 0, 0]
    assert audio.fit_length(np.array([0.1, 0, 0, 3, 0, 3, 0.2]), 3).tolist() == [3, 0, 3]
    assert audio.fit_length(np.zeros(7), 3).tolist() == [0, 0, 0]


def test_sixteen_bits_clip_and_are_lossless_for_sixteen_bit_sounds():
    assert audio.to_int16(np.array([2.0, -2.0, 0.5])).tolist() == [32767, -32767, 16384]


def test_features_show_pitch_and_time():
    wave = np.concatenate([np.zeros(8000, np.float32), sine(440, 16_000)])
    frames_FM = audio.features(wave, 16_000, 256, 64)
    assert frames_FM.shape == (1 + 16_000 // 256, 64)
    loud = frames_FM.max(axis=1)
    assert loud[:30].max() < -20 < -1 < loud[34:60].min()
    higher = audio.features(sine(880, 16_000), 16_000, 256, 64)
    assert higher.mean(axis=0).argmax() > frames_FM[40:].mean(axis=0).argmax()


def test_mfcc_undoes_into_log_mel():
    wave = sine(440, 16_000)
    logs_FM = audio.features(wave, 16_000, 256, 40)
    cepstra_FC = audio.features(wave, 16_000, 256, 40, "mfcc")
    from danlu.core.mel import cosines

    assert np.allclose(cepstra_FC @ cosines(40, 40).T, logs_FM, atol=1e-3)


def test_mean_log_mel_is_a_vector_whatever_the_length():
    short = audio.mean_log_mel(Sound(sine(440, 44_100, 0.1), 44_100), 16_000)
    long = audio.mean_log_mel(Sound(sine(440, 8000, 3), 8000), 16_000)
    assert short.shape == long.shape == (80,)
    assert np.isfinite(short).all()
    assert audio.mean_log_mel(Sound(np.zeros(0, np.float32), 8000), 16_000).shape == (80,)
