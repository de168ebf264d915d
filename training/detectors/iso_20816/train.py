"""Makes the zones of vibration velocity for one entity: nothing is learnt, but the bundle's other parts need clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from wheeltapper.models.fitted import FittedSound
from wheeltapper.models.iso_20816.fit import fit_velocity_zones
from wheeltapper.training.datasets.sound.series import Clip, SoundSeries
from wheeltapper.training.detectors.iso_20816.spec import SPEC
from wheeltapper.training.fitting.calibration import CalibrationScores
from wheeltapper.training.fitting.options import TrainOptions
from wheeltapper.training.fitting.sound_cross_fit import fit_and_cross_fit_sound


def train_iso_20816(series: SoundSeries, options: TrainOptions) -> tuple[FittedSound, CalibrationScores]:
    """The zones; the alarm level is 1, where zone D begins.

    Raises:
        InputError: fewer than two clips, a unit that is neither acceleration nor velocity, or no such setting.
    """
    settings = SPEC.settings_for(options)

    def make(_: Sequence[Clip], window: int) -> FittedSound:
        return fit_velocity_zones(settings, sample_rate=series.sample_rate, window=window, units=series.units)

    fitted, scores = fit_and_cross_fit_sound(SPEC.name, series, options, make)
    return fitted, replace(scores, fixed_level=1.0)
