"""PSM, eBay's Pooled Server Metrics: 25 features of application servers, a row a minute.

    train.csv, test.csv: timestamp_(min), feature_0 .. feature_24        test_label.csv: timestamp_(min), label

Plain or gzipped. Train and test part are the publisher's; there is one entity, psm. Minutes count from an unknown start,
so the clock is made up but keeps the gaps. Empty cells (in train) are missing values.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.arrays import as_labels, same_length
from wheeltapper.training.datasets.clock import MADE_UP_INTERVAL_S, MADE_UP_TEST_START, MICROS_PER_SECOND
from wheeltapper.training.datasets.labels import segments_of
from wheeltapper.training.datasets.places import csv_file, home, need_csv
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.datasets.tables import as_float32, read_columns, read_header

ENTITY = "psm"
TIME, LABEL = "timestamp_(min)", "label"
_MINUTE = 60 * MICROS_PER_SECOND


def entities(data: Path) -> tuple[str, ...]:
    """One: psm."""
    _root(data)
    return (ENTITY,)


def load(data: Path, entity: str) -> SensorSeries:
    """Values [T, 25] float32 with NaN where a cell is empty, and point labels."""
    folder = _root(data)
    label_path = need_csv(folder, "PSM", "test_label")
    train_path, test_path = need_csv(folder, "PSM", "train"), need_csv(folder, "PSM", "test")
    channels = _features(train_path)
    other = _features(test_path)
    if set(other) != set(channels):
        raise InputError(
            f"{test_path} has other features than {train_path.name}, expected the same; they differ in "
            f"{', '.join(sorted(set(other) ^ set(channels))[:5])}"
        )
    train_minutes, train = _read(train_path, channels)
    test_minutes, test = _read(test_path, channels)
    label_minutes, flags = _read(label_path, (LABEL,))
    labels = as_labels(flags[:, 0], label_path)
    same_length(label_path, labels, len(test))
    differing = np.flatnonzero(label_minutes != test_minutes)
    if len(differing):
        row = int(differing[0])
        raise InputError(
            f"{label_path}, line {row + 2}: minute {label_minutes[row]}, expected {test_minutes[row]} as in "
            f"{test_path.name}; take both from one release"
        )
    return SensorSeries(
        dataset="psm",
        entity=entity,
        channels=channels,
        units=("",) * len(channels),
        sampling_interval_s=MADE_UP_INTERVAL_S,
        train=train,
        train_ts=MADE_UP_TEST_START + _MINUTE * (train_minutes - train_minutes[-1] - 1),
        test=test,
        test_ts=MADE_UP_TEST_START + _MINUTE * (test_minutes - test_minutes[0]),
        test_labels=labels,
        segments=segments_of(labels),
        made_up_clock=True,
    )


def _root(data: Path) -> Path:
    return home(
        data,
        ("PSM", "data"),
        lambda folder: csv_file(folder, "train") is not None and csv_file(folder, "test") is not None,
        "holds no PSM; expected train.csv, test.csv and test_label.csv",
    )


def _features(path: Path) -> tuple[str, ...]:
    _, names = read_header(path)
    features = tuple(name for name in names if name != TIME)
    if TIME not in names or not features or LABEL in features:
        raise InputError(
            f"{path}, line 1: columns are {', '.join(names[:4])}, ..; expected {TIME}, feature_0, feature_1, .."
        )
    return features


def _read(path: Path, columns: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """[T] whole minutes and [T, len(columns)] values."""
    separator, names = read_header(path)
    missing = [name for name in (TIME, *columns) if name not in names]
    if missing:
        raise InputError(f"{path}, line 1: column '{missing[0]}' is missing; columns are {', '.join(names[:4])}, ..")
    table = read_columns(path, separator, names, numbers=[TIME, *columns])
    minutes = table.column(TIME).to_numpy()
    wrong = np.flatnonzero(~np.isfinite(minutes) | (np.diff(minutes, prepend=-np.inf) <= 0))
    if len(wrong):
        raise InputError(
            f"{path}, line {wrong[0] + 2}, column '{TIME}': found {minutes[wrong[0]]:g}, expected a minute after that of "
            "the row before; copy the file again"
        )
    return np.rint(minutes).astype(np.int64), as_float32(path, table, columns)
