"""Fits L2 norm to one entity."""

from __future__ import annotations

import numpy as np

from wheeltapper.models.fitted import FittedDetector
from wheeltapper.models.l2_norm import L2NormSettings, fit_l2_norm
from wheeltapper.models.l2_norm.fit import LEAST_ROWS
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.detectors.registry import TrainOptions
from wheeltapper.training.fitting.calibration import CalibrationScores
from wheeltapper.training.fitting.cross_fit import fit_and_cross_fit
from wheeltapper.training.fitting.options import with_settings


def train_l2_norm(series: SensorSeries, options: TrainOptions) -> tuple[FittedDetector, CalibrationScores]:
    """L2 norm; settings are those of `L2NormSettings`."""
    base = L2NormSettings(window=options.window) if options.window else L2NormSettings()
    settings = with_settings(base, options.settings, what="l2-norm")

    def fit(runs: list[np.ndarray]) -> FittedDetector:
        return fit_l2_norm(runs, settings, channels=series.channels)

    return fit_and_cross_fit("l2-norm", series, options, fit, max(LEAST_ROWS, 2 * settings.window))
