"""The mel filters, against librosa's."""

from __future__ import annotations

import librosa
import numpy as np
import pytest

from wheeltapper.models.sound.mel import hz_to_mel, mel_matrix, mel_to_hz, triangles


@pytest.mark.parametrize(
    ("rate", "n_fft", "bands", "low", "high"),
    [
        (16000, 1024, 32, 0.0, 8000.0),
        (16000, 1024, 128, 20.0, 8000.0),
        (20000, 1024, 64, 0.0, 10000.0),
        (48000, 2048, 40, 50.0, 500.0),
    ],
)
def test_filters_are_librosas(rate: int, n_fft: int, bands: int, low: float, high: float) -> None:
    # when the filters of a front end are made
    ours = mel_matrix(rate, n_fft, bands, low, high)
    # then they are those of librosa, to its float32
    theirs = librosa.filters.mel(sr=rate, n_fft=n_fft, n_mels=bands, fmin=low, fmax=high, dtype=np.float64)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)


def test_scale_goes_there_and_back() -> None:
    # given frequencies on both sides of the bend
    hz = np.array([0.0, 20.0, 999.0, 1000.0, 1001.0, 22050.0])
    # then mels and back gives them again, and mels are librosa's
    np.testing.assert_allclose(mel_to_hz(hz_to_mel(hz)), hz, rtol=1e-12)
    np.testing.assert_allclose(hz_to_mel(hz), librosa.hz_to_mel(hz), rtol=1e-12)


def test_triangles_have_area_one() -> None:
    # given points at uneven distances, and places close together
    places = np.linspace(0, 10, 20001)
    # when triangles are laid over the points
    found = triangles(np.array([1.0, 2.0, 4.0, 8.0]), places)
    # then each has area 1 and peaks at its middle point
    np.testing.assert_allclose(found.sum(axis=1) * (places[1] - places[0]), 1.0, rtol=1e-3)
    np.testing.assert_allclose(places[found.argmax(axis=1)], [2.0, 4.0], atol=1e-3)
