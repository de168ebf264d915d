"""Triangular filters over the mel scale of Slaney's Auditory Toolbox, equal to librosa's without it, and over a logarithmic one.

Below 1 kHz the mel scale is linear, 200/3 Hz a mel; above, 27 mels are a factor of 6.4. Each filter is a triangle over three
neighbouring points, equally spaced in mels, and has the area 1 Hz ('slaney' normalisation).
"""

from __future__ import annotations

import numpy as np

_HZ_PER_MEL = 200.0 / 3.0
_BEND_HZ = 1000.0
_BEND_MEL = _BEND_HZ / _HZ_PER_MEL
_LOG_STEP = np.log(6.4) / 27.0


def hz_to_mel(hz: np.ndarray | float) -> np.ndarray:
    """Frequencies, Hz, to mels."""
    hz = np.asarray(hz, dtype=np.float64)
    above = _BEND_MEL + np.log(np.maximum(hz, _BEND_HZ) / _BEND_HZ) / _LOG_STEP
    return np.where(hz < _BEND_HZ, hz / _HZ_PER_MEL, above)


def mel_to_hz(mel: np.ndarray | float) -> np.ndarray:
    """Mels to frequencies, Hz."""
    mel = np.asarray(mel, dtype=np.float64)
    above = _BEND_HZ * np.exp(_LOG_STEP * (np.maximum(mel, _BEND_MEL) - _BEND_MEL))
    return np.where(mel < _BEND_MEL, mel * _HZ_PER_MEL, above)


def mel_points(bands: int, low_hz: float, high_hz: float) -> np.ndarray:
    """[bands + 2] Hz: where the triangles begin, peak and end; triangle j spans points j to j + 2."""
    return mel_to_hz(np.linspace(hz_to_mel(low_hz), hz_to_mel(high_hz), bands + 2))


def mel_matrix(sample_rate: int, n_fft: int, bands: int, low_hz: float, high_hz: float) -> np.ndarray:
    """[bands, n_fft // 2 + 1] float64: the weight of each DFT bin's power in each band."""
    return triangles(mel_points(bands, low_hz, high_hz), np.fft.rfftfreq(n_fft, 1.0 / sample_rate))


def log_points(bands: int, low_hz: float, high_hz: float) -> np.ndarray:
    """[bands + 2] Hz: the same for triangles that are equally wide on a logarithmic scale."""
    return np.geomspace(low_hz, high_hz, bands + 2)


def log_matrix(sample_rate: int, n_fft: int, bands: int, low_hz: float, high_hz: float) -> np.ndarray:
    """As `mel_matrix`, over `log_points`. No side of a triangle is narrower than the distance between two bins, so that low bands
    take what lies nearest instead of nothing.
    """
    bin_hz = sample_rate / n_fft
    points = log_points(bands, low_hz, high_hz)
    places = np.fft.rfftfreq(n_fft, 1.0 / sample_rate)
    left = np.maximum(points[1:-1] - points[:-2], bin_hz)[:, None]
    right = np.maximum(points[2:] - points[1:-1], bin_hz)[:, None]
    away = places[None, :] - points[1:-1, None]
    return np.maximum(0.0, np.minimum(1 + away / left, 1 - away / right)) * 2.0 / (left + right)


def triangles(points: np.ndarray, places: np.ndarray) -> np.ndarray:
    """[len(points) - 2, len(places)] float64: triangles over ascending points, of area 1, at some places."""
    widths = np.diff(points)
    ramps = points[:, None] - places[None, :]
    rising = -ramps[:-2] / widths[:-1, None]
    falling = ramps[2:] / widths[1:, None]
    area = 2.0 / (points[2:] - points[:-2])
    return np.maximum(0.0, np.minimum(rising, falling)) * area[:, None]
