"""`wheeltapper train`: fit a detector on an entity's train part and write a bundle."""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from wheeltapper.command_line import RawFormatter
from wheeltapper.detector_help import DetectorHelp
from wheeltapper.labels.options import (
    add_label_arguments,
    asks_for_labels,
    judged_of_series,
    read_sources,
    windows_to_learn,
)
from wheeltapper.loaded import load_for_training
from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.text import did_you_mean, first_names
from wheeltapper.train_run import notes_of_choice, print_bundle, train_options, write_trained
from wheeltapper.training.datasets.registry import EVERY_DATASET, entity_help
from wheeltapper.training.detectors.registry import DETECTORS
from wheeltapper.training.fitting.calibration import FALSE_ALARMS_PER_DAY

if TYPE_CHECKING:
    from wheeltapper.models.fitted import FittedDetector
    from wheeltapper.schemas.bundle import Bundle
    from wheeltapper.training.datasets.series import SensorSeries
    from wheeltapper.training.fitting.calibration import CalibrationScores
    from wheeltapper.training.fitting.labels import JudgedSpan

EPILOG = """
examples:
  wheeltapper train auto --dataset csv --data plant/ --entity pump-7 --out bundles/pump-7
  wheeltapper train range-bands --dataset smd --data ServerMachineDataset --entity machine-1-2 --out bundles/machine-1-2
  wheeltapper train range-bands --dataset csv --data plant/ --entity pump-7 --out pump-7.zip --set preset=sustained
  wheeltapper train alora --dataset simulated --entity pump-1 --out bundles/pump-1 --set preset=small --epochs 2
  wheeltapper train auto --dataset wav --data recordings/fan-1 --out bundles/fan-1-sound
  wheeltapper train auto --dataset csv --data plant/ --each --out bundles            every machine of the folder
  wheeltapper train pca --dataset csv --data plant/ --entity 'pump-*' --pool --out bundles/pumps
  wheeltapper train pca --dataset csv --data plant/ --entity pump-7 --rows 2024-01-01..2024-03-01 --out bundles/pump-7

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
    parser.add_argument(
        "--rows",
        action="append",
        default=[],
        metavar="FIRST..STOP",
        help="train on these rows alone: numbers from 0, or times, STOP not among them, e.g. 0..5000 or 2024-01-01..2024-02-01, "
        "counted through train and test part; may be given several times (default: the train part)",
    )
    parser.add_argument(
        "--each",
        action="store_true",
        help="a bundle for each machine, in the folder --out, by all cores; --entity may be a pattern such as 'pump-*'. Bundles that "
        "are there already stay. Routes for a worker's --config are written to OUT/routes.toml",
    )
    parser.add_argument("--jobs", type=int, metavar="N", help="with --each: processes at a time (default: the cores)")
    parser.add_argument(
        "--pool",
        action="store_true",
        help="one bundle from the rows of all machines, or of those that --entity, a pattern, names: machines of a kind",
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
    parser.add_argument("--force", action="store_true", help="replace a bundle that is at --out already")


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
    from wheeltapper.training.datasets.registry import holds_sound
    from wheeltapper.training.fitting.bundle_writer import check_place
    from wheeltapper.training.fitting.options import parse_assignments

    settings = parse_assignments(arguments.set)
    check_rate(arguments.false_alarms_per_day)
    check_kind(arguments)
    sound = holds_sound(arguments.dataset)
    check_units(arguments, sound=sound)
    _check_fleet(arguments, sound=sound)
    if arguments.each:
        from wheeltapper.fleet import train_each

        _check_detector(arguments.detector, settings)
        return train_each(arguments, shared_words(arguments))
    check_place(arguments.out, force=arguments.force)
    if sound:
        if asks_for_labels(arguments):
            print("detectors of sound do not learn from labels: --labels and --labels-from are not used")
        return train_sound(arguments, settings)
    return _train_rows(arguments, settings)


def _train_rows(arguments: argparse.Namespace, settings: Mapping[str, str]) -> int:
    """One bundle of rows, of one machine or of a pool."""
    from wheeltapper.training.datasets.registry import load_series
    from wheeltapper.training.datasets.row_ranges import without_spans
    from wheeltapper.training.detectors.auto import AUTO, choose
    from wheeltapper.training.detectors.registry import detector_entry, train_detector
    from wheeltapper.training.fitting.bundle_writer import BundleNotes
    from wheeltapper.training.fitting.labels import ANOMALOUS
    from wheeltapper.training.fitting.options import ExtraData

    started = time.perf_counter()
    detector, notes = arguments.detector, BundleNotes()
    if detector != AUTO:
        detector_entry(detector)  # before minutes of reading
    labels = read_sources(arguments) if asks_for_labels(arguments) else None
    series = whole = _load(arguments)
    spans: list[JudgedSpan] = []
    if labels is not None and labels.alerts:
        spans = judged_of_series(labels, series, arguments.labels_machine)
        right = [
            (span.first, int(series.train_ts[-1]) if span.last is None else span.last)
            for span in spans
            if span.label == ANOMALOUS
        ]
        series = without_spans(series, right)
        if len(series.train) < len(whole.train):
            print(f"left out     {len(whole.train) - len(series.train)} rows under alerts that were right")
    if detector == AUTO:
        choice = choose(series, arguments.kind)
        # What a person sets goes before what the rule would.
        chosen = {} if arguments.window else choice.settings
        detector, settings = choice.detector, {**chosen, **settings}
        notes = notes_of_choice(choice.text, choice.reason)
    entry = detector_entry(detector)
    if labels is not None and not entry.learns_from_labels and (labels.answers or not labels.alerts):
        print(f"{detector} does not learn from labels: those of windows are not used")
    options = train_options(arguments, entry, settings, stride=arguments.stride, window=arguments.window)
    if entry.learns_from_labels:
        default_window = getattr(entry.settings_for(options), "window", 0)
        extra_data = ExtraData(
            labelled=None
            if labels is None
            else windows_to_learn(
                labels,
                spans,
                whole,
                machines=arguments.labels_machine,
                window=arguments.window,
                default_window=default_window,
            ),
            related=lambda name: load_series(arguments.dataset, arguments.data, name),
        )
        options = dataclasses.replace(options, extra_data=extra_data)
    fitted, scores = train_detector(detector, series, options)
    torchscript = not arguments.no_torchscript
    bundle = write_trained(arguments, fitted, series, scores, torchscript=torchscript, notes=notes)
    print_summary(bundle, fitted, series, scores, time.perf_counter() - started)
    return 0


def _load(arguments: argparse.Namespace) -> SensorSeries:
    """The rows to be trained on: of the entity, or of a pool of them, and of these the chosen ones.

    Raises:
        InputError: no such data, or machines that do not go together.
    """
    from wheeltapper.training.datasets.pooled import pool
    from wheeltapper.training.datasets.row_ranges import parse_range, train_on

    ranges = [parse_range(text) for text in arguments.rows]
    told: set[str] = set()

    def load(name: str | None) -> SensorSeries:
        series = load_for_training(arguments.dataset, arguments.data, name, told)
        return train_on(series, ranges) if ranges else series

    if not arguments.pool:
        return load(arguments.entity)
    from wheeltapper.fleet import chosen_entities

    names = chosen_entities(arguments.dataset, arguments.data, arguments.entity, told)
    pooled = pool([load(name) for name in names], arguments.entity or "*")
    print(f"pool         {len(names)} machines, {len(pooled.train)} rows: {first_names(names, 12)}")
    return pooled


def _check_fleet(arguments: argparse.Namespace, *, sound: bool) -> None:
    """
    Raises:
        InputError: options that do not go together.
    """
    from wheeltapper.training.datasets.row_ranges import parse_range

    if arguments.each and arguments.pool:
        raise InputError("--each trains a bundle for each machine, --pool one for all of them; give one of the two")
    if arguments.jobs is not None and not arguments.each:
        raise InputError("--jobs goes with --each")
    if arguments.jobs is not None and arguments.jobs < 1:
        raise InputError(f"--jobs {arguments.jobs}: expected a whole number of 1 or more")
    if sound and (arguments.pool or arguments.rows):
        option = "--pool" if arguments.pool else "--rows"
        raise InputError(f"{option} takes rows, but data set '{arguments.dataset}' holds sound; leave it out")
    for text in arguments.rows:
        parse_range(text)


def _check_detector(detector: str, settings: Mapping[str, str]) -> None:
    """What a fleet's processes would each find out for themselves.

    Raises:
        InputError: no such detector or setting.
    """
    from wheeltapper.training.detectors.auto import AUTO
    from wheeltapper.training.detectors.registry import detector_entry
    from wheeltapper.training.fitting.options import TrainOptions

    if detector != AUTO:
        detector_entry(detector).settings_for(TrainOptions(settings=settings))


# Options of `train` that a fleet's machines share.
_SHARED = ("dataset", "data", "seed", "epochs", "window", "window_s", "hop_s", "kind", "stride", "false_alarms_per_day")
_SHARED_TOO = ("threads", "device", "labels_from", "labels_machine")


def shared_words(arguments: argparse.Namespace) -> list[str]:
    """The command line again, without what is each machine's own."""
    words: list[str] = []
    for name in (*_SHARED, *_SHARED_TOO):
        value = getattr(arguments, name)
        if value is not None:
            words.append(f"--{name.replace('_', '-')}={value}")
    for name in ("set", "labels", "rows"):
        words += [f"--{name}={value}" for value in getattr(arguments, name)]
    return [*words, *(["--no-torchscript"] if arguments.no_torchscript else [])]


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
        raise InputError(
            f"--kind is '{arguments.kind}', expected one of {', '.join(KINDS)}{did_you_mean(arguments.kind, KINDS)}"
        )


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
