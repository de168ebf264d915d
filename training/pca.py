"""Fits PCA error to one entity."""

from __future__ import annotations

import numpy as np

from models.fitted import FittedDetector
from models.pca import PcaSettings, fit_pca
from training.calibration import CalibrationScores
from training.cross_fit import fit_and_cross_fit
from training.datasets.series import SensorSeries
from training.detectors import TrainOptions
from training.options import with_settings


def train_pca(series: SensorSeries, options: TrainOptions) -> tuple[FittedDetector, CalibrationScores]:
    """PCA error; settings are those of `PcaSettings`."""
    base = PcaSettings(window=options.window) if options.window else PcaSettings()
    settings = with_settings(base, options.settings, what="pca")

    def fit(runs: list[np.ndarray]) -> FittedDetector:
        return fit_pca(runs, settings, channels=series.channels)

    return fit_and_cross_fit("pca", series, options, fit, max(100, 2 * settings.window))
