"""Fits isolation forest to one entity."""

from __future__ import annotations

from wheeltapper.models.fitted import FittedDetector
from wheeltapper.models.isolation_forest.fit import fit_isolation_forest
from wheeltapper.models.training_rows import TrainingRows
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.detectors.isolation_forest.spec import SPEC
from wheeltapper.training.fitting.calibration import CalibrationScores
from wheeltapper.training.fitting.cross_fit import fit_and_cross_fit
from wheeltapper.training.fitting.options import TrainOptions


def train_isolation_forest(series: SensorSeries, options: TrainOptions) -> tuple[FittedDetector, CalibrationScores]:
    """Isolation forest.

    Raises:
        InputError: too few rows, values that are not numbers, or no such setting.
    """
    settings = SPEC.settings_for(options)

    def fit(rows: TrainingRows) -> FittedDetector:
        return fit_isolation_forest(rows, settings, seed=options.seed, channels=series.channels)

    return fit_and_cross_fit(SPEC.name, series, options, fit, settings.least_rows)
