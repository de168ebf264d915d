"""`wheeltapper datasets`: which data sets are there, which are broken, and where the others are offered."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wheeltapper.training.datasets.found import FoundDataset

_HEADER = ("data set", "entities", "channels", "rows", "test rows", "anomalous", "kind of data", "folder")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        type=Path,
        metavar="ROOT",
        help="the folder that holds the data sets' folders (default: $WHEELTAPPER_DATA)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON list instead of the table")
    parser.add_argument(
        "--quick", action="store_true", help="list entities without reading them: no rows, and broken files stay unseen"
    )


def run(arguments: argparse.Namespace) -> int:
    """Raises InputError: ROOT is no folder. A data set that cannot be read is listed, and is no failure of the command."""
    from wheeltapper.training.datasets.found import found

    datasets = found(arguments.data, counted=not arguments.quick)
    print(_as_json(datasets) if arguments.json else "\n".join(_as_text(datasets)))
    return 0


def _as_json(datasets: Iterable[FoundDataset]) -> str:
    from wheeltapper.training.datasets.registry import dataset_info

    entries = []
    for dataset in datasets:
        entry = asdict(dataset) | {"state": dataset.state}
        entry["folder"] = None if dataset.folder is None else str(dataset.folder)
        entries.append(
            entry | {key: value for key, value in asdict(dataset_info(dataset.name)).items() if key != "loader"}
        )
    return json.dumps(entries, indent=2)


def _as_text(datasets: list[FoundDataset]) -> list[str]:
    """Three parts: a table of what can be read, what is broken and why, what is missing and who offers it."""
    from wheeltapper.training.datasets.registry import dataset_info

    there = [dataset for dataset in datasets if dataset.entities]
    lines = _table([_HEADER, *(_row(dataset) for dataset in there)])
    broken = [dataset for dataset in datasets if dataset.errors]
    if broken:
        lines += ["", "Found, but not completely readable:"]
        lines += [f"  {dataset.name}: {error}" for dataset in broken for error in dataset.errors]
    said = [(dataset.name, warning) for dataset in datasets for warning in dataset.warnings]
    if said:
        lines += ["", "Warnings:"]
        lines += [f"  {name}: {warning}" for name, warning in said]
    missing = [dataset_info(dataset.name) for dataset in datasets if dataset.state == "missing"]
    if missing:
        lines += ["", "Missing, with their publishers' pages:"]
        rows = [(f"  {info.name}", info.title, info.publisher, info.licence, info.page) for info in missing]
        lines += _table(rows, right=())
    return lines


def _row(dataset: FoundDataset) -> tuple[str, ...]:
    from wheeltapper.training.datasets.registry import dataset_info

    counts = (dataset.channels, dataset.rows, dataset.test_rows, dataset.anomalous_rows)
    return (
        dataset.name,
        str(len(dataset.entities)),
        *("-" if count is None else str(count) for count in counts),
        dataset_info(dataset.name).kind + (", clips" if dataset_info(dataset.name).holds == "sound" else ""),
        "" if dataset.folder is None else str(dataset.folder),
    )


def _table(rows: Sequence[tuple[str, ...]], right: tuple[int, ...] = (1, 2, 3, 4, 5)) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
