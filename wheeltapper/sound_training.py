"""`wheeltapper train` on a data set of sound."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from wheeltapper.schemas.errors import InputError
from wheeltapper.train_run import notes_of_choice, print_bundle, train_options, write_trained

if TYPE_CHECKING:
    from wheeltapper.models.fitted import FittedSound
    from wheeltapper.schemas.bundle import Bundle
    from wheeltapper.training.datasets.sound.series import SoundSeries
    from wheeltapper.training.fitting.calibration import CalibrationScores


def check_units(arguments: argparse.Namespace, *, sound: bool) -> None:
    """Rows are counted, sound is measured in seconds.

    Raises:
        InputError: an option of the other kind of data.
    """
    of_sound = {"--window-s": arguments.window_s, "--hop-s": arguments.hop_s}
    of_rows = {"--window": arguments.window, "--stride": None if arguments.stride == 1 else arguments.stride}
    wrong, right = (of_rows, of_sound) if sound else (of_sound, of_rows)
    holds = "sound, whose windows are in seconds" if sound else "rows, which are counted"
    for (option, value), instead in zip(wrong.items(), right, strict=True):
        if value is not None:
            raise InputError(
                f"{option} {value:g}: data set '{arguments.dataset}' holds {holds}; give {instead} instead"
            )
    for option, value in of_sound.items():
        if value is not None and not 0 < value < float("inf"):
            raise InputError(f"{option} {value:g}: expected seconds above 0, e.g. {option} 5")


def samples_of(seconds: float | None, sample_rate: int) -> int | None:
    """Seconds to samples, at least one; None stays None."""
    return None if seconds is None else max(1, round(seconds * sample_rate))


def train_sound(arguments: argparse.Namespace, settings: Mapping[str, str]) -> int:
    """
    Raises:
        InputError: wrong options, or clips that the detector cannot be fitted on.
    """
    from wheeltapper.training.datasets.registry import load_sound
    from wheeltapper.training.detectors.auto import AUTO
    from wheeltapper.training.detectors.auto_sound import choose_sound
    from wheeltapper.training.detectors.registry import detector_entry, train_detector
    from wheeltapper.training.fitting.bundle_writer import BundleNotes
    from wheeltapper.training.fitting.options import ExtraData

    started = time.perf_counter()
    detector, notes = arguments.detector, BundleNotes()
    if detector != AUTO:
        detector_entry(detector)
    series = load_sound(arguments.dataset, arguments.data, arguments.entity)
    if detector == AUTO:
        choice = choose_sound(series)
        detector, settings = choice.detector, {**choice.settings, **settings}
        notes = notes_of_choice(choice.text, choice.reason)
    options = train_options(
        arguments,
        detector_entry(detector),
        settings,
        stride=samples_of(arguments.hop_s, series.sample_rate) or 1,
        window=samples_of(arguments.window_s, series.sample_rate),
        extra_data=ExtraData(related_sounds=lambda name: load_sound(arguments.dataset, arguments.data, name)),
    )
    fitted, scores = train_detector(detector, series, options)
    torchscript = not arguments.no_torchscript
    bundle = write_trained(arguments, fitted, series, scores, torchscript=torchscript, notes=notes)
    print_sound_summary(bundle, fitted, series, scores, time.perf_counter() - started)
    return 0


def print_sound_summary(
    bundle: Bundle, fitted: FittedSound, series: SoundSeries, scores: CalibrationScores, seconds: float
) -> None:
    """Prints the bundle's main facts."""
    from wheeltapper.training.judging.sound_evaluation import audio_manifest

    manifest = audio_manifest(bundle)
    rate = manifest.sample_rate
    print(
        f"{fitted.detector} on {series.dataset} {series.entity}: {len(series.train)} clips, {series.seconds:.4g} s, "
        f"{len(series.channels)} channel(s) at {rate} Hz"
    )
    known = ", ".join(spec.name for spec in manifest.attributes)
    print(
        f"window       {manifest.window / rate:g} s, scored every {manifest.stride / rate:g} s; {len(manifest.bands)} bands x "
        f"{manifest.time_columns} parts" + (f"; takes {known} into account" if known else "")
    )
    print_bundle(bundle, scores, seconds)
