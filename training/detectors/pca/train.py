"""Fits PCA error to one entity."""

from __future__ import annotations

from wheeltapper.models.fitted import FittedDetector
from wheeltapper.models.pca.fit import fit_pca
from wheeltapper.models.training_rows import TrainingRows
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.detectors.pca.spec import SPEC
from wheeltapper.training.fitting.calibration import CalibrationScores
from wheeltapper.training.fitting.cross_fit import fit_and_cross_fit
from wheeltapper.training.fitting.options import TrainOptions


def train_pca(series: SensorSeries, options: TrainOptions) -> tuple[FittedDetector, CalibrationScores]:
    """PCA error.

    Raises:
        InputError: too few rows, values that are not numbers, or no such setting.
    """
    settings = SPEC.settings_for(options)

    def fit(rows: TrainingRows) -> FittedDetector:
        return fit_pca(rows, settings, channels=series.channels)

    return fit_and_cross_fit(SPEC.name, series, options, fit, settings.least_rows)
