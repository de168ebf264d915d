"""Fits band events to one entity."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wheeltapper.models.band_events.fit import fit_band_events
from wheeltapper.models.band_events.fitted import averaging, events_of
from wheeltapper.models.band_events.settings import LEAST_WINDOWS
from wheeltapper.models.band_profile.fitted import without_offset
from wheeltapper.models.fitted import FittedSound
from wheeltapper.training.datasets.sound.series import Clip, SoundSeries
from wheeltapper.training.detectors.band_events.spec import SPEC
from wheeltapper.training.fitting.calibration import CalibrationScores
from wheeltapper.training.fitting.options import TrainOptions
from wheeltapper.training.fitting.sound_cross_fit import fit_and_cross_fit_sound
from wheeltapper.training.fitting.sound_features import WindowFeatures
from wheeltapper.training.fitting.sound_windows import window_and_hop


def train_band_events(series: SoundSeries, options: TrainOptions) -> tuple[FittedSound, CalibrationScores]:
    """Band events.

    Raises:
        InputError: too few clips, samples that are not numbers, or no such setting.
    """
    settings = SPEC.settings_for(options)
    frontend = settings.frontend(series.sample_rate)
    channels = len(series.channels)
    window, hop = window_and_hop(series, options)
    blocks = averaging(frontend.frames(window), settings.block_frames, settings.block_hop)

    def features(window: np.ndarray, _: np.ndarray) -> np.ndarray:
        # float32: of long recordings every block of every window is kept.
        return events_of(frontend.levels(without_offset(window, channels)), blocks).astype(np.float32)

    known = WindowFeatures(features, window, hop)

    def fit(clips: Sequence[Clip], window: int) -> FittedSound:
        events, recording, _ = known.of(clips)
        return fit_band_events(
            events,
            recording,
            settings,
            frontend,
            window=window,
            channels=channels,
            overlap=known.overlap,
        )

    return fit_and_cross_fit_sound(SPEC.name, series, options, fit, least_clips=LEAST_WINDOWS)
