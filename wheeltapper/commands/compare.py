"""`wheeltapper compare`: every detector on every entity under the same protocol, with tables, figures and a report."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from wheeltapper.command_line import RawFormatter
from wheeltapper.training.datasets.registry import EVERY_DATASET, SOUND_DATASETS
from wheeltapper.training.detectors.registry import DETECTORS

if TYPE_CHECKING:
    from wheeltapper.training.lab.compare.run import CompareOptions, Comparison

EPILOG = """
Every finished training is kept in OUT/jobs: the same command continues where it stopped, and a result is reused as
long as its data, its settings and its code are the same. OUT/report.html and OUT/report.md are the
reports, OUT/results.json the numbers. docs/compare.md describes them.

examples:
  wheeltapper compare --dataset smd --data ServerMachineDataset --out out/smd
  wheeltapper compare --dataset all --data data --detectors all --seeds 3 --budget 5 --out out/night
  wheeltapper compare --dataset mimii uav cbm --data data --out out/sound
  wheeltapper compare --dataset smd --entities machine-1-2 --detectors range-bands pca:window=16 alora:preset=small --out out/try
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    parser.formatter_class = RawFormatter
    parser.add_argument(
        "--dataset",
        nargs="+",
        metavar="NAME",
        help=f"'all' of rows that are found, or some of {', '.join(EVERY_DATASET)}; sound and rows are compared apart",
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="the data set's own folder; for 'all' or several, the folder that holds theirs (default: $WHEELTAPPER_DATA)",
    )
    parser.add_argument("--entities", nargs="+", default=[], metavar="E", help="only these (default: all)")
    parser.add_argument(
        "--detectors",
        nargs="+",
        default=["all"],
        metavar="D",
        help=f"'all', 'auto', or some of {', '.join(DETECTORS)}; settings after a colon: alora:preset=small,width=32",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for results and reports")
    parser.add_argument(
        "--seeds",
        nargs="+",
        default=["1"],
        metavar="N",
        help="number of seeds, or a list such as 0,1,2; deterministic detectors run once",
    )
    parser.add_argument(
        "--budget",
        type=float,
        metavar="MINUTES",
        help="limit for one training; a training that does not stop is killed later (default: none)",
    )
    parser.add_argument(
        "--jobs", type=int, default=usable_cores(), metavar="N", help="processes (default: one for each core)"
    )
    parser.add_argument(
        "--no-leak",
        action="store_true",
        help="do not compute the effect of values that were scaled over train and test together",
    )
    parser.add_argument(
        "--stride",
        type=int,
        default=1,
        metavar="ROWS",
        help="rows between scored windows; the alarm level is chosen for the same stride",
    )
    parser.add_argument("--device", choices=("cpu", "cuda", "auto"), default="cpu", help="for trained networks")
    parser.add_argument("--retry-errors", action="store_true", help="repeat jobs that failed or were refused")
    parser.add_argument(
        "--report-only", action="store_true", help="write the reports from the results in OUT, without training"
    )


def usable_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run(arguments: argparse.Namespace) -> int:
    """Raises InputError: wrong options, or no such data."""
    from wheeltapper.schemas.errors import InputError
    from wheeltapper.training.lab.compare.contenders import parse_contenders, parse_seeds
    from wheeltapper.training.lab.compare.run import CompareOptions, compare, kept_records, report_only
    from wheeltapper.training.lab.compare.sound_run import compare_sound, report_sound
    from wheeltapper.training.lab.compare.sources import find_sources
    from wheeltapper.training.lab.compare.watch import console_watch

    named = arguments.dataset or []
    if arguments.report_only:
        named = [record["dataset"] for record in kept_records(arguments.out)]
    elif not named:
        raise InputError(f"--dataset is missing; give 'all' or some of {', '.join(EVERY_DATASET)}")
    sound = is_of_sound(named)
    contenders, auto = parse_contenders(arguments.detectors, "audio" if sound else "sensors")
    options = CompareOptions(
        out=arguments.out,
        contenders=contenders,
        auto=auto,
        seeds=parse_seeds(arguments.seeds),
        budget_s=None if arguments.budget is None else 60 * arguments.budget,
        workers=arguments.jobs,
        leak=not arguments.no_leak,
        stride=arguments.stride,
        device=arguments.device,
        retry_errors=arguments.retry_errors,
        command=command_text(arguments),
    )
    if arguments.report_only:
        print_comparison((report_sound if sound else report_only)(options), options)
        return 0
    sources, notes = find_sources(arguments.dataset, arguments.data, arguments.entities)
    for note in notes:
        print(note, file=sys.stderr)
    options = replace(options, notes=tuple(notes))
    try:
        found = (compare_sound if sound else compare)(sources, options, watch=console_watch)
    except KeyboardInterrupt:
        print(
            "stopped; finished results are kept: the same command continues, --report-only writes a report from them",
            file=sys.stderr,
        )
        raise
    print_comparison(found, options)
    return 0


def is_of_sound(names: Sequence[str]) -> bool:
    """Whether data sets hold sound; names that are none are told elsewhere.

    Raises:
        InputError: some hold sound and some rows: they have no measure in common.
    """
    from wheeltapper.schemas.errors import InputError

    of_sound = [name for name in names if name in SOUND_DATASETS]
    if of_sound and len(of_sound) < len(names):
        others = [name for name in names if name not in SOUND_DATASETS]
        raise InputError(
            f"--dataset {' '.join(dict.fromkeys(of_sound))} holds sound, {' '.join(dict.fromkeys(others))} rows of sensors; compare them "
            "one kind at a time"
        )
    return bool(of_sound)


def command_text(arguments: argparse.Namespace) -> str:
    """What to type for the same result; folders by their names only, they differ from machine to machine."""
    words = ["wheeltapper", "compare"]
    if arguments.dataset:
        words += ["--dataset", *arguments.dataset]
    if arguments.data is not None:
        words += ["--data", arguments.data.name or str(arguments.data)]
    for name in ("entities", "detectors"):
        if getattr(arguments, name):
            words += [f"--{name}", *getattr(arguments, name)]
    words += ["--seeds", *arguments.seeds]
    if arguments.budget is not None:
        words += ["--budget", f"{arguments.budget:g}"]
    if arguments.stride != 1:
        words += ["--stride", str(arguments.stride)]
    words += ["--no-leak"] * arguments.no_leak
    return shlex.join([*words, "--out", arguments.out.name or "out"])


def print_comparison(found: Comparison, options: CompareOptions) -> None:
    """The overview, and where the rest is."""
    from rich.console import Console
    from rich.table import Table

    from wheeltapper.training.lab.compare.document import cell_text

    console = Console(highlight=False, soft_wrap=True)
    grid = found.overview
    table = Table(title=grid.title, title_justify="left")
    for index, column in enumerate(grid.columns):
        table.add_column(column, justify="right" if index else "left", no_wrap=True)
    for row, cells in enumerate(grid.rows):
        style = "dim" if row in grid.muted else None
        texts = [
            f"[bold]{cell_text(cell)}[/]" if (row, column) in grid.strong else cell_text(cell)
            for column, cell in enumerate(cells)
        ]
        table.add_row(*texts, style=style)
    console.print(table)
    failed = sum(bool(row["error"]) for row in found.rows if row["role"] != "auto")
    cut = sum(bool(row["cut"]) for row in found.rows if row["role"] != "auto")
    print(
        f"jobs         {found.done} done now, {found.kept} kept from before; {failed} without numbers, {cut} cut by budget"
    )
    print(f"report       {found.html}, {found.markdown}")
    print(f"numbers      {found.results}")
