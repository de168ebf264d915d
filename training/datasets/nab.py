"""NAB, the Numenta Anomaly Benchmark: single-channel series of servers, machines, traffic and tweets.

Read as in Numenta's repository, or the same files gzipped with the labels beside the groups:

    data/realKnownCause/nyc_taxi.csv   labels/combined_windows.json
    realKnownCause/nyc_taxi.csv.gz     combined_windows.json

A file has the columns timestamp, value. An entity is `group/name`, e.g. realKnownCause/nyc_taxi.

Train part: NAB's probation period, the first min(15 % of the rows, 750) rows. NAB labels nothing there; it is short, so
expect much less of it than of a real train part. Labels: the rows inside NAB's windows, both ends included.

Times carry no zone and are taken as UTC. Where the clock stands still or goes back (summer time; 3 of the series known
to us), every row is kept and those rows are spread up to the next later one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from wheeltapper.schemas.clock import micros_from_iso
from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.clock import median_interval_s, spread_repeats
from wheeltapper.training.datasets.labels import segments_of
from wheeltapper.training.datasets.places import csv_file, csv_stem, home, natural_order
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.datasets.tables import as_float32, read_columns, read_header, times_from_text

WINDOW_FILE = "combined_windows.json"
COLUMNS = ("timestamp", "value")
PROBATION_PART = 0.15
# 15 % of 5,000 rows.
PROBATION_MOST = 750


def entities(data: Path) -> tuple[str, ...]:
    """`group/name` of every series."""
    folder = _root(data)
    return tuple(
        f"{group.name}/{name}" for group in _groups(folder) for name in sorted(_series(group), key=natural_order)
    )


def load(data: Path, entity: str) -> SensorSeries:
    """One series: values [T, 1] float32, and the rows of its windows as labels."""
    folder = _root(data)
    path = csv_file(folder, entity)
    assert path is not None, "an entity of `entities`"
    separator, names = read_header(path)
    if names != COLUMNS:
        raise InputError(f"{path}, line 1: columns are {', '.join(names)}, expected {', '.join(COLUMNS)}")
    table = read_columns(path, separator, names, numbers=["value"], texts=["timestamp"])
    told = times_from_text(path, table.column("timestamp"), "timestamp")
    values = as_float32(path, table, ["value"])
    labels = np.zeros(len(told), dtype=np.uint8)
    window_file = _window_file(folder)
    for first, last in _windows(window_file, entity):
        # By the source's own times: a repeated hour is labelled as NAB labels it.
        labels[(told >= first) & (told <= last)] = 1
    train_rows = probation_rows(len(told))
    if not 0 < train_rows < len(told):
        raise InputError(f"{path} has {len(told)} rows, expected at least 7, of which 15 % are the train part")
    times = spread_repeats(told)
    return SensorSeries(
        dataset="nab",
        entity=entity,
        channels=("value",),
        units=("",),
        sampling_interval_s=median_interval_s(times),
        train=values[:train_rows],
        train_ts=times[:train_rows],
        test=values[train_rows:],
        test_ts=times[train_rows:],
        test_labels=labels[train_rows:],
        segments=segments_of(labels[train_rows:]),
    )


def probation_rows(rows: int) -> int:
    """Rows that NAB leaves a detector to settle in: min(15 %, 750)."""
    return min(int(PROBATION_PART * rows), PROBATION_MOST)


def _root(data: Path) -> Path:
    return home(
        data,
        ("data", "NAB/data", "NAB"),
        lambda folder: any(True for _ in _groups(folder)),
        "holds no NAB series; expected data/realKnownCause/nyc_taxi.csv beside labels/combined_windows.json, or "
        "realKnownCause/nyc_taxi.csv.gz beside combined_windows.json",
    )


def _groups(folder: Path) -> list[Path]:
    """Folders of series; NAB's groups are named real.. or artificial.."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.is_dir() and path.name.startswith(("real", "artificial")) and _series(path)
    )


def _series(group: Path) -> list[str]:
    return [stem for path in group.iterdir() if (stem := csv_stem(path)) is not None]


def _window_file(folder: Path) -> Path:
    places = (folder / WINDOW_FILE, folder / "labels" / WINDOW_FILE, folder.parent / "labels" / WINDOW_FILE)
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise InputError(f"{places[2]} is missing; expected NAB's windows there or in {folder}: copy it there")
    return path


def _windows(path: Path, entity: str) -> list[tuple[int, int]]:
    """First and last moment, in microseconds UTC, of a series' windows."""
    try:
        known: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: is not JSON ({error}); copy the file again") from error
    key = f"{entity}.csv"
    if not isinstance(known, dict) or key not in known:
        raise InputError(f"{path} has no entry '{key}', expected its windows (an empty list for none); copy it again")
    try:
        return [(micros_from_iso(first), micros_from_iso(last)) for first, last in known[key]]
    except (TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path}, entry '{key}': found {str(known[key])[:60]}, expected pairs of times such as "
            '["2014-10-30 15:30:00", "2014-11-03 22:30:00"]'
        ) from error
