"""ASD, the Application Server Dataset of InterFusion: 12 servers with 19 metrics, a row in five minutes, no timestamps.

The publisher's files (`data/processed/omi-1_train.pkl`, ..) are pickles. They are not opened: a pickle can run any
code. Two layouts without pickles are read, both described in `wheeltapper.training.datasets.machine_folders`:

    omi-1.npz {train [T, 19], test [T, 19], test_label [T]}   omi-1.interpretation.txt
    train/omi-1.txt   test/omi-1.txt   test_label/omi-1.txt   interpretation_label/omi-1.txt

Beside either, `anomaly_type.csv` (dataset, anomaly_segment, anomaly_type: metric, temporal or metric-temporal) gives
the segments their kind. Other than in SMD, the last row of an interpretation line belongs to the anomaly.

Train and test part are the publisher's. Values are as published: every channel min-max scaled over train and test
together. What is fitted must rescale on the train part first. The source names no metrics.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.machine_folders import MachineFolders
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.datasets.tables import read_columns, read_header

CHANNELS = tuple(f"metric_{number:02d}" for number in range(1, 20))
INTERVAL_S = 300.0
TYPE_FILE = "anomaly_type.csv"
_RANGE = re.compile(r"^(\d+)-(\d+)$")

_LAYOUT = MachineFolders(
    dataset="asd",
    title="ASD",
    prefix="omi-",
    example="omi-1",
    channels=CHANNELS,
    interval_s=INTERVAL_S,
    end_is_inside=True,
    nested=("processed", "data/processed", "data"),
    hinted=("asd", "ASD"),
)
entities = _LAYOUT.entities


def load(data: Path, entity: str) -> SensorSeries:
    """One server: values [T, 19] float32, labels, and the channels and kind of every labelled segment."""
    series = _LAYOUT.load(data, entity)
    path = data / TYPE_FILE
    if not path.is_file():
        return series
    kinds = _read_kinds(path, entity)
    return replace(
        series,
        segments=tuple(
            replace(segment, kind=kinds.get((segment.start, segment.stop), "")) for segment in series.segments
        ),
    )


def _read_kinds(path: Path, entity: str) -> dict[tuple[int, int], str]:
    """(start, stop) of one server's anomalies -> their kind; stop is exclusive."""
    separator, names = read_header(path)
    wanted = ("dataset", "anomaly_segment", "anomaly_type")
    if names != wanted:
        raise InputError(f"{path}, line 1: columns are {', '.join(names)}, expected {', '.join(wanted)}")
    table = read_columns(path, separator, names, numbers=(), texts=names)
    kinds = {}
    rows = zip(*(table.column(name).to_pylist() for name in names), strict=True)
    for line, (server, rows_text, kind) in enumerate(rows, start=2):
        match = _RANGE.match(rows_text.strip())
        if match is None:
            raise InputError(f"{path}, line {line}, column 2: found '{rows_text[:40]}', expected rows such as 760-765")
        if server.strip() == entity:
            kinds[int(match[1]), int(match[2]) + 1] = kind.strip()
    return kinds
