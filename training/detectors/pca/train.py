"""Fits PCA error to one entity."""

from __future__ import annotations

import numpy as np

from wheeltapper.models.fitted import FittedDetector
from wheeltapper.models.pca import PcaSettings, fit_pca
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.detectors.registry import TrainOptions
from wheeltapper.training.fitting.calibration import CalibrationScores
from wheeltapper.training.fitting.cross_fit import fit_and_cross_fit
from wheeltapper.training.fitting.options import with_settings


def train_pca(series: SensorSeries, options: TrainOptions) -> tuple[FittedDetector, CalibrationScores]:
    """PCA error; settings are those of `PcaSettings`."""
    base = PcaSettings(window=options.window) if options.window else PcaSettings()
    settings = with_settings(base, options.settings, what="pca")

    def fit(runs: list[np.ndarray]) -> FittedDetector:
        return fit_pca(runs, settings, channels=series.channels)

    return fit_and_cross_fit("pca", series, options, fit, max(100, 2 * settings.window))
