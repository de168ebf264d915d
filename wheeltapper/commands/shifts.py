"""`wheeltapper shifts`: streams with a known change, under every strategy, with tables and a report."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from wheeltapper.command_line import RawFormatter
from wheeltapper.commands.compare import usable_cores
from wheeltapper.training.detectors.registry import DETECTORS

if TYPE_CHECKING:
    from wheeltapper.training.lab.shifts.run import ShiftRun

EPILOG = """
OUT/report.html and OUT/report.md are the reports, OUT/rows.csv the numbers of every run. docs/shifts.md describes them.

examples:
  wheeltapper shifts --dataset simulated --entity pump-1 --detector pca --scenario none sensor-replaced --out out/shifts
  wheeltapper shifts --dataset smd asd cbm_motor --data data --full --out out/shifts-all
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    parser.formatter_class = RawFormatter
    parser.add_argument(
        "--dataset",
        nargs="+",
        default=["simulated"],
        metavar="NAME",
        help="data sets of `wheeltapper datasets`, and cbm_motor, the recordings of a motor at several speeds and loads",
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="the data set's own folder; for several, the folder that holds theirs (default: $WHEELTAPPER_DATA)",
    )
    parser.add_argument(
        "--entity",
        nargs="+",
        default=[],
        metavar="E",
        help="only these machines (default: the first two of each data set)",
    )
    parser.add_argument("--full", action="store_true", help="every machine of each data set: hours instead of minutes")
    parser.add_argument("--scenario", nargs="+", default=[], metavar="S", help="only these (default: all)")
    parser.add_argument("--strategy", nargs="+", default=[], metavar="S", help="only these (default: all)")
    parser.add_argument(
        "--detector",
        nargs="+",
        default=["range-bands", "pca"],
        metavar="D",
        help=f"some of {', '.join(DETECTORS)} (default: range-bands and pca)",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder for bundles, results and reports"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of what changes, of faults and of trainings")
    parser.add_argument(
        "--processes", type=int, default=usable_cores(), metavar="N", help="processes (default: one for each core)"
    )
    parser.add_argument(
        "--budget", type=float, metavar="MINUTES", help="limit for one training, for networks (default: none)"
    )
    parser.add_argument(
        "--report-only",
        action="store_true",
        help="write the reports again from the rows in OUT, without running anything",
    )


def run(arguments: argparse.Namespace) -> int:
    """Raises InputError: wrong options, or no such data."""
    from wheeltapper.schemas.errors import InputError
    from wheeltapper.training.lab.compare.watch import console_watch
    from wheeltapper.training.lab.shifts.machines import find_machines
    from wheeltapper.training.lab.shifts.run import ShiftOptions, report_only, run_shifts

    if arguments.budget is not None and not 0 < arguments.budget < float("inf"):
        raise InputError(f"--budget is {arguments.budget:g} minutes, expected above 0")
    options = ShiftOptions(
        out=arguments.out,
        detectors=tuple(dict.fromkeys(arguments.detector)),
        scenarios=tuple(arguments.scenario),
        strategies=tuple(dict.fromkeys(arguments.strategy)),
        seed=arguments.seed,
        processes=arguments.processes,
        budget_s=None if arguments.budget is None else 60 * arguments.budget,
        command=command_text(arguments),
    )
    if arguments.report_only:
        print_run(report_only(options))
        return 0
    machines, notes = find_machines(arguments.dataset, arguments.data, arguments.entity, full=arguments.full)
    for note in notes:
        print(note, file=sys.stderr)
    print_run(run_shifts(machines, options, watch=console_watch))
    return 0


def command_text(arguments: argparse.Namespace) -> str:
    """What to type for the same result; folders by their names only, they differ from machine to machine."""
    words = ["wheeltapper", "shifts", "--dataset", *arguments.dataset]
    if arguments.data is not None:
        words += ["--data", arguments.data.name or str(arguments.data)]
    for name in ("entity", "scenario", "strategy", "detector"):
        if getattr(arguments, name):
            words += [f"--{name}", *getattr(arguments, name)]
    words += ["--full"] * arguments.full
    words += ["--seed", str(arguments.seed)]
    if arguments.budget is not None:
        words += ["--budget", f"{arguments.budget:g}"]
    return shlex.join([*words, "--out", arguments.out.name or "out"])


def print_run(found: ShiftRun) -> None:
    """The overview, and where the rest is."""
    from rich.console import Console
    from rich.table import Table

    from wheeltapper.training.lab.compare.document import cell_text
    from wheeltapper.training.lab.shifts.report import overview

    console = Console(highlight=False, soft_wrap=True)
    grid = overview(found.rows, list(dict.fromkeys(row.strategy for row in found.rows)))
    table = Table(title="Strategies, all runs", title_justify="left", show_header=False)
    # Strategies are few and measures many: a column for each strategy fits a terminal.
    for index in range(len(grid.rows) + 1):
        table.add_column(justify="right" if index else "left", no_wrap=True)
    for index, column in enumerate(grid.columns):
        table.add_row(column, *(cell_text(cells[index]) for cells in grid.rows))
    console.print(table)
    for line in found.failed:
        print(f"without rows {line}")
    print(f"report       {found.html}, {found.markdown}")
    print(f"numbers      {found.csv}")
