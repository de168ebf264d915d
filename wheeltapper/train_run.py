"""What `train` does alike for rows and for sound, and in part `pack`: options, the bundle, what is said of it."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wheeltapper.models.fitted import FittedDetector, FittedSound
    from wheeltapper.schemas.bundle import Bundle
    from wheeltapper.training.datasets.series import SensorSeries
    from wheeltapper.training.datasets.sound.series import SoundSeries
    from wheeltapper.training.fitting.bundle_writer import BundleNotes
    from wheeltapper.training.fitting.calibration import CalibrationScores
    from wheeltapper.training.fitting.options import ExtraData, TrainOptions
    from wheeltapper.training.fitting.spec import DetectorSpec


def notes_of_choice(text: str, reason: str) -> BundleNotes:
    """Prints what `auto` chose, and why; the manifest keeps the reason."""
    from wheeltapper.training.fitting.bundle_writer import BundleNotes

    print(f"auto         {text}: {reason}")
    return BundleNotes(parameters={"chosen_by_auto": reason})


def train_options(
    arguments: argparse.Namespace,
    entry: DetectorSpec[Any],
    settings: Mapping[str, str],
    *,
    stride: int,
    window: int | None,
    extra_data: ExtraData | None = None,
) -> TrainOptions:
    """The command line's options for one detector; says which of them it has no use for.

    Args:
        stride, window: rows, or samples.
    """
    from wheeltapper.training.fitting.options import ExtraData, TrainOptions

    if arguments.epochs is not None and not entry.has_epochs:
        print(f"{entry.name} is fitted in one pass: --epochs is not used")
    checkpoints = arguments.checkpoints
    if checkpoints is None and entry.has_epochs:
        checkpoints = arguments.out.with_name(f".{arguments.out.name}.checkpoints")
    return TrainOptions(
        seed=arguments.seed,
        epochs=arguments.epochs,
        stride=stride,
        window=window,
        device=arguments.device,
        threads=arguments.threads,
        checkpoint_folder=checkpoints,
        progress=True,
        settings=settings,
        extra_data=extra_data or ExtraData(),
    )


def write_trained(
    arguments: argparse.Namespace,
    fitted: FittedDetector | FittedSound,
    series: SensorSeries | SoundSeries,
    scores: CalibrationScores,
    *,
    torchscript: bool = True,
    notes: BundleNotes | None = None,
) -> Bundle:
    """The bundle, where the command line wants it.

    Raises:
        InputError: as `write_bundle`.
    """
    from wheeltapper.training.fitting.bundle_writer import write_bundle

    return write_bundle(
        fitted,
        series,
        arguments.out,
        scores=scores,
        false_alarms_per_day=arguments.false_alarms_per_day,
        seed=arguments.seed,
        torchscript=torchscript,
        notes=notes,
    )


def print_bundle(bundle: Bundle, scores: CalibrationScores, seconds: float) -> None:
    """Prints how it was calibrated, its warnings, and where it is."""
    manifest, calibration = bundle.manifest, bundle.manifest.calibration
    print(f"calibration  {calibration.windows} windows, {scores.days:.3g} days: {scores.origin}")
    print(
        f"alarm level  raw score {calibration.alarm_level:.4g} (median {calibration.center:.4g}, method "
        f"{calibration.method}); expect {calibration.false_alarms_per_day:g} false alarms per machine and day"
    )
    for warning in manifest.warnings:
        print(f"note         {warning}")
    print(f"bundle       {bundle.location} ({', '.join(sorted(manifest.files))})")
    print(f"id           {manifest.bundle_id}, written in {seconds:.1f} s")
