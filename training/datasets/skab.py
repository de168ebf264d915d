"""SKAB, the Skoltech Anomaly Benchmark: a water loop with a pump and valves, 8 sensors, a row a second.

Read as in the publisher's repository (plain or gzipped): `data/valve1/0.csv`, `data/valve2/`, `data/other/`, columns
separated by `;`:

    datetime, 8 sensors, anomaly, changepoint

An entity is an experiment, `group/number`: valve1/0. The recording `anomaly-free` has no labels and is none.

Train part: the first 400 rows of each experiment, the test part the others; this is the publisher's own outlier
detection protocol. In one experiment (other/2) 296 of the 400 are themselves labelled anomalous. `changepoint` is not
used. Times carry no zone and are taken as UTC; some experiments were stopped for up to four minutes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.clock import later_rows, median_interval_s
from wheeltapper.training.datasets.labels import segments_of
from wheeltapper.training.datasets.places import csv_file, csv_stem, home, natural_order
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.datasets.tables import as_float32, read_columns, read_header, times_from_text

TRAIN_ROWS = 400
# Sensor -> unit, from the publisher's description.
UNITS = {
    "Accelerometer1RMS": "g",
    "Accelerometer2RMS": "g",
    "Current": "A",
    "Pressure": "bar",
    "Temperature": "degC",
    "Thermocouple": "degC",
    "Voltage": "V",
    "Volume Flow RateRMS": "L/min",
}
_NOT_SENSORS = ("datetime", "anomaly", "changepoint")


def entities(data: Path) -> tuple[str, ...]:
    """`group/number` of every labelled experiment."""
    return tuple(sorted(_experiments(_root(data)), key=natural_order))


def load(data: Path, entity: str) -> SensorSeries:
    """One experiment: values [T, 8] float32 and point labels."""
    path = csv_file(_root(data), entity)
    assert path is not None, "an entity of `entities`"
    separator, names = read_header(path)
    missing = [name for name in ("datetime", "anomaly") if name not in names]
    channels = tuple(name for name in names if name not in _NOT_SENSORS)
    if missing or not channels:
        raise InputError(
            f"{path}, line 1: columns are {', '.join(names)}; expected datetime, sensors, anomaly and changepoint"
        )
    table = read_columns(path, separator, names, numbers=[*channels, "anomaly"], texts=["datetime"])
    times = times_from_text(path, table.column("datetime"), "datetime")
    kept = later_rows(path, times)
    flags = as_float32(path, table, ["anomaly"])[:, 0]
    wrong = np.flatnonzero((flags != 0) & (flags != 1))
    if len(wrong):
        raise InputError(f"{path}, line {wrong[0] + 2}, column 'anomaly': found {flags[wrong[0]]:g}, expected 0 or 1")
    times, values, labels = times[kept], as_float32(path, table, channels)[kept], flags[kept].astype(np.uint8)
    if len(times) <= TRAIN_ROWS:
        raise InputError(
            f"{path} has {len(times)} rows, expected more than the {TRAIN_ROWS} of the train part; copy it again"
        )
    return SensorSeries(
        dataset="skab",
        entity=entity,
        channels=channels,
        units=tuple(UNITS.get(name, "") for name in channels),
        sampling_interval_s=median_interval_s(times),
        train=values[:TRAIN_ROWS],
        train_ts=times[:TRAIN_ROWS],
        test=values[TRAIN_ROWS:],
        test_ts=times[TRAIN_ROWS:],
        test_labels=labels[TRAIN_ROWS:],
        segments=segments_of(labels[TRAIN_ROWS:]),
    )


def _root(data: Path) -> Path:
    return home(
        data,
        ("data", "SKAB/data", "SKAB"),
        lambda folder: bool(_experiments(folder)),
        "holds no SKAB experiment; expected valve1/0.csv, valve2/0.csv, other/1.csv (plain or .gz, also inside data/)",
    )


def _experiments(folder: Path) -> list[str]:
    return [
        f"{group.name}/{stem}"
        for group in folder.iterdir()
        if group.is_dir() and (group.name == "other" or group.name.startswith("valve"))
        for path in group.iterdir()
        if (stem := csv_stem(path)) is not None
    ]
