"""SWaT, the Secure Water Treatment testbed of iTrust (release A1 & A2, December 2015): 51 channels, a row a second.

The publisher's sheets, exported as CSV (plain or gzipped):

    SWaT_Dataset_Normal_v1.csv (or v0; v1 lacks v0's first half hour)   SWaT_Dataset_Attack_v0.csv

A line with the stages P1 .. P6 may stand above the column names; names and cells may begin with blanks. Columns:
Timestamp (dd/mm/yyyy hh:mm:ss AM/PM), 51 sensors and actuators, Normal/Attack: Normal, Attack or, misspelt in the source,
'A ttack'.

Train part: the normal sheet, v1 where both are there; test part: the attack sheet. One entity, swat. The first hours of
the normal sheet are the plant filling up; nothing is cut here. Times carry no zone and are taken as UTC. Which points an
attack touched is only in the publisher's list of attacks, so segments have no channels.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.clock import later_rows, median_interval_s
from wheeltapper.training.datasets.labels import segments_of
from wheeltapper.training.datasets.places import csv_stem, home
from wheeltapper.training.datasets.plant_logs import find_header, log_times, same_channels
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.datasets.tables import as_float32, read_columns

ENTITY = "swat"
TIME, LABEL = "Timestamp", "Normal/Attack"
# First letters of a channel's name -> unit, from the publisher's description.
UNITS = {"FIT": "m3/h", "LIT": "mm", "PIT": "kPa", "DPIT": "kPa"}
_NORMAL = re.compile(r"^swat.*normal", re.IGNORECASE)
_ATTACK = re.compile(r"^swat.*attack", re.IGNORECASE)


def entities(data: Path) -> tuple[str, ...]:
    """One: swat."""
    _root(data)
    return (ENTITY,)


def load(data: Path, entity: str) -> SensorSeries:
    """Values [T, 51] float32 and point labels."""
    folder = _root(data)
    train_path, test_path = _sheet(folder, _NORMAL), _sheet(folder, _ATTACK)
    if train_path is None:
        raise InputError(
            f"{folder / 'SWaT_Dataset_Normal_v1.csv'} is missing; expected the normal sheet as CSV beside {test_path}"
        )
    assert test_path is not None, "_root saw it"
    channels, train_ts, train, _ = _read(train_path)
    others, test_ts, test, labels = _read(test_path)
    same_channels(test_path, others, train_path, channels)
    if labels is None:
        raise InputError(f"{test_path}: column '{LABEL}' is missing, expected the labels there; export the sheet again")
    if others != channels:
        test = test[:, [others.index(name) for name in channels]]
    return SensorSeries(
        dataset="swat",
        entity=entity,
        channels=channels,
        units=tuple(UNITS.get(re.sub(r"\d.*", "", name), "") for name in channels),
        sampling_interval_s=median_interval_s(test_ts),
        train=train,
        train_ts=train_ts,
        test=test,
        test_ts=test_ts,
        test_labels=labels,
        segments=segments_of(labels),
    )


def _root(data: Path) -> Path:
    def holds(folder: Path) -> bool:
        if _sheet(folder, _ATTACK) is not None:
            return True
        sheets = [path.name for path in folder.iterdir() if path.suffix == ".xlsx" and _ATTACK.match(path.name)]
        if sheets:
            raise InputError(
                f"{folder / sheets[0]} is a spreadsheet, expected CSV; export it (and the normal sheet) as CSV"
            )
        return False

    return home(
        data,
        ("Physical", "SWaT"),
        holds,
        "holds no SWaT sheet; expected SWaT_Dataset_Normal_v1.csv and SWaT_Dataset_Attack_v0.csv",
    )


def _sheet(folder: Path, pattern: re.Pattern[str]) -> Path | None:
    """The sheet of the highest version."""
    found = sorted(path for path in folder.iterdir() if csv_stem(path) is not None and pattern.match(path.name))
    return found[-1] if found else None


def _read(path: Path) -> tuple[tuple[str, ...], np.ndarray, np.ndarray, np.ndarray | None]:
    """Channels, times [T], values [T, C] and, where the sheet says, labels [T]."""
    header = find_header(path, (TIME,))
    time_name = next(name for name in header.names if name.lower() == TIME.lower())
    label_name = next((name for name in header.names if name.lower() == LABEL.lower()), None)
    apart = {time_name, label_name}
    channels = tuple(name for name in header.names if name not in apart)
    table = read_columns(
        path,
        header.separator,
        header.names,
        numbers=channels,
        texts=[name for name in (time_name, label_name) if name is not None],
        header_lines=header.lines,
    )
    times = log_times(path, table.column(time_name), time_name, "%d/%m/%Y")
    kept = later_rows(path, times)
    labels = None if label_name is None else _labels(path, table.column(label_name), label_name, header.lines)
    values = as_float32(path, table, channels)
    if not kept.all():
        times, values, labels = times[kept], values[kept], None if labels is None else labels[kept]
    return channels, times, values, labels


def _labels(path: Path, column: pa.ChunkedArray, name: str, header_lines: int) -> np.ndarray:
    words = pc.utf8_lower(pc.replace_substring(column, " ", ""))
    attack = np.asarray(pc.equal(words, "attack").to_numpy())
    wrong = np.flatnonzero(~attack & ~np.asarray(pc.equal(words, "normal").to_numpy()))
    if len(wrong):
        row = int(wrong[0])
        raise InputError(
            f"{path}, line {header_lines + row + 1}, column '{name}': found '{column[row].as_py()}', expected Normal or "
            "Attack"
        )
    return attack.astype(np.uint8)
