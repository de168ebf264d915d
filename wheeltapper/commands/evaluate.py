"""`wheeltapper evaluate`: metrics and alarms of a bundle on an entity's test part, next to simple floors."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wheeltapper.command_line import RawFormatter
from wheeltapper.loaded import load_told
from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.text import counted, duration
from wheeltapper.sound_report import check_kinds, evaluate_sound_command, three, write_json
from wheeltapper.training.datasets.registry import EVERY_DATASET, entity_help

if TYPE_CHECKING:
    from rich.table import Table

    from wheeltapper.alarm_list import ListedAlarm
    from wheeltapper.schemas.bundle import Bundle
    from wheeltapper.training.datasets.series import SensorSeries
    from wheeltapper.training.judging.evaluation import Report
    from wheeltapper.training.judging.stream_run import StreamRun

EPILOG = """
The main measure is VUS-PR. Alarms are those that a worker under the same settings would raise; test labels choose no
threshold, except for numbers called oracle. Point-adjusted and affiliation F1 must be compared with the value that random
scores reach, which is shown next to them. docs/evaluation.md defines every number.

Where the test part has no labels, the alarms are listed instead, each with its time and its causes.

examples:
  wheeltapper evaluate bundles/machine-1-2 --dataset smd --data ServerMachineDataset --entity machine-1-2
  wheeltapper evaluate bundles/machine-1-2 --config worker.toml
  wheeltapper evaluate bundles/fan-1-sound --dataset wav --data recordings/fan-1 --plot fan-1.png
  wheeltapper evaluate --gate bundles/old bundles/new --dataset smd --data ServerMachineDataset --entity machine-1-2

A bundle of sound is judged on clips: AUC and pAUC as DCASE defines them, by domain where there are any, a threshold from
held-out normal clips, and where the blame falls in clips whose fault is known (docs/evaluation.md).

With --gate: whether NEW may replace OLD, by the gate of adaptation (docs/adaptation.md): rows of the test part that no label calls
anomalous are the recent normal rows, windows that end in a labelled row are known faults. Exit code 0: accepted, 3: rejected.
"""

REJECTED = 3
"""Exit code of --gate where the new bundle is rejected."""

_RANKING = (("vus_pr", "VUS-PR"), ("auc_pr", "AUC-PR"), ("vus_roc", "VUS-ROC"), ("auc_roc", "AUC-ROC"))
_LOCALIZATION = (
    ("hit_rate_100", "HitRate@100"),
    ("hit_rate_150", "@150"),
    ("ndcg_100", "NDCG@100"),
    ("ndcg_150", "@150"),
    ("ips_100", "IPS@100"),
    ("ips_150", "@150"),
)
_FLOOR_NAMES = {
    "random": "random",
    "l2": "L2 norm",
    "pca": "PCA error",
    "kmeans_ad": "KMeansAD",
    "isolation_forest": "isolation forest",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    parser.formatter_class = RawFormatter
    parser.add_argument("bundle", metavar="BUNDLE", nargs="?", help="bundle folder or .zip")
    parser.add_argument(
        "--gate",
        nargs=2,
        metavar=("OLD", "NEW"),
        help="judge whether bundle NEW may replace bundle OLD, instead of evaluating one",
    )
    parser.add_argument(
        "--dataset", choices=EVERY_DATASET, help="kind of data set (default: what the bundle was trained on)"
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="the data set's own folder; for csv also one file (default: $WHEELTAPPER_DATA/DATASET; simulated needs none)",
    )
    parser.add_argument("--entity", metavar="E", help=f"{entity_help()} (default: what the bundle was trained on)")
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="TOML file of the worker's settings; its sections [windows] and [threshold] count (default: the worker's defaults)",
    )
    parser.add_argument(
        "--stride",
        type=int,
        metavar="ROWS",
        help="rows between scored windows (default: windows.stride of --config, else the bundle's own)",
    )
    parser.add_argument(
        "--clips",
        choices=("test", "all"),
        default="test",
        help="of sound: judge on the test clips, or on every clip of the entity, for recordings that the bundle has never seen",
    )
    parser.add_argument(
        "--rows",
        action="append",
        default=[],
        metavar="FIRST..STOP",
        help="judge on these rows: numbers from 0, or times, STOP not among them, counted through train and test part; may be given "
        "several times (default: the test part)",
    )
    parser.add_argument(
        "--alarms",
        action="store_true",
        help="also list the alarms, with time and cause, as is done where the test part has no labels",
    )
    parser.add_argument("--no-floors", action="store_true", help="do not compute the floors (saves some seconds)")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="also write the numbers to FILE; '-' is standard output"
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help="also draw score, labels and alarms to FILE (.png)")


def run(arguments: argparse.Namespace) -> int:
    """Raises InputError: no such bundle or data, or two that do not belong together."""
    from wheeltapper.alarm_list import list_alarms
    from wheeltapper.schemas.bundle import open_bundle
    from wheeltapper.stream.logs import configure_logs
    from wheeltapper.stream.settings import load_settings
    from wheeltapper.training.datasets.row_ranges import parse_range, test_on
    from wheeltapper.training.judging.evaluation import evaluate_bundle, in_bundle_order, run_bundle

    settings = load_settings(arguments.config, **_overrides(arguments.stride))
    configure_logs(settings.worker)
    if (arguments.bundle is None) == (arguments.gate is None):
        raise InputError("name one BUNDLE to evaluate, or two with --gate OLD NEW")
    bundle = open_bundle(arguments.gate[0] if arguments.gate else arguments.bundle)
    trained = bundle.manifest.training_data
    dataset = arguments.dataset or trained.dataset
    entity = arguments.entity or (trained.entity if dataset == trained.dataset else None)
    if check_kinds(bundle, dataset):
        return evaluate_sound_command(arguments, bundle, dataset, entity)
    series = load_told(dataset, arguments.data, entity)
    if arguments.rows:
        series = test_on(series, [parse_range(text) for text in arguments.rows])
    series = in_bundle_order(bundle, series)
    if arguments.gate:
        return _judge(
            arguments, bundle, open_bundle(arguments.gate[1]), series, settings.threshold.false_alarms_per_day
        )
    windows, alarms = settings.windows, settings.threshold
    run = run_bundle(bundle, series, windows=windows, alarms=alarms)
    labelled = series.test_labels is not None
    report = evaluate_bundle(
        bundle,
        series,
        windows=windows,
        alarms=alarms,
        floors=labelled and not arguments.no_floors,  # without labels there is nothing to compare by
        oracle_floors=labelled,
        run=run,
    )
    listed = list_alarms(bundle, series, settings) if arguments.alarms or not labelled else None
    to_stdout = str(arguments.json) == "-"
    if not to_stdout:
        if labelled:
            print_report(report)
        else:
            print_unlabelled(report)
        if listed is not None:
            print_alarms(listed)
    if arguments.json is not None:
        alarms_too = {} if listed is None else {"alarm_list": [alarm.to_json() for alarm in listed]}
        write_json(arguments.json, report.to_json() | alarms_too, to_stdout=to_stdout)
    if arguments.plot is not None:
        _plot(arguments.plot, bundle, series, run)
        print(f"plot: {arguments.plot}", file=sys.stderr if to_stdout else sys.stdout)
    return 0


def _judge(
    arguments: argparse.Namespace, old: Bundle, new: Bundle, series: SensorSeries, false_alarms_per_day: float
) -> int:
    """The gate's verdict on standard output."""
    from wheeltapper.training.adaptation.series_gate import judge_on_series

    verdict = judge_on_series(old, new, series, false_alarms_per_day)
    to_stdout = str(arguments.json) == "-"
    if not to_stdout:
        word = "accepted" if verdict.accepted else "rejected"
        print(
            f"{word}{' with reserve' if verdict.with_reserve else ''}: {new.manifest.bundle_id} for {old.manifest.bundle_id}"
        )
        for reason in verdict.reasons:
            print(f"  {reason}")
    if arguments.json is not None:
        write_json(arguments.json, verdict.to_json(), to_stdout=to_stdout)
    return 0 if verdict.accepted else REJECTED


def _overrides(stride: int | None) -> dict[str, dict[str, int]]:
    if stride is None:
        return {}
    if stride < 1:
        raise InputError(f"--stride {stride}: expected at least 1 row")
    return {"windows": {"stride": stride}}


def print_report(report: Report) -> None:
    """The report as tables on standard output."""
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    console.print(
        f"[bold]{report.bundle}[/] on {report.dataset} {report.entity}: {report.rows} rows, {report.labelled_rows} labelled "
        f"in {report.events} segments"
    )
    for warning in report.warnings:
        console.print(f"[yellow]{warning}[/]")
    ranking = _table_of_floors(report, "Ranking", _RANKING)
    ranking.caption = f"VUS buffer {report.vus_buffer} rows; floors are fitted on the train part"
    console.print(ranking)
    if report.hit_rate_100 is not None:
        console.print(_table_of_floors(report, "Localization", _LOCALIZATION))
    console.print(_alarm_table(report))


def print_unlabelled(report: Report) -> None:
    """What can be said of a test part without labels."""
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    console.print(f"[bold]{report.bundle}[/] on {report.dataset} {report.entity}: {report.rows} rows")
    for warning in report.warnings:
        console.print(f"[yellow]{warning}[/]")
    console.print(
        f"{counted(report.alarms, 'alarm')}, {report.false_alarms_per_day:.2f} a day; on in {three(report.on_share)} of the rows"
    )
    console.print(_rule_of(report), style="dim")


def print_alarms(listed: Sequence[ListedAlarm]) -> None:
    """One line an alarm: since when, how long, how bad, and which channels, expected -> measured (share) in its worst row."""
    from rich.console import Console

    from wheeltapper.alarm_list import render_alarm

    console = Console(highlight=False, soft_wrap=True)
    if listed:
        console.print(
            "alarms, each by its worst row; channels as expected -> measured (share of the score):", style="dim"
        )
    for alarm in listed:
        console.print(render_alarm(alarm), soft_wrap=True)


def _table_of_floors(report: Report, title: str, columns: Sequence[tuple[str, str]]) -> Table:
    """The bundle's row and the floors' rows; floors that have none of the columns are left out."""
    from rich.table import Table

    table = Table(title=title, title_justify="left", caption_justify="left")
    table.add_column("score")
    for _, heading in columns:
        table.add_column(heading, justify="right")
    values: dict[str, Any] = report.to_json()
    table.add_row(f"[bold]{report.detector}[/]", *(f"[bold]{three(values[key])}[/]" for key, _ in columns))
    for name, floor in report.floors.items():
        if any(floor.get(key) is not None for key, _ in columns):
            table.add_row(_FLOOR_NAMES.get(name, name), *(three(floor.get(key)) for key, _ in columns))
    return table


def _alarm_table(report: Report) -> Table:
    from rich.table import Table

    table = Table(title="Alarms", title_justify="left", caption_justify="left")
    table.caption = _rule_of(report)
    table.add_column("as the worker raises them")
    for heading in ("value", "random", "random, oracle"):
        table.add_column(heading, justify="right")
    delay = "-" if report.detection_delay_s is None else duration(report.detection_delay_s, ".1f")
    found = f"{report.events_found} of {report.events}"
    false = f"{report.false_alarms} of {report.alarms}"
    table.add_row("events found", f"{found} ({three(report.event_recall)})" if report.events else found)
    table.add_row("events that an alarm opened for", three(report.events_told))
    table.add_row("detection delay, median", delay)
    table.add_row("false alarms per day", f"{report.false_alarms_per_day:.2f} ({false})")
    table.add_row("normal rows with an alarm on", three(report.on_share))
    table.add_row("range F1", three(report.range_f1))
    table.add_row("point F1", three(report.point_f1))
    table.add_row("point F1, oracle threshold", three(report.oracle_point_f1))
    for name, label in (("point_adjusted_f1", "point-adjusted F1"), ("affiliation_f1", "affiliation F1")):
        floors = (getattr(report, name + suffix) for suffix in ("", "_random_floor", "_oracle_random_floor"))
        table.add_row(label, *(three(value) for value in floors))
    return table


def _rule_of(report: Report) -> str:
    """Under which settings the alarms were raised."""
    rule = report.settings["threshold"]
    given = rule["raise_level"] is not None and rule["method"] == "fixed"
    level = (
        f"{rule['raise_level']:g} x the bundle's alarm level" if given else f"{rule['false_alarms_per_day']:g} a day"
    )
    opens = f"after {duration(rule['min_duration_s'])}" if rule["min_duration_s"] else "with one window"
    clears = rule["clear_duration_s"]
    after = "30 intervals, an hour at most," if clears is None else duration(clears)
    return (
        f"stride {report.stride}; threshold {rule['method']}, {level}; opens {opens}, "
        f"clears after {after} below {rule['clear_ratio']:g} of the level"
    )


def _plot(path: Path, bundle: Bundle, series: SensorSeries, run: StreamRun) -> None:
    from wheeltapper.training.judging.plots import AlertSpan, plot_run

    calibrated, contribution = run.by_row(run.calibrated), run.by_row(run.contribution)
    spans = []
    for start, _, stop in (alarm.rows for alarm in run.alarms):
        worst = contribution[start + int(calibrated[start:stop].argmax())]
        shares = worst / max(float(worst.sum()), 1e-30)
        blamed = tuple((series.channels[channel], float(shares[channel])) for channel in (-shares).argsort()[:5])
        spans.append(AlertSpan(int(series.test_ts[start]), int(series.test_ts[stop - 1]), blamed))
    title = f"{bundle.manifest.bundle_id} on {series.dataset} {series.entity}"
    plot_run(path, series, series.test_ts, calibrated, run.by_row(run.level), spans, title=title)
