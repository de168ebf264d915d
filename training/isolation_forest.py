"""Grows an isolation forest for one entity."""

from __future__ import annotations

import numpy as np

from models.fitted import FittedDetector
from models.isolation_forest import ForestSettings, fit_isolation_forest
from models.isolation_forest.fit import LEAST_ROWS
from training.calibration import CalibrationScores
from training.cross_fit import fit_and_cross_fit
from training.datasets.series import SensorSeries
from training.detectors import TrainOptions
from training.options import with_settings


def train_isolation_forest(series: SensorSeries, options: TrainOptions) -> tuple[FittedDetector, CalibrationScores]:
    """Isolation forest; settings are those of `ForestSettings`."""
    base = ForestSettings(window=options.window) if options.window else ForestSettings()
    settings = with_settings(base, options.settings, what="isolation-forest")

    def fit(runs: list[np.ndarray]) -> FittedDetector:
        return fit_isolation_forest(runs, settings, seed=options.seed, channels=series.channels)

    return fit_and_cross_fit("isolation-forest", series, options, fit, max(LEAST_ROWS, 2 * settings.window))
