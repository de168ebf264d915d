"""Fits range bands to one entity."""

from __future__ import annotations

from wheeltapper.models.fitted import FittedDetector
from wheeltapper.models.range_bands.fit import fit_range_bands
from wheeltapper.models.training_rows import TrainingRows
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.detectors.range_bands.spec import SPEC
from wheeltapper.training.fitting.calibration import CalibrationScores
from wheeltapper.training.fitting.cross_fit import fit_and_cross_fit
from wheeltapper.training.fitting.options import TrainOptions


def train_range_bands(series: SensorSeries, options: TrainOptions) -> tuple[FittedDetector, CalibrationScores]:
    """Range bands.

    Raises:
        InputError: too few rows, values that are not numbers, or no such setting.
    """
    settings = SPEC.settings_for(options)

    def fit(rows: TrainingRows) -> FittedDetector:
        return fit_range_bands(rows, settings, channels=series.channels, sampling_interval_s=series.sampling_interval_s)

    return fit_and_cross_fit(SPEC.name, series, options, fit, settings.least_rows)
