"""Fits the log-mel nearest neighbour to one entity."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wheeltapper.models.band_profile.fitted import without_offset
from wheeltapper.models.fitted import FittedSound
from wheeltapper.models.knn_mel.fit import Spectra, fit_knn_mel
from wheeltapper.models.knn_mel.settings import LEAST_WINDOWS
from wheeltapper.training.datasets.sound.series import Clip, SoundSeries
from wheeltapper.training.detectors.knn_mel.spec import SPEC
from wheeltapper.training.fitting.calibration import CalibrationScores
from wheeltapper.training.fitting.options import TrainOptions
from wheeltapper.training.fitting.sound_cross_fit import fit_and_cross_fit_sound
from wheeltapper.training.fitting.sound_features import WindowFeatures
from wheeltapper.training.fitting.sound_windows import window_and_hop


def train_knn_mel(series: SoundSeries, options: TrainOptions) -> tuple[FittedSound, CalibrationScores]:
    """Log-mel nearest neighbour.

    Raises:
        InputError: too few clips, samples that are not numbers, or no such setting.
    """
    settings = SPEC.settings_for(options)
    frontend = settings.frontend(series.sample_rate)
    channels = len(series.channels)

    def features(window: np.ndarray, _: np.ndarray) -> np.ndarray:
        return np.asarray(frontend.levels(without_offset(window, channels)).mean(axis=1).ravel())

    window, hop = window_and_hop(series, options)
    known = WindowFeatures(features, window, hop)

    def fit(clips: Sequence[Clip], window: int) -> FittedSound:
        rows, recording, _ = known.of(clips)
        domain = [clips[owner].domain for owner in known.owners(clips)]
        spectra = Spectra(rows, recording, domain, known.overlap)
        return fit_knn_mel(spectra, settings, frontend, window=window, channels=channels)

    return fit_and_cross_fit_sound(SPEC.name, series, options, fit, least_clips=LEAST_WINDOWS)
