"""BATADAL, the Battle of the Attack Detection Algorithms: a simulated water network (C-Town), 43 channels, a row an hour.

The competition's files, plain or gzipped, with or without the prefix `BATADAL_`:

| file | what |
|---|---|
| dataset03.csv | a year of normal operation: the train part |
| dataset04.csv | half a year with attacks: the test part, entity dataset04 |
| test_dataset.csv | three months with further attacks, published without labels: entity test_dataset, if it is there |

Columns: DATETIME (dd/mm/yy hh), L_T* tank levels, F_* flows and S_* states of pumps and valves, P_* pressures, ATT_FLAG;
some releases put a blank before each name. ATT_FLAG is 1 in an attack and 0 elsewhere; the release that competitors
got has -999 for 'not said', which counts as normal here, with a warning, as nothing better is known.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.clock import later_rows, median_interval_s
from wheeltapper.training.datasets.labels import segments_of
from wheeltapper.training.datasets.places import csv_file, home, need_csv
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.datasets.tables import as_float32, read_columns, read_header, times_from_text

TRAIN, TEST, UNLABELLED = "dataset03", "dataset04", "test_dataset"
TIME, LABEL = "DATETIME", "ATT_FLAG"
TIME_FORMAT = "%d/%m/%y %H"
NOT_SAID = -999
# First letter of a channel's name -> unit, from the competition's description; a state has none.
UNITS = {"L": "m", "F": "L/s", "P": "m", "S": ""}
_PREFIXES = ("", "BATADAL_")
_CHANNEL = re.compile(r"^[LFSP]_\w+$")


@dataclass(frozen=True)
class _Recording:
    channels: tuple[str, ...]
    times: np.ndarray
    values: np.ndarray
    labels: np.ndarray | None


def entities(data: Path) -> tuple[str, ...]:
    """The test recordings that are there."""
    folder = _root(data)
    return tuple(name for name in (TEST, UNLABELLED) if csv_file(folder, *_names(name)) is not None)


def load(data: Path, entity: str) -> SensorSeries:
    """Dataset 03 to train on, and one test recording: values [T, 43] float32."""
    folder = _root(data)
    train_path = need_csv(folder, "BATADAL", *_names(TRAIN))
    path = need_csv(folder, "BATADAL", *_names(entity))
    train, test = _read(train_path), _read(path)
    if train.channels != test.channels:
        differing = sorted(set(train.channels) ^ set(test.channels)) or ["their order"]
        raise InputError(
            f"{path} has other channels than {train_path.name}, expected the same; they differ in "
            f"{', '.join(differing[:5])}: take both from the same release"
        )
    return SensorSeries(
        dataset="batadal",
        entity=entity,
        channels=train.channels,
        units=tuple(UNITS[name[0]] for name in train.channels),
        sampling_interval_s=median_interval_s(test.times),
        train=train.values,
        train_ts=train.times,
        test=test.values,
        test_ts=test.times,
        test_labels=None if entity == UNLABELLED else test.labels,
        segments=() if entity == UNLABELLED or test.labels is None else segments_of(test.labels),
    )


def _names(name: str) -> tuple[str, ...]:
    return tuple(f"{prefix}{name}" for prefix in _PREFIXES)


def _root(data: Path) -> Path:
    return home(
        data,
        ("data", "BATADAL"),
        lambda folder: csv_file(folder, *_names(TEST), *_names(UNLABELLED)) is not None,
        "holds no BATADAL recording; expected dataset03.csv and dataset04.csv (plain or .gz, also with the prefix "
        "BATADAL_)",
    )


def _read(path: Path) -> _Recording:
    separator, names = read_header(path)
    channels = tuple(name for name in names if name not in (TIME, LABEL))
    strange = [name for name in channels if not _CHANNEL.match(name)]
    if TIME not in names or strange or not channels:
        raise InputError(
            f"{path}, line 1: found column '{(strange or names)[0]}'; expected {TIME}, channels such as L_T1, F_PU1, "
            f"S_PU1, P_J280, and {LABEL}"
        )
    labelled = [LABEL] if LABEL in names else []
    table = read_columns(path, separator, names, numbers=[*channels, *labelled], texts=[TIME])
    times = times_from_text(path, table.column(TIME), TIME, TIME_FORMAT)
    kept = later_rows(path, times)
    labels = None
    if labelled:
        flags = as_float32(path, table, labelled)[:, 0]
        wrong = np.flatnonzero(~np.isin(flags, (0, 1, NOT_SAID)))
        if len(wrong):
            raise InputError(
                f"{path}, line {wrong[0] + 2}, column '{LABEL}': found {flags[wrong[0]]:g}, expected 0, 1 or {NOT_SAID}"
            )
        unsaid = int((flags == NOT_SAID).sum())
        if unsaid:
            warnings.warn(
                f"{path}: {unsaid} of {len(flags)} rows are not labelled ({NOT_SAID}) and count as normal", stacklevel=2
            )
        labels = (flags[kept] == 1).astype(np.uint8)
    return _Recording(channels, times[kept], as_float32(path, table, channels)[kept], labels)
