"""What spectral bands hold once they are fitted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wheeltapper.models.sound.detector import NumpySound
from wheeltapper.models.spectral_bands.settings import SpectralBandSettings


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedSpectralBands(NumpySound[SpectralBandSettings]):
    """Base of fitted spectral bands.

    Attributes:
        mean, spread: [C * bands] float64, dB: of a window's mean levels.
        column_spread: [C * bands] float64, dB: of the levels of one time column.
    """

    mean: np.ndarray
    spread: np.ndarray
    column_spread: np.ndarray

    def column_weights(self) -> np.ndarray:
        """[frames, T] float64: the mean of the frames of each time column."""
        column = self.frontend.columns(self.window, self.time_columns)
        weights = (column[:, None] == np.arange(self.time_columns)).astype(np.float64)
        # A column between two sparse frames has none of its own: the nearest one stands for it.
        for empty in np.flatnonzero(weights.sum(axis=0) == 0):
            weights[np.abs(column - empty).argmin(), empty] = 1.0
        return np.asarray(weights / weights.sum(axis=0))
