"""Fits KMeansAD to one entity."""

from __future__ import annotations

import numpy as np

from wheeltapper.models.fitted import FittedDetector
from wheeltapper.models.kmeans_ad import KMeansSettings, fit_kmeans_ad
from wheeltapper.models.kmeans_ad.fit import LEAST_ROWS, WINDOW, WINDOW_SINGLE_CHANNEL
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.detectors.registry import TrainOptions
from wheeltapper.training.fitting.calibration import CalibrationScores
from wheeltapper.training.fitting.cross_fit import fit_and_cross_fit
from wheeltapper.training.fitting.options import with_settings


def train_kmeans_ad(series: SensorSeries, options: TrainOptions) -> tuple[FittedDetector, CalibrationScores]:
    """KMeansAD; settings are those of `KMeansSettings`. The default window is longer for a single channel."""
    window = WINDOW_SINGLE_CHANNEL if len(series.channels) == 1 else WINDOW
    base = KMeansSettings(window=options.window or window)
    settings = with_settings(base, options.settings, what="kmeans-ad")

    def fit(runs: list[np.ndarray]) -> FittedDetector:
        return fit_kmeans_ad(runs, settings, seed=options.seed, channels=series.channels)

    return fit_and_cross_fit("kmeans-ad", series, options, fit, max(LEAST_ROWS, 2 * settings.window))
