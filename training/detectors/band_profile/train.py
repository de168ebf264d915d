"""Fits band profile to one entity."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wheeltapper.models.band_profile.fit import Profiles, fit_band_profile
from wheeltapper.models.band_profile.fitted import without_offset
from wheeltapper.models.band_profile.settings import LEAST_WINDOWS, is_vibration
from wheeltapper.models.fitted import FittedSound
from wheeltapper.models.sound.orders import OrderBands
from wheeltapper.schemas.bundle.attributes import attribute_row
from wheeltapper.training.datasets.sound.series import Clip, SoundSeries
from wheeltapper.training.detectors.band_profile.spec import SPEC
from wheeltapper.training.fitting.calibration import CalibrationScores
from wheeltapper.training.fitting.options import TrainOptions
from wheeltapper.training.fitting.sound_cross_fit import fit_and_cross_fit_sound
from wheeltapper.training.fitting.sound_features import WindowFeatures, named_attributes, varying_numbers
from wheeltapper.training.fitting.sound_windows import window_and_hop


def train_band_profile(series: SoundSeries, options: TrainOptions) -> tuple[FittedSound, CalibrationScores]:
    """Band profile; the preset `vibration` from 20 kHz on, unless the rate is one of audio's own.

    Raises:
        InputError: too few clips, samples that are not numbers, an attribute that no clip has, or no such setting.
    """
    settings = SPEC.settings_for(options, preset="vibration" if is_vibration(series.sample_rate) else None)
    frontend = settings.frontend(series.sample_rate)
    condition = settings.condition_names(varying_numbers(series.train))
    names = (*condition, *((settings.speed_attribute,) if settings.orders else ()))
    specs = named_attributes(series.train, names, SPEC.name)
    order_bands, speed_column = None, 0
    if settings.orders:
        before = specs[: [spec.name for spec in specs].index(settings.speed_attribute)]
        speed_column = sum(spec.width for spec in before)
        rpm = [attribute_row(clip.attributes, specs)[speed_column] for clip in series.train]
        order_bands = OrderBands.up_to(frontend, settings.orders, float(np.nanmax(rpm)))

    def features(window: np.ndarray, attributes: np.ndarray) -> np.ndarray:
        signals = without_offset(window, len(series.channels))
        levels = frontend.levels(signals).mean(axis=1).ravel()
        if order_bands is None:
            return np.asarray(levels)
        orders = order_bands.levels(signals, float(attributes[speed_column])).mean(axis=1).ravel()
        return np.concatenate([levels, orders])

    window, hop = window_and_hop(series, options)
    known = WindowFeatures(features, window, hop, specs)

    def fit(clips: Sequence[Clip], window: int) -> FittedSound:
        return fit_band_profile(
            Profiles(*known.of(clips), overlap=known.overlap),
            settings,
            frontend,
            window=window,
            channels=len(series.channels),
            attributes=specs,
            condition=condition,
            order_bands=order_bands,
            speed_column=speed_column,
        )

    return fit_and_cross_fit_sound(SPEC.name, series, options, fit, least_clips=LEAST_WINDOWS)
