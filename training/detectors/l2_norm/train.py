"""Fits L2 norm to one entity."""

from __future__ import annotations

from wheeltapper.models.fitted import FittedDetector
from wheeltapper.models.l2_norm.fit import fit_l2_norm
from wheeltapper.models.training_rows import TrainingRows
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.detectors.l2_norm.spec import SPEC
from wheeltapper.training.fitting.calibration import CalibrationScores
from wheeltapper.training.fitting.cross_fit import fit_and_cross_fit
from wheeltapper.training.fitting.options import TrainOptions


def train_l2_norm(series: SensorSeries, options: TrainOptions) -> tuple[FittedDetector, CalibrationScores]:
    """L2 norm.

    Raises:
        InputError: too few rows, values that are not numbers, or no such setting.
    """
    settings = SPEC.settings_for(options)

    def fit(rows: TrainingRows) -> FittedDetector:
        return fit_l2_norm(rows, settings, channels=series.channels)

    return fit_and_cross_fit(SPEC.name, series, options, fit, settings.least_rows)
