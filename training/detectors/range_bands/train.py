"""Fits range bands to one entity."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from wheeltapper.models.fitted import FittedDetector
from wheeltapper.models.range_bands import PRESETS, RangeBandSettings, fit_range_bands
from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.detectors.registry import TrainOptions
from wheeltapper.training.fitting.calibration import CalibrationScores
from wheeltapper.training.fitting.cross_fit import fit_and_cross_fit
from wheeltapper.training.fitting.options import with_settings


def train_range_bands(series: SensorSeries, options: TrainOptions) -> tuple[FittedDetector, CalibrationScores]:
    """Range bands; settings are those of `RangeBandSettings`, and preset=events|sustained."""
    values = dict(options.settings)
    preset = values.pop("preset", "events")
    if preset not in PRESETS:
        raise InputError(f"--set preset={preset}: expected one of {', '.join(PRESETS)}")
    base = RangeBandSettings.of_window(options.window) if options.window else RangeBandSettings()
    settings = with_settings(replace(base, leak=PRESETS[preset]), values, what="range-bands", extra=("preset",))

    def fit(runs: list[np.ndarray]) -> FittedDetector:
        return fit_range_bands(runs, settings, channels=series.channels, sampling_interval_s=series.sampling_interval_s)

    return fit_and_cross_fit("range-bands", series, options, fit, 2 * settings.window)
