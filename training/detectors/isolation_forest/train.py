"""Grows an isolation forest for one entity."""

from __future__ import annotations

import numpy as np

from wheeltapper.models.fitted import FittedDetector
from wheeltapper.models.isolation_forest import ForestSettings, fit_isolation_forest
from wheeltapper.models.isolation_forest.fit import LEAST_ROWS
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.detectors.registry import TrainOptions
from wheeltapper.training.fitting.calibration import CalibrationScores
from wheeltapper.training.fitting.cross_fit import fit_and_cross_fit
from wheeltapper.training.fitting.options import with_settings


def train_isolation_forest(series: SensorSeries, options: TrainOptions) -> tuple[FittedDetector, CalibrationScores]:
    """Isolation forest; settings are those of `ForestSettings`."""
    base = ForestSettings(window=options.window) if options.window else ForestSettings()
    settings = with_settings(base, options.settings, what="isolation-forest")

    def fit(runs: list[np.ndarray]) -> FittedDetector:
        return fit_isolation_forest(runs, settings, seed=options.seed, channels=series.channels)

    return fit_and_cross_fit("isolation-forest", series, options, fit, max(LEAST_ROWS, 2 * settings.window))
