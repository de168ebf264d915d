"""SMAP and MSL: telemetry of a satellite and of a Mars rover, with labels by NASA's experts (published with telemanom).

    train/P-1.npy   test/P-1.npy   labeled_anomalies.csv        also below a folder data/
    SMAP_P-1.npz, MSL_T-9.npz {train, test, test_label}   labeled_anomalies.csv

Column 0 of an array is a channel's telemetry, scaled by the publisher; the other columns (24 in SMAP, 54 in MSL) say
which commands were sent to which module in that step, as 0 and 1. An entity is a channel, e.g. P-1. Train and test part are
the publisher's; there are no timestamps.

Two data sets a spacecraft: `smap` and `msl` give every column, `smap-telemetry` and `msl-telemetry` column 0 alone. Most
published results use all of them; column 0 alone is often the easier and always the more honest task, as a command is
nothing that can be faulty.

A row of `labeled_anomalies.csv` holds a channel's anomalous ranges, whose last row belongs to them, and for each its
class, point or contextual. A channel with two rows (P-2) has the ranges of both, joined where they overlap; one without a row (T-10) is left out.
With every column, segments name channel 0: the labels are about the telemetry.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.arrays import as_labels, as_matrix, load_npy, load_npz, same_length
from wheeltapper.training.datasets.clock import MADE_UP_INTERVAL_S, made_up_times
from wheeltapper.training.datasets.labels import segments_of
from wheeltapper.training.datasets.places import home, natural_order
from wheeltapper.training.datasets.series import LabelledSegment, SensorSeries
from wheeltapper.training.datasets.tables import first_lines

LABEL_FILE = "labeled_anomalies.csv"
# The published file has 83.
_MOST_LINES = 100_000
_COLUMNS = ("chan_id", "spacecraft", "anomaly_sequences", "class", "num_values")


@dataclass(frozen=True)
class _Labelled:
    """A channel's row of the label file: its ranges, and how many test rows it says there are."""

    segments: tuple[LabelledSegment, ...]
    rows: int


@dataclass(frozen=True)
class Spacecraft:
    """One spacecraft's channels: a loader with `entities` and `load`.

    Attributes:
        dataset: e.g. 'smap' or 'smap-telemetry'.
        name: as the label file has it, 'SMAP' or 'MSL'.
        columns: telemetry and commands, in the files.
        telemetry_alone: column 0 only.
    """

    dataset: str
    name: str
    columns: int
    telemetry_alone: bool

    def entities(self, data: Path) -> tuple[str, ...]:
        """Channels that have labels and data, in natural order."""
        folder = self._root(data)
        labelled = _read_labels(_label_file(folder), self.name)
        found = tuple(sorted((name for name in labelled if self._is_there(folder, name)), key=natural_order))
        if not found:
            raise InputError(f"{folder} holds no channel of {self.name} that {LABEL_FILE} names; correct --data")
        return found

    def load(self, data: Path, entity: str) -> SensorSeries:
        """One channel: values [T, 25 or 55] float32 (column 0 alone: [T, 1]), labels and their classes."""
        folder = self._root(data)
        label_file = _label_file(folder)
        labelled = _read_labels(label_file, self.name)[entity]
        compact = folder / f"{self.name}_{entity}.npz"
        if compact.is_file():
            raw_train, raw_test, flags = load_npz(compact, ("train", "test", "test_label"))
            train_path = test_path = compact
        else:
            train_path, test_path = folder / "train" / f"{entity}.npy", folder / "test" / f"{entity}.npy"
            for path in (train_path, test_path):
                if not path.is_file():
                    raise InputError(
                        f"{path} is missing; expected train/ and test/ to hold {entity}.npy: copy it there"
                    )
            raw_train, raw_test, flags = load_npy(train_path), load_npy(test_path), None
        train = as_matrix(raw_train, train_path, "train", self.columns)
        test = as_matrix(raw_test, test_path, "test", self.columns)
        if labelled.rows != len(test) or any(segment.stop > len(test) for segment in labelled.segments):
            raise InputError(
                f"{test_path}: has {len(test)} rows, {label_file.name} speaks of {labelled.rows} of {entity} and of "
                f"anomalies up to row {max(segment.stop for segment in labelled.segments)}; take both from one source"
            )
        if flags is None:
            labels = np.zeros(len(test), dtype=np.uint8)
            for segment in labelled.segments:
                labels[segment.start : segment.stop] = 1
        else:
            labels = as_labels(flags, compact)
            same_length(compact, labels, len(test))
        described: tuple[LabelledSegment, ...] = labelled.segments
        if self.telemetry_alone:
            train, test = np.ascontiguousarray(train[:, :1]), np.ascontiguousarray(test[:, :1])
            # One channel leaves nothing to locate.
            described = tuple(LabelledSegment(part.start, part.stop, (), part.kind) for part in described)
        width = train.shape[1]
        train_ts, test_ts = made_up_times(len(train), len(test))
        return SensorSeries(
            dataset=self.dataset,
            entity=entity,
            channels=("telemetry", *(f"command_{number:02d}" for number in range(1, width))),
            units=("",) * width,
            sampling_interval_s=MADE_UP_INTERVAL_S,
            train=train,
            train_ts=train_ts,
            test=test,
            test_ts=test_ts,
            test_labels=labels,
            segments=segments_of(labels, described),
            made_up_clock=True,
        )

    def _root(self, data: Path) -> Path:
        return home(
            data,
            ("data", "telemanom", "telemanom/data"),
            lambda folder: any(folder.glob(f"{self.name}_*.npz")) or any((folder / "train").glob("*.npy")),
            f"holds no channel of {self.name}; expected train/P-1.npy, test/P-1.npy and {LABEL_FILE}, or "
            f"{self.name}_P-1.npz and {LABEL_FILE}",
        )

    def _is_there(self, folder: Path, entity: str) -> bool:
        return any(
            path.is_file()
            for path in (
                folder / f"{self.name}_{entity}.npz",
                *(folder / part / f"{entity}.npy" for part in ("train", "test")),
            )
        )


SMAP = Spacecraft("smap", "SMAP", 25, False)
MSL = Spacecraft("msl", "MSL", 55, False)
SMAP_TELEMETRY = Spacecraft("smap-telemetry", "SMAP", 25, True)
MSL_TELEMETRY = Spacecraft("msl-telemetry", "MSL", 55, True)


def _label_file(folder: Path) -> Path:
    path = next((place / LABEL_FILE for place in (folder, folder.parent) if (place / LABEL_FILE).is_file()), None)
    if path is None:
        raise InputError(
            f"{folder / LABEL_FILE} is missing; expected the labels there or one folder above: copy it there"
        )
    return path


def _read_labels(path: Path, spacecraft: str) -> dict[str, _Labelled]:
    found: dict[str, _Labelled] = {}
    reader = csv.DictReader(first_lines(path, _MOST_LINES))
    missing = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
        raise InputError(f"{path}, line 1: column '{missing[0]}' is missing, expected {', '.join(_COLUMNS)}")
    for row in reader:
        # Rows of the other spacecraft are not this data set's to judge.
        if row["spacecraft"] != spacecraft:
            continue
        segments = _ranges(path, reader.line_num, row)
        before = found.get(row["chan_id"], _Labelled((), 0))
        found[row["chan_id"]] = _Labelled(_merged((*before.segments, *segments)), int(row["num_values"]))
    return found


def _merged(segments: Iterable[LabelledSegment]) -> tuple[LabelledSegment, ...]:
    """In time order, overlapping ones joined: 'contextual+point' where their classes differ."""
    merged: list[LabelledSegment] = []
    for segment in sorted(segments, key=lambda part: (part.start, part.stop)):
        if merged and segment.start < merged[-1].stop:
            last = merged.pop()
            kind = "+".join(sorted({last.kind, segment.kind}))
            segment = replace(last, stop=max(last.stop, segment.stop), kind=kind)
        merged.append(segment)
    return tuple(merged)


def _ranges(path: Path, line: int, row: dict[str, Any]) -> tuple[LabelledSegment, ...]:
    """The anomalies of one row, e.g. [[2149, 2349], [4536, 4844]] of classes [contextual, point]."""
    try:
        ranges = [(int(first), int(last)) for first, last in json.loads(row["anomaly_sequences"])]
        rows = int(row["num_values"])
        if not ranges or rows < 1 or any(not 0 <= first <= last for first, last in ranges):
            raise ValueError("a range ends before it starts, or none is given")
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{path}, line {line}: found anomaly_sequences '{str(row['anomaly_sequences'])[:60]}' and num_values "
            f"'{row['num_values']}', expected ranges such as [[2149, 2349], [4536, 4844]] and a count ({error}); copy the "
            "file again"
        ) from error
    kinds = [kind.strip() for kind in str(row["class"]).strip("[] ").split(",")]
    if len(kinds) != len(ranges):
        raise InputError(f"{path}, line {line}: found {len(kinds)} classes for {len(ranges)} ranges, expected one each")
    return tuple(
        LabelledSegment(first, last + 1, (0,), kind) for (first, last), kind in zip(ranges, kinds, strict=True)
    )
