"""`wheeltapper train`: fit a detector on an entity's train part and write a bundle."""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING

from wheeltapper.command_line import RawFormatter
from wheeltapper.detector_help import DetectorHelp
from wheeltapper.labels.options import add_label_arguments, asks_for_labels, read_labels
from wheeltapper.schemas.errors import InputError
from wheeltapper.train_run import notes_of_choice, print_bundle, train_options, write_trained
from wheeltapper.training.datasets.registry import EVERY_DATASET, entity_help
from wheeltapper.training.detectors.registry import DETECTORS
from wheeltapper.training.fitting.calibration import FALSE_ALARMS_PER_DAY

if TYPE_CHECKING:
    from wheeltapper.models.fitted import FittedDetector
    from wheeltapper.schemas.bundle import Bundle
    from wheeltapper.training.datasets.series import SensorSeries
    from wheeltapper.training.fitting.calibration import CalibrationScores

EPILOG = """
examples:
  wheeltapper train auto --dataset csv --data plant/ --entity pump-7 --out bundles/pump-7
  wheeltapper train range-bands --dataset smd --data ServerMachineDataset --entity machine-1-2 --out bundles/machine-1-2
  wheeltapper train range-bands --dataset csv --data plant/ --entity pump-7 --out pump-7.zip --set preset=sustained
  wheeltapper train alora --dataset simulated --entity pump-1 --out bundles/pump-1 --set preset=small --epochs 2
  wheeltapper train auto --dataset wav --data recordings/fan-1 --out bundles/fan-1-sound

`wheeltapper train DETECTOR --help` lists the settings that --set takes, as docs/detectors.md does.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    parser.formatter_class = RawFormatter
    parser.add_argument("-h", "--help", action=DetectorHelp)
    summaries = "; ".join(f"{name}: {entry.summary}" for name, entry in DETECTORS.items())
    parser.add_argument(
        "detector", metavar="DETECTOR", help=f"auto: chooses by the kind of data and prints the reason; {summaries}"
    )
    add_data_arguments(parser)
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="the same seed gives the same bundle")
    parser.add_argument(
        "--epochs",
        type=int,
        metavar="N",
        help="maximum number of passes over the train part, for networks (default: the detector's)",
    )
    parser.add_argument("--window", type=int, metavar="ROWS", help="rows in a window (default: the detector's)")
    parser.add_argument(
        "--window-s",
        type=float,
        metavar="S",
        help="of sound: seconds in a window (default: 10, or the shortest clip's length)",
    )
    parser.add_argument(
        "--hop-s",
        type=float,
        metavar="S",
        help="of sound: seconds between scored windows in the stream (default: half the window)",
    )
    parser.add_argument(
        "--kind",
        metavar="KIND",
        help="with auto: the kind of data, e.g. 'process plant' or 'servers' (default: the kind of the data set)",
    )
    add_bundle_arguments(parser)
    add_label_arguments(parser)
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="device for training networks"
    )
    parser.add_argument(
        "--checkpoints",
        type=Path,
        metavar="DIR",
        help="folder of checkpoints, from which an interrupted training continues, for networks (default: .OUT.checkpoints "
        "next to OUT)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a setting of the detector, e.g. preset=sustained; may be given several times",
    )
    parser.add_argument(
        "--no-torchscript",
        action="store_true",
        help="do not write the TorchScript copy of the graph",
    )


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `train` and `pack` that choose the data."""
    parser.add_argument("--dataset", choices=EVERY_DATASET, required=True, help="kind of data set")
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="the data set's own folder; for csv and wav also one file (default: $WHEELTAPPER_DATA/DATASET; simulated and "
        "simulated-sound need none)",
    )
    parser.add_argument("--entity", metavar="E", help=f"{entity_help()} (default: the only one)")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="BUNDLE", help="folder to write, or a path ending in .zip"
    )


def add_bundle_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `train` and `pack` for running the bundle."""
    parser.add_argument(
        "--stride", type=int, default=1, metavar="ROWS", help="rows between scored windows in the stream"
    )
    parser.add_argument(
        "--false-alarms-per-day",
        type=float,
        default=FALSE_ALARMS_PER_DAY,
        metavar="X",
        help="expected false alarms per machine and day; a smaller number gives a higher alarm level",
    )
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="threads for scoring; 0 takes every core")


def run(arguments: argparse.Namespace) -> int:
    """Raises InputError: wrong options, or data that the detector cannot be fitted on."""
    from wheeltapper.sound_training import check_units, train_sound
    from wheeltapper.training.datasets.registry import holds_sound, load_series
    from wheeltapper.training.detectors.auto import AUTO, choose
    from wheeltapper.training.detectors.registry import detector_entry, train_detector
    from wheeltapper.training.fitting.bundle_writer import BundleNotes, check_place
    from wheeltapper.training.fitting.options import ExtraData, parse_assignments

    started = time.perf_counter()
    settings = parse_assignments(arguments.set)
    check_rate(arguments.false_alarms_per_day)
    check_place(arguments.out)
    detector, series, notes = arguments.detector, None, BundleNotes()
    check_kind(arguments)
    sound = holds_sound(arguments.dataset)
    check_units(arguments, sound=sound)
    if sound:
        if asks_for_labels(arguments):
            print("detectors of sound do not learn from labels: --labels and --labels-from are not used")
        return train_sound(arguments, settings)
    if detector == AUTO:
        series = load_series(arguments.dataset, arguments.data, arguments.entity)
        choice = choose(series, arguments.kind)
        # What a person sets goes before what the rule would.
        chosen = {} if arguments.window else choice.settings
        detector, settings = choice.detector, {**chosen, **settings}
        notes = notes_of_choice(choice.text, choice.reason)
    entry = detector_entry(detector)
    if asks_for_labels(arguments) and not entry.learns_from_labels:
        print(f"{detector} does not learn from labels: --labels and --labels-from are not used")
    options = train_options(arguments, entry, settings, stride=arguments.stride, window=arguments.window)
    if series is None:
        series = load_series(arguments.dataset, arguments.data, arguments.entity)
    if entry.learns_from_labels:
        extra_data = ExtraData(
            labelled=read_labels(arguments, series.channels, arguments.window),
            related=lambda name: load_series(arguments.dataset, arguments.data, name),
        )
        options = dataclasses.replace(options, extra_data=extra_data)
    fitted, scores = train_detector(detector, series, options)
    torchscript = not arguments.no_torchscript
    bundle = write_trained(arguments, fitted, series, scores, torchscript=torchscript, notes=notes)
    print_summary(bundle, fitted, series, scores, time.perf_counter() - started)
    return 0


def check_kind(arguments: argparse.Namespace) -> None:
    """
    Raises:
        InputError: no such kind, or one given to a detector that was chosen by name.
    """
    from wheeltapper.training.detectors.auto import AUTO, KINDS

    if arguments.kind is None:
        return
    if arguments.detector != AUTO:
        raise InputError(f"--kind is used by auto only, but the detector is {arguments.detector}; leave --kind out")
    if arguments.kind not in KINDS:
        raise InputError(f"--kind is '{arguments.kind}', expected one of {', '.join(KINDS)}")


def check_rate(false_alarms_per_day: float) -> None:
    """Checks the rate before any work is done.

    Raises:
        InputError: not a number above 0.
    """
    if not 0 < false_alarms_per_day < float("inf"):
        raise InputError(f"--false-alarms-per-day is {false_alarms_per_day:g}, expected a number above 0, e.g. 0.25")


def print_summary(
    bundle: Bundle, fitted: FittedDetector, series: SensorSeries, scores: CalibrationScores, seconds: float
) -> None:
    """Prints the bundle's main facts."""
    manifest = bundle.manifest
    span = manifest.window * manifest.sampling_interval_s
    print(
        f"{fitted.detector} on {series.dataset} {series.entity}: {len(series.train)} rows, {len(series.channels)} channels, "
        f"one row every {series.sampling_interval_s:g} s"
    )
    print(f"window       {manifest.window} rows ({span:g} s), scored every {manifest.stride} row(s)")
    print_bundle(bundle, scores, seconds)
