"""Yahoo S5, benchmarks A1 (real traffic of Yahoo's services) and A2 (synthetic): one channel, a row an hour.

    A1Benchmark/real_1.csv .. real_67.csv             timestamp, value, is_anomaly
    A2Benchmark/synthetic_1.csv .. synthetic_100.csv  the same

(also named timestamps and anomaly, as in A3 and A4). `--data` is the benchmark's folder, or the release's, which holds
them. An entity is a file without its ending, real_1.

There is no train part in the source. Train part here: the first half of a series, test part the second. In A1 the first
half may hold labelled anomalies; nothing is taken out. Published protocols differ: some train on a series' first half
or 40 %, some on nothing and score the whole series, some keep whole series apart; numbers compare only within a protocol.

A1 counts hours from 1, so its clock is made up; A2 has seconds since 1970.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.arrays import as_labels
from wheeltapper.training.datasets.clock import later_rows, made_up_times, median_interval_s
from wheeltapper.training.datasets.labels import segments_of
from wheeltapper.training.datasets.places import csv_file, csv_stem, home, natural_order
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.datasets.tables import as_float32, read_columns, read_header, times_from_numbers

HOUR_S = 3600.0
_RELEASE = "ydata-labeled-time-series-anomalies-v1_0"
_TIME, _LABEL = ("timestamp", "timestamps"), ("is_anomaly", "anomaly")
# A number below is a count of hours, not a time since 1970.
_FIRST_SECOND = 1e9


@dataclass(frozen=True)
class Benchmark:
    """One benchmark of S5: a loader with `entities` and `load`."""

    dataset: str
    folder: str
    prefix: str

    def entities(self, data: Path) -> tuple[str, ...]:
        """Series in natural order."""
        return tuple(sorted(self._series(self._root(data)), key=natural_order))

    def load(self, data: Path, entity: str) -> SensorSeries:
        """One series: values [T, 1] float32 and point labels, cut in half."""
        path = csv_file(self._root(data), entity)
        assert path is not None, "an entity of `entities`"
        separator, names = read_header(path)
        time_name = next((name for name in names if name in _TIME), None)
        label_name = next((name for name in names if name in _LABEL), None)
        if time_name is None or label_name is None or "value" not in names:
            raise InputError(f"{path}, line 1: columns are {', '.join(names)}, expected timestamp, value, is_anomaly")
        table = read_columns(path, separator, names, numbers=[time_name, "value", label_name])
        values = as_float32(path, table, ["value"])
        labels = as_labels(as_float32(path, table, [label_name])[:, 0], path)
        told = table.column(time_name).to_numpy()
        if len(told) < 2:
            raise InputError(f"{path} has {len(told)} row, expected a train and a test part; copy the file again")
        hours = bool(np.nanmin(told) < _FIRST_SECOND)
        if not hours:
            times = times_from_numbers(path, told, time_name, "s")
            kept = later_rows(path, times)
            times, values, labels = times[kept], values[kept], labels[kept]
        half = len(values) // 2
        train_ts, test_ts = made_up_times(half, len(values) - half, HOUR_S) if hours else (times[:half], times[half:])
        return SensorSeries(
            dataset=self.dataset,
            entity=entity,
            channels=("value",),
            units=("",),
            sampling_interval_s=HOUR_S if hours else median_interval_s(times),
            train=values[:half],
            train_ts=train_ts,
            test=values[half:],
            test_ts=test_ts,
            test_labels=labels[half:],
            segments=segments_of(labels[half:]),
            made_up_clock=hours,
        )

    def _root(self, data: Path) -> Path:
        return home(
            data,
            (self.folder, f"{_RELEASE}/{self.folder}"),
            lambda folder: bool(self._series(folder)),
            f"holds no series of {self.folder}; expected {self.prefix}1.csv, also inside {self.folder}/",
        )

    def _series(self, folder: Path) -> list[str]:
        stems = (csv_stem(path) for path in folder.iterdir())
        return [stem for stem in stems if stem is not None and stem.startswith(self.prefix)]


A1 = Benchmark("yahoo-a1", "A1Benchmark", "real_")
A2 = Benchmark("yahoo-a2", "A2Benchmark", "synthetic_")
