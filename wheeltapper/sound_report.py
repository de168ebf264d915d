"""`wheeltapper evaluate` on a bundle of sound: its report as tables, JSON and a picture."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.text import counted

if TYPE_CHECKING:
    from wheeltapper.alarm_list import ListedClip
    from wheeltapper.schemas.bundle import Bundle
    from wheeltapper.training.judging.sound_evaluation import SoundReport

_RANKING = (
    ("auc", "AUC"),
    ("pauc", "pAUC"),
    ("auc_source", "AUC source"),
    ("auc_target", "AUC target"),
    ("official", "harmonic mean"),
)
_FLOOR_NAMES = {"random": "random", "loudness": "loudness", "knn_mel": "1-NN log-mel"}


def check_kinds(bundle: Bundle, dataset: str) -> bool:
    """Whether both are of sound.

    Raises:
        InputError: one is of sound and the other of rows.
    """
    from wheeltapper.training.datasets.registry import DATASETS, SOUND_DATASETS, holds_sound

    sound_bundle, sound_data = str(bundle.manifest.kind) == "audio", holds_sound(dataset)
    if sound_bundle != sound_data:
        bundles, data = ("sound", "rows of sensors") if sound_bundle else ("rows of sensors", "sound")
        others = SOUND_DATASETS if sound_bundle else DATASETS
        raise InputError(
            f"{bundle.location} ({bundle.manifest.detector}) scores {bundles}, data set '{dataset}' holds {data}; give --dataset, one of "
            f"{', '.join(others)}, or another bundle"
        )
    return sound_bundle


def evaluate_sound_command(arguments: argparse.Namespace, bundle: Bundle, dataset: str, entity: str | None) -> int:
    """
    Raises:
        InputError: options that are of rows alone, or clips that do not fit the bundle.
    """
    from wheeltapper.alarm_list import list_clips
    from wheeltapper.training.datasets.registry import load_sound
    from wheeltapper.training.judging.sound_evaluation import evaluate_sound, every_clip, score_clips

    for option in ("stride", "config", "gate", "rows"):
        if getattr(arguments, option) not in (None, False, []):
            raise InputError(f"--{option} is for bundles of rows, {bundle.location} scores sound; leave it out")
    series = load_sound(dataset, arguments.data, entity)
    if arguments.clips == "all":
        series = every_clip(bundle, series)
    scored = score_clips(bundle, series)
    report = evaluate_sound(bundle, series, floors=not arguments.no_floors, scored=scored)
    to_stdout = str(arguments.json) == "-"
    listed = list_clips(bundle, series, scored) if arguments.alarms or not report.anomalous else None
    if not to_stdout:
        print_sound_report(report)
        if listed is not None:
            print_clips(listed)
    if arguments.json is not None:
        alarms_too = {} if listed is None else {"alarm_list": [clip.to_json() for clip in listed]}
        write_json(arguments.json, report.to_json() | alarms_too, to_stdout=to_stdout)
    if arguments.plot is not None:
        from wheeltapper.training.judging.sound_plots import plot_clips

        plot_clips(arguments.plot, bundle, series, scored, report)
        print(f"plot: {arguments.plot}", file=sys.stderr if to_stdout else sys.stdout)
    return 0


def print_clips(listed: Sequence[ListedClip]) -> None:
    """One line a clip that has a window at the alarm level."""
    from rich.console import Console

    from wheeltapper.alarm_list import render_clip

    console = Console(highlight=False, soft_wrap=True)
    console.print(
        f"{counted(len(listed), 'clip')} with a window at the alarm level{', each by its strangest one:' if listed else ''}",
        style="dim",
    )
    for clip in listed:
        console.print(render_clip(clip), soft_wrap=True)


def print_sound_report(report: SoundReport) -> None:
    """The report as tables on standard output."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, soft_wrap=True)
    console.print(
        f"[bold]{report.bundle}[/] on {report.dataset} {report.entity}: {report.clips} clips, {report.anomalous} anomalous; "
        f"{report.windows} windows of {report.window_s:g} s"
    )
    for warning in report.warnings:
        console.print(f"[yellow]{warning}[/]")
    values: dict[str, Any] = report.to_json()
    columns = [(key, title) for key, title in _RANKING if values[key] is not None or key in ("auc", "pauc", "official")]
    ranking = Table(title="Ranking", title_justify="left", caption_justify="left")
    ranking.caption = f"pAUC up to {report.partial_fpr:g} false positives; floors are fitted on the train clips"
    ranking.add_column("score")
    for _, title in columns:
        ranking.add_column(title, justify="right")
    ranking.add_row(f"[bold]{report.detector}[/]", *(f"[bold]{three(values[key])}[/]" for key, _ in columns))
    for name, floor in report.floors.items():
        ranking.add_row(_FLOOR_NAMES.get(name, name), *(three(floor.get(key)) for key, _ in columns))
    console.print(ranking)
    calls = Table(title="Clips called anomalous", title_justify="left", caption_justify="left")
    calls.caption = f"threshold {report.threshold:.4g}: above it lie {report.threshold_fpr:.0%} of held-out normal windows of the train clips"
    calls.add_column("at")
    for title in ("anomalous found", "normal called", "precision", "F1"):
        calls.add_column(title, justify="right")
    calls.add_row(
        "threshold", *(three(v) for v in (report.recall, report.false_alarm_rate, report.precision, report.f1))
    )
    calls.add_row("alarm level, any window", three(report.alarm_recall), three(report.alarm_rate), "", "")
    console.print(calls)
    if report.patches:
        console.print(
            f"Blame: {three(report.patch_share)} of it lies where the fault was put, which is {three(report.patch_area)} of the picture; "
            f"the most blamed spot lies there in {three(report.patch_peak)} of {report.patches} clips"
        )


def write_json(path: Path, found: Mapping[str, Any], *, to_stdout: bool) -> None:
    """
    Raises:
        InputError: the file cannot be written.
    """
    text = json.dumps(found, indent=2)
    if to_stdout:
        print(text)
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); choose another --json") from error


def three(value: float | None) -> str:
    """Three decimals; '-' where there is no value."""
    return "-" if value is None else f"{value:.3f}"
