"""WADI, the Water Distribution testbed of iTrust: 123 to 127 channels, a row a second, 14 days normal, 2 days with attacks.

The publisher's files of both releases (plain or gzipped), also inside a release's own folder:

| release | normal | attacks |
|---|---|---|
| A1, October 2017 | WADI_14days.csv, 4 lines above the column names | WADI_attackdata.csv, without labels |
| A2, November 2019 | WADI_14days_new.csv | WADI_attackdataLABLE.csv, a line of numbers above the names, and a column `Attack LABLE (1:No Attack, -1:Attack)` |

Columns: Row, Date (m/d/yyyy), Time, the channels (in A1 with the path of a log server before each name). Four channels
hold nothing and are left out, as is any other that is empty in the normal file.

Train part: the normal file; test part: the attack file. One entity a release: a1, a2. Without a label column the rows of
the publisher's table of attacks (below) are labelled, both ends included. The table also names the points attacked; they
become a segment's channels where the times are whole. Times carry no zone and are taken as UTC. Some copies of A2 hold
times cut to minutes and seconds (`00:00.0`); the clock is then made up, a row a second.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from wheeltapper.schemas.clock import micros_from_iso
from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.clock import MICROS_PER_SECOND, later_rows, made_up_times, median_interval_s
from wheeltapper.training.datasets.labels import segments_of
from wheeltapper.training.datasets.places import csv_file, need_csv
from wheeltapper.training.datasets.plant_logs import Header, find_header, log_times, same_channels
from wheeltapper.training.datasets.series import LabelledSegment, SensorSeries
from wheeltapper.training.datasets.tables import as_float32, read_columns

_NORMAL = {"a1": ("WADI_14days",), "a2": ("WADI_14days_new",)}
# A labelled copy of A1's attack file is taken before the published one.
_ATTACK = {
    "a1": ("WADI_attackdata_labelled", "WADI_attackdata"),
    "a2": ("WADI_attackdataLABLE", "WADI_attackdata_labelled"),
}
_NESTED = {"a1": ("WADI.A1_9 Oct 2017",), "a2": ("WADI.A2_19 Nov 2019",)}
_NOT_CHANNELS = ("row", "date", "time")
_LABEL = re.compile(r"attack.*la?be?l", re.IGNORECASE)
_CUT_TIME = re.compile(r"^\d{1,2}:\d{2}(\.\d+)?$")

# Day of October 2017, first and last second, and the points attacked, from the publisher's table of attacks; two
# public copies of it agree about these. 13 and 14 name points in one copy only, and have none here.
ATTACKS: tuple[tuple[int, str, str, tuple[str, ...]], ...] = (
    (9, "19:25:00", "19:50:16", ("1_MV_001",)),
    (10, "10:24:10", "10:34:00", ("1_FIT_001",)),
    (10, "10:55:00", "11:24:00", ("2_LT_002",)),
    (10, "11:30:40", "11:44:50", tuple(f"2_MCV_{number}01" for number in range(1, 7))),
    (10, "13:39:30", "13:50:40", ("2_MCV_101", "2_MCV_201")),
    (10, "14:48:17", "14:59:55", ("1_AIT_002", "2_MV_003")),
    (10, "17:40:00", "17:49:40", ("2_MCV_007",)),
    (11, "10:55:00", "10:56:27", ("1_P_006",)),
    (11, "11:17:54", "11:31:20", ("1_MV_001",)),
    (11, "11:36:31", "11:47:00", ("2_MCV_007",)),
    (11, "11:59:00", "12:05:00", ("2_MCV_007",)),
    (11, "12:07:30", "12:10:52", ()),
    (11, "12:16:00", "12:25:36", ()),
    (11, "15:26:30", "15:37:00", ("2_LT_002",)),
)


@dataclass(frozen=True)
class _Recording:
    """One file: times [T] or None where they are cut, values [T, C], labels [T] where the file has them."""

    channels: tuple[str, ...]
    times: np.ndarray | None
    values: np.ndarray
    labels: np.ndarray | None


def entities(data: Path) -> tuple[str, ...]:
    """The releases that are there: a1, a2."""
    found = tuple(release for release in _ATTACK if _folder(data, release) is not None)
    if not found:
        raise InputError(
            f"{data} holds no WADI release; expected WADI_14days.csv beside WADI_attackdata.csv (A1), or "
            "WADI_14days_new.csv beside WADI_attackdataLABLE.csv (A2): correct --data"
        )
    return found


def load(data: Path, entity: str) -> SensorSeries:
    """One release: values [T, C] float32, and labels."""
    folder = _folder(data, entity)
    assert folder is not None, "an entity of `entities`"
    train_path = need_csv(folder, "WADI", *_NORMAL[entity])
    test_path = need_csv(folder, "WADI", *_ATTACK[entity])
    train, test = _read(train_path), _read(test_path)
    same_channels(test_path, test.channels, train_path, train.channels)
    filled = ~np.isnan(train.values).all(axis=0)
    channels = tuple(name for name, keep in zip(train.channels, filled, strict=True) if keep)
    made_up = train.times is None or test.times is None
    if train.times is None or test.times is None:
        train_ts, test_ts = made_up_times(len(train.values), len(test.values), 1.0)
        described: list[LabelledSegment] = []
    else:
        train_ts, test_ts = train.times, test.times
        described = _attacks(test_ts, channels)
    labels = test.labels
    if labels is None and described:
        labels = np.zeros(len(test_ts), dtype=np.uint8)
        for segment in described:
            labels[segment.start : segment.stop] = 1
    return SensorSeries(
        dataset="wadi",
        entity=entity,
        channels=channels,
        units=("",) * len(channels),
        sampling_interval_s=median_interval_s(test_ts),
        train=np.ascontiguousarray(train.values[:, filled]),
        train_ts=train_ts,
        test=np.ascontiguousarray(test.values[:, [test.channels.index(name) for name in channels]]),
        test_ts=test_ts,
        test_labels=labels,
        segments=() if labels is None else segments_of(labels, described),
        made_up_clock=made_up,
    )


def _folder(data: Path, release: str) -> Path | None:
    if not data.is_dir():
        raise InputError(f"{data} is a file, expected the folder of a WADI release; correct --data")
    for folder in (data, *(data / name for name in (*_NESTED[release], "WADI"))):
        if csv_file(folder, *_NORMAL[release]) is not None and csv_file(folder, *_ATTACK[release]) is not None:
            return folder
    return None


def _read(path: Path) -> _Recording:
    header = find_header(path, ("Row",))
    by_name = {name.lower(): name for name in header.names}
    if "date" not in by_name or "time" not in by_name:
        raise InputError(
            f"{path}, line {header.lines}: columns start with {', '.join(header.names[:3])}, expected Row, Date, Time"
        )
    date_name, time_name = by_name["date"], by_name["time"]
    label_name = next((name for name in header.names if _LABEL.search(name)), None)
    channels = tuple(name for name in header.names if name.lower() not in _NOT_CHANNELS and name != label_name)
    numbers = channels if label_name is None else (*channels, label_name)
    table = read_columns(
        path, header.separator, header.names, numbers=numbers, texts=[date_name, time_name], header_lines=header.lines
    )
    dates = pc.utf8_trim_whitespace(table.column(date_name))
    # A2's attack file ends with rows of nothing.
    filled = np.flatnonzero(np.asarray(pc.not_equal(dates, "").to_numpy()))
    rows = int(filled[-1]) + 1 if len(filled) else 0
    if not rows:
        raise InputError(f"{path}: column '{date_name}' is empty, expected days such as 9/25/2017; copy the file again")
    table, dates = table.slice(0, rows), dates.slice(0, rows)
    values = as_float32(path, table, channels)
    labels = (
        None if label_name is None else _labels(path, as_float32(path, table, [label_name])[:, 0], label_name, header)
    )
    clock = pc.utf8_trim_whitespace(table.column(time_name))
    if _CUT_TIME.match(str(clock[0].as_py())):
        return _Recording(channels, None, values, labels)
    moments = pa.chunked_array([pc.binary_join_element_wise(dates.combine_chunks(), clock.combine_chunks(), " ")])
    times = log_times(path, moments, f"{date_name} {time_name}", "%m/%d/%Y", seconds_fraction=True)
    kept = later_rows(path, times)
    if kept.all():
        return _Recording(channels, times, values, labels)
    return _Recording(channels, times[kept], values[kept], None if labels is None else labels[kept])


def _labels(path: Path, flags: np.ndarray, name: str, header: Header) -> np.ndarray:
    """[T] uint8 of 1 (no attack) and -1 (attack)."""
    wrong = np.flatnonzero((flags != 1) & (flags != -1))
    if len(wrong):
        row = int(wrong[0])
        raise InputError(f"{path}, line {header.line(row)}, column '{name}': found {flags[row]:g}, expected 1 or -1")
    return (flags == -1).astype(np.uint8)


def _attacks(times: np.ndarray, channels: tuple[str, ...]) -> list[LabelledSegment]:
    """The publisher's attacks as rows of a recording, with the channels of the points attacked."""
    found = []
    for day, first, last, points in ATTACKS:
        start = int(np.searchsorted(times, micros_from_iso(f"2017-10-{day:02d}T{first}Z")))
        stop = int(np.searchsorted(times, micros_from_iso(f"2017-10-{day:02d}T{last}Z") + MICROS_PER_SECOND))
        if start < stop:
            named = [
                index for index, name in enumerate(channels) if any(name.startswith(f"{point}_") for point in points)
            ]
            found.append(LabelledSegment(start, stop, tuple(named)))
    return found
