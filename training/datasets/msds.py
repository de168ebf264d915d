"""MSDS, the Multi-Source Distributed System data of TU Berlin: metrics of the nodes of an OpenStack cluster.

The publisher's metric files, one a node, plain or gzipped, also inside `metrics/`, `concurrent_data/metrics/` or
`sequential_data/metrics/`:

    wally113_metrics_concurrent.csv: now, cpu.user, mem.used, load.cpucore, load.min1, load.min5, load.min15

`now` is a local time such as `2019-11-25 15:12:13 CEST`; the zone's name is dropped and the time taken as UTC. Several
rows fall into one second: their mean is that second's row.

An entity is a node of a run, `concurrent/wally113`, or all nodes side by side, `concurrent/all` (the seconds that every
node has; channels are named `wally113.cpu.user`). Where a file's name says no run, its entity is the node alone.

The source has no train part: the first half of the seconds is the train part, the second half the test part, as in
TranAD. It also has no point labels; faults were injected at times that its reports tell. A file
`anomaly_label_concurrent.csv` (anomaly_type, start_time, end_time, ..; beside the metrics or up to two folders above)
with those times gives labels and kinds, both ends included; without it there are none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.clock import MICROS_PER_SECOND, median_interval_s
from wheeltapper.training.datasets.labels import segments_of
from wheeltapper.training.datasets.places import csv_file, home, natural_order
from wheeltapper.training.datasets.series import LabelledSegment, SensorSeries
from wheeltapper.training.datasets.tables import as_float32, read_columns, read_header, times_from_text

ALL = "all"
TIME = "now"
UNITS = {"cpu.user": "%", "mem.used": "B"}
_FILE = re.compile(r"^(?P<node>[A-Za-z0-9-]+)_metrics(_(?P<run>\w+))?\.csv(\.gz)?$")
_NESTED = (
    "metrics",
    "concurrent_data/metrics",
    "concurrent data/metrics",
    "sequential_data/metrics",
    "sequential data/metrics",
)
_LABEL_COLUMNS = ("anomaly_type", "start_time", "end_time")


@dataclass(frozen=True)
class _Node:
    """One file by seconds: times [S] increasing, values [S, C]."""

    channels: tuple[str, ...]
    times: np.ndarray
    values: np.ndarray


def entities(data: Path) -> tuple[str, ...]:
    """`run/node` of every file, and `run/all`."""
    return tuple(_files(data))


def load(data: Path, entity: str) -> SensorSeries:
    """One node, or all of a run: values [S, C] float32, a row a second."""
    paths = _files(data)[entity]
    nodes = [_read(path) for path in paths]
    node = nodes[0] if not _is_all(entity) else _side_by_side([_node_name(path) for path in paths], nodes, paths)
    half = len(node.times) // 2
    if not half:
        raise InputError(f"{paths[0]} has {len(node.times)} seconds, expected a train and a test part; copy it again")
    test_ts = node.times[half:]
    label_file = _label_file(paths[0], entity.rpartition("/")[0])
    described = [] if label_file is None else _read_labels(label_file, test_ts)
    labels = None
    if label_file is not None:
        labels = np.zeros(len(test_ts), dtype=np.uint8)
        for segment in described:
            labels[segment.start : segment.stop] = 1
    return SensorSeries(
        dataset="msds",
        entity=entity,
        channels=node.channels,
        units=tuple(
            next((unit for ending, unit in UNITS.items() if name.endswith(ending)), "") for name in node.channels
        ),
        sampling_interval_s=median_interval_s(node.times),
        train=node.values[:half],
        train_ts=node.times[:half],
        test=node.values[half:],
        test_ts=test_ts,
        test_labels=labels,
        segments=() if labels is None else segments_of(labels, described),
    )


def _is_all(entity: str) -> bool:
    return entity.rpartition("/")[2] == ALL


def _node_name(path: Path) -> str:
    match = _FILE.match(path.name)
    assert match is not None, "only such files are taken"
    return match["node"]


def _files(data: Path) -> dict[str, list[Path]]:
    """Entity -> its files."""
    home(
        data,
        _NESTED,
        lambda folder: any(True for _ in _metric_files(folder)),
        "holds no metrics of MSDS; expected wally113_metrics_concurrent.csv, .., also inside concurrent_data/metrics/",
    )
    found: dict[str, list[Path]] = {}
    runs: dict[str, list[Path]] = {}
    for folder in (data, *(data / name for name in _NESTED)):
        for path, match in _metric_files(folder):
            prefix = f"{match['run']}/" if match["run"] else ""
            if found.setdefault(f"{prefix}{match['node']}", [path]) == [path]:
                runs.setdefault(prefix, []).append(path)
    for prefix, paths in runs.items():
        if len(paths) > 1:
            found[f"{prefix}{ALL}"] = sorted(paths, key=lambda path: natural_order(path.name))
    return {name: found[name] for name in sorted(found, key=natural_order)}


def _metric_files(folder: Path) -> Iterable[tuple[Path, re.Match[str]]]:
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            match = _FILE.match(path.name)
            if match:
                yield path, match


def _read(path: Path) -> _Node:
    separator, names = read_header(path)
    channels = tuple(name for name in names if name != TIME)
    if TIME not in names or not channels:
        raise InputError(
            f"{path}, line 1: columns are {', '.join(names[:4])}, ..; expected {TIME}, cpu.user, mem.used, .."
        )
    table = read_columns(path, separator, names, numbers=channels, texts=[TIME])
    times = _local(path, table.column(TIME), TIME)
    values = as_float32(path, table, channels)
    seconds, position = np.unique(times, return_inverse=True)
    means = np.full((len(seconds), len(channels)), np.nan, dtype=np.float32)
    for column in range(len(channels)):
        there = ~np.isnan(values[:, column])
        counts = np.bincount(position[there], minlength=len(seconds))
        sums = np.bincount(position[there], weights=values[there, column], minlength=len(seconds))
        np.divide(sums, counts, out=means[:, column], where=counts > 0, casting="same_kind")
    return _Node(channels, seconds, means)


def _local(path: Path, column: pa.ChunkedArray, name: str) -> np.ndarray:
    """[T] microseconds of texts such as '2019-11-25 15:12:13 CEST', the zone's name dropped, whole seconds."""
    plain = pc.replace_substring_regex(pc.utf8_trim_whitespace(column), r"\s+[A-Z]{3,4}$", "")
    times = times_from_text(path, plain, name)
    return times - times % MICROS_PER_SECOND


def _side_by_side(names: list[str], nodes: list[_Node], paths: list[Path]) -> _Node:
    """The seconds that every node has, channels named after their node."""
    common = nodes[0].times
    for node in nodes[1:]:
        common = np.intersect1d(common, node.times, assume_unique=True)
    if not len(common):
        raise InputError(f"{paths[0].parent}: the nodes of this run have no second in common, expected one recording")
    return _Node(
        tuple(f"{name}.{channel}" for name, node in zip(names, nodes, strict=True) for channel in node.channels),
        common,
        np.hstack([node.values[np.searchsorted(node.times, common)] for node in nodes]),
    )


def _label_file(metrics: Path, run: str) -> Path | None:
    """Next to the metrics, or up to two folders above."""
    stem = f"anomaly_label_{run}" if run else "anomaly_label"
    for folder in (metrics.parent, metrics.parent.parent, metrics.parent.parent.parent):
        path = csv_file(folder, stem)
        if path is not None:
            return path
    return None


def _read_labels(path: Path, times: np.ndarray) -> list[LabelledSegment]:
    separator, names = read_header(path)
    missing = [name for name in _LABEL_COLUMNS if name not in names]
    if missing:
        raise InputError(f"{path}, line 1: column '{missing[0]}' is missing, expected {', '.join(_LABEL_COLUMNS)}")
    table = read_columns(path, separator, names, numbers=(), texts=_LABEL_COLUMNS)
    kinds = table.column("anomaly_type").to_pylist()
    firsts, lasts = (_local(path, table.column(name), name) for name in ("start_time", "end_time"))
    backwards = np.flatnonzero(lasts < firsts)
    if len(backwards):
        raise InputError(f"{path}, line {backwards[0] + 2}: the fault ends before it starts; correct the file")
    starts = np.searchsorted(times, firsts).tolist()
    stops = np.searchsorted(times, lasts, side="right").tolist()
    return [
        LabelledSegment(start, stop, (), kind.strip())
        for start, stop, kind in zip(starts, stops, kinds, strict=True)
        if start < stop
    ]
