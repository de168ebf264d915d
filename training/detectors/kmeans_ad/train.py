"""Fits KMeansAD to one entity."""

from __future__ import annotations

from dataclasses import replace

from wheeltapper.models.fitted import FittedDetector
from wheeltapper.models.kmeans_ad.fit import fit_kmeans_ad
from wheeltapper.models.kmeans_ad.settings import WINDOW_SINGLE_CHANNEL
from wheeltapper.models.training_rows import TrainingRows
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.detectors.kmeans_ad.spec import SPEC
from wheeltapper.training.fitting.calibration import CalibrationScores
from wheeltapper.training.fitting.cross_fit import fit_and_cross_fit
from wheeltapper.training.fitting.options import TrainOptions


def train_kmeans_ad(series: SensorSeries, options: TrainOptions) -> tuple[FittedDetector, CalibrationScores]:
    """KMeansAD; the default window is longer for a single channel.

    Raises:
        InputError: too few rows, values that are not numbers, or no such setting.
    """
    if len(series.channels) == 1 and options.window is None:
        options = replace(options, window=WINDOW_SINGLE_CHANNEL)
    settings = SPEC.settings_for(options)

    def fit(rows: TrainingRows) -> FittedDetector:
        return fit_kmeans_ad(rows, settings, seed=options.seed, channels=series.channels)

    return fit_and_cross_fit(SPEC.name, series, options, fit, settings.least_rows)
