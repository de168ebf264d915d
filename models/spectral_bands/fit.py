"""Fits spectral bands: the mean level of each mel band over a window, standardised by training.

f = mean over time of L, [C * bands] dB              L: `wheeltapper.models.sound.frontend`
z = (f - mean) / sqrt(var + least_spread^2)
score = mean of the `top` largest z^2                embedding = z
contribution of band j in time column t = ((L_jt - mean_j) / spread of columns)^2
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from wheeltapper.models.sound.frontend import FrontEnd
from wheeltapper.models.spectral_bands.fitted import FittedSpectralBands
from wheeltapper.models.spectral_bands.settings import SpectralBandSettings
from wheeltapper.schemas.errors import InputError

LEAST_WINDOWS = 2


class SpectralBands(FittedSpectralBands):
    """Fitted spectral bands with their exports."""

    def onnx_bytes(self) -> bytes:
        from wheeltapper.models.spectral_bands.graph import build_graph

        return build_graph(self)

    def build_torchscript(self) -> bytes:
        from wheeltapper.models.spectral_bands.torchscript import build_torchscript

        return build_torchscript(self)


def fit_spectral_bands(
    batches: Iterable[np.ndarray], settings: SpectralBandSettings, *, sample_rate: int, window: int, channels: int
) -> SpectralBands:
    """
    Args:
        batches: of windows [n, C * S] float32, normal.
        window: S, samples of a channel.

    Raises:
        InputError: fewer than two windows, or a window shorter than a DFT.
    """
    frontend = FrontEnd(
        sample_rate, settings.n_fft, settings.frame_hop, settings.bands, floor=float(10 ** (settings.floor_db / 10))
    )
    bands = channels * settings.bands
    blank = SpectralBands(
        settings=settings,
        frontend=frontend,
        window=window,
        channels=channels,
        mean=np.zeros(bands),
        spread=np.ones(bands),
        column_spread=np.ones(bands),
    )
    weights = blank.column_weights()
    profiles, columns = [], []
    for batch in batches:
        for row in batch:
            levels = frontend.levels(row.reshape(channels, window))  # [C, frames, bands]
            profiles.append(levels.mean(axis=1).ravel())
            columns.append((levels.transpose(0, 2, 1) @ weights).reshape(bands, -1))
    if len(profiles) < LEAST_WINDOWS:
        raise InputError(
            f"{len(profiles)} training windows, {settings.DETECTOR} needs at least {LEAST_WINDOWS}; record more"
        )
    mean = np.mean(profiles, axis=0)
    least = settings.least_spread_db**2
    return SpectralBands(
        settings=settings,
        frontend=frontend,
        window=window,
        channels=channels,
        mean=mean,
        spread=np.sqrt(np.var(profiles, axis=0) + least),
        column_spread=np.sqrt(np.mean([(part - mean[:, None]) ** 2 for part in columns], axis=(0, 2)) + least),
        warnings=(
            "each band is judged by itself: a change that moves many bands a little within their usual spread is not seen",
            "levels are averaged over the window: short events such as clicks hardly change the score",
        ),
    )
