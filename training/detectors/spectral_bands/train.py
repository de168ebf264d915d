"""Fits spectral bands to one entity."""

from __future__ import annotations

from collections.abc import Sequence

from wheeltapper.models.fitted import FittedSound
from wheeltapper.models.spectral_bands.fit import LEAST_WINDOWS, fit_spectral_bands
from wheeltapper.training.datasets.sound.series import Clip, SoundSeries
from wheeltapper.training.detectors.spectral_bands.spec import SPEC
from wheeltapper.training.fitting.calibration import CalibrationScores
from wheeltapper.training.fitting.options import TrainOptions
from wheeltapper.training.fitting.sound_cross_fit import fit_and_cross_fit_sound
from wheeltapper.training.fitting.sound_windows import ClipWindows, clip_starts, window_and_hop


def train_spectral_bands(series: SoundSeries, options: TrainOptions) -> tuple[FittedSound, CalibrationScores]:
    """Spectral bands.

    Raises:
        InputError: too few clips, or no such setting.
    """
    settings = SPEC.settings_for(options)
    _, hop = window_and_hop(series, options)

    def fit(clips: Sequence[Clip], window: int) -> FittedSound:
        starts = clip_starts(clips, series.sample_rate, hop)
        windows = ClipWindows.of(clips, starts, series.sample_rate, window, hop)
        return fit_spectral_bands(
            (batch for batch, _ in windows.batches()),
            settings,
            sample_rate=series.sample_rate,
            window=window,
            channels=len(series.channels),
        )

    return fit_and_cross_fit_sound(SPEC.name, series, options, fit, least_clips=LEAST_WINDOWS)
