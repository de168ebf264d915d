"""Spectral bands against their formulas in numpy."""

from __future__ import annotations

import numpy as np
import pytest

from wheeltapper.models.spectral_bands.fit import SpectralBands, fit_spectral_bands
from wheeltapper.models.spectral_bands.settings import SpectralBandSettings
from wheeltapper.schemas.bundle import Graph
from wheeltapper.schemas.errors import InputError

RATE, WINDOW, CHANNELS = 4_000, 4_000, 2
SETTINGS = SpectralBandSettings(n_fft=256, frame_hop=128, bands=12, top=3)


def sounds(count: int, *, seed: int) -> np.ndarray:
    """[count, C * S]: noise whose level differs from window to window."""
    generator = np.random.default_rng(seed)
    gain = 10 ** (generator.normal(-1, 0.05, (count, 1)))
    return (gain * generator.standard_normal((count, CHANNELS * WINDOW))).astype(np.float32)


@pytest.fixture(scope="module")
def fitted() -> SpectralBands:
    return fit_spectral_bands([sounds(20, seed=0)], SETTINGS, sample_rate=RATE, window=WINDOW, channels=CHANNELS)


def test_the_graph_is_the_formula(fitted: SpectralBands) -> None:
    # given windows of which one has a tone in its second channel, from the middle on
    windows = sounds(3, seed=1)
    tone = np.sin(2 * np.pi * 1_000 * np.arange(WINDOW // 2) / RATE)
    windows[1, CHANNELS * WINDOW - WINDOW // 2 :] += tone.astype(np.float32)
    # when the formula is computed by hand
    levels = fitted.frontend.levels(windows.reshape(3, CHANNELS, WINDOW).astype(np.float64))
    z = (levels.mean(axis=2).reshape(3, -1) - fitted.mean) / fitted.spread
    score = np.sort(z**2, axis=1)[:, -3:].mean(axis=1)
    # then the graph says the same
    output = Graph(fitted.onnx_bytes(), device="cpu").run(windows)
    np.testing.assert_allclose(output.score, score, rtol=1e-4)
    assert output.embedding is not None
    np.testing.assert_allclose(output.embedding, z, rtol=1e-3, atol=1e-3)
    assert output.score[1] > 20 * output.score[[0, 2]].max()
    # and blames the band of the tone, in the second channel and the second half
    blamed = output.contribution[1]
    assert blamed.shape == (len(fitted.bands), fitted.time_columns)
    row, column = np.unravel_index(int(blamed.argmax()), blamed.shape)
    channel, low, high = fitted.bands[row]
    assert (channel, low <= 1_000 <= high) == (1, True)
    assert column >= fitted.time_columns // 2


def test_every_time_column_has_frames(fitted: SpectralBands) -> None:
    weights = fitted.column_weights()
    assert weights.shape == (fitted.frames, fitted.time_columns)
    np.testing.assert_allclose(weights.sum(axis=0), 1.0)


def test_settings_and_windows_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="top"):
        SpectralBandSettings(bands=4, top=5)
    with pytest.raises(InputError, match="1 training windows, spectral-bands needs at least 2"):
        fit_spectral_bands([sounds(1, seed=0)], SETTINGS, sample_rate=RATE, window=WINDOW, channels=CHANNELS)
    with pytest.raises(InputError, match="the window has 100 samples"):
        fit_spectral_bands([np.zeros((2, 100), np.float32)], SETTINGS, sample_rate=RATE, window=100, channels=1)
