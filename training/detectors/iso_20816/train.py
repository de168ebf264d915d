"""Makes the zones of vibration velocity for one entity: nothing is learnt, but the bundle's other parts need clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from wheeltapper.models.fitted import FittedSound
from wheeltapper.models.iso_20816.fitted import velocity_bands
from wheeltapper.models.iso_20816.graph import VelocityZones
from wheeltapper.training.datasets.sound.series import Clip, SoundSeries
from wheeltapper.training.detectors.iso_20816.spec import SPEC
from wheeltapper.training.fitting.calibration import CalibrationScores
from wheeltapper.training.fitting.options import TrainOptions
from wheeltapper.training.fitting.sound_cross_fit import fit_and_cross_fit_sound
from wheeltapper.training.fitting.sound_windows import window_and_hop


def train_iso_20816(series: SoundSeries, options: TrainOptions) -> tuple[FittedSound, CalibrationScores]:
    """The zones; the alarm level is 1, where zone D begins.

    Raises:
        InputError: fewer than two clips, a unit that is neither acceleration nor velocity, or no such setting.
    """
    settings = SPEC.settings_for(options)
    window, _ = window_and_hop(series, options)
    frontend = velocity_bands(settings, series.sample_rate, window, series.units)

    def make(clips: Sequence[Clip], window: int) -> FittedSound:
        return VelocityZones(
            settings=settings,
            frontend=frontend,
            window=window,
            channels=len(series.channels),
            warnings=(
                "a fixed limit: what stays below it is not seen, early faults of bearings among it; band-profile beside it sees "
                "changes",
            ),
        )

    fitted, scores = fit_and_cross_fit_sound(SPEC.name, series, options, make)
    return fitted, replace(scores, fixed_level=1.0)
