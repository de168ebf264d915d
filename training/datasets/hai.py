"""HAI, the HIL-based Augmented ICS security data set: a boiler, a turbine and a water plant, one row a second.

The official CSV files of every release, plain or gzipped:

| release | files | separator, time column | labels |
|---|---|---|---|
| 20.07, 21.03 | train1.csv, test1.csv | `;` or `,`, `time` | columns attack, attack_P1 .. attack_P3 |
| 22.04 | train1.csv, test1.csv | `,`, `timestamp` | column Attack |
| 23.05 | hai-train1.csv, hai-test1.csv | `,`, `timestamp` | label-test1.csv: timestamp, label |
| HAIEnd 23.05 | end-train1.csv, end-test1.csv | `,`, `Timestamp` | label-test1.csv |

Separator, time column and label columns are found in each file, not assumed from the release. The train part is all
train files together, the test part one test file ('test1') or all of them ('all'); between files the true times are
kept, so a gap stays a gap. Times carry no zone in the files and are taken as UTC. `--data` is a release's folder, or
a folder of such folders; then the entity is 'hai-21.03/test1'.

The per-process labels (attack_P1, ..) become the segment's kind, e.g. 'P1+P3'. Which points an attack touched is only
in the data set's manual, so segments have no channels.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.clock import later_rows
from wheeltapper.training.datasets.labels import runs
from wheeltapper.training.datasets.series import LabelledSegment, SensorSeries
from wheeltapper.training.datasets.tables import as_float32, read_columns, read_header, times_from_text

ALL = "all"
_FILE = re.compile(r"^(?P<prefix>hai-|end-|)(?P<part>train|test)(?P<number>\d+)\.csv(\.gz)?$")
_LABEL_FILE = re.compile(r"^label-test(?P<number>\d+)\.csv(\.gz)?$")
_LABEL = re.compile(r"^attack([_.](?P<process>\w+))?$", re.IGNORECASE)
_TIME_NAMES = ("time", "timestamp")


@dataclass(frozen=True)
class _Recording:
    """One file: times [T], values [T, C], labels [T] and labels by process where the file has them."""

    path: Path
    channels: tuple[str, ...]
    times: np.ndarray
    values: np.ndarray
    labels: np.ndarray | None
    processes: dict[str, np.ndarray]


@dataclass(frozen=True)
class _Release:
    folder: Path
    train: tuple[Path, ...]
    test: dict[str, Path]
    """Entity name -> its file."""


def entities(data: Path) -> tuple[str, ...]:
    """Test files without their ending, and 'all'; below a folder's name where `data` holds several releases."""
    return tuple(_releases_by_entity(data))


def load(data: Path, entity: str) -> SensorSeries:
    """All train files and one test file (or all)."""
    release = _releases_by_entity(data)[entity]
    name = entity.rpartition("/")[2]
    test_files = list(release.test.values()) if name == ALL else [release.test[name]]
    if not release.train:
        raise InputError(
            f"{release.folder} holds no train file; expected train1.csv (or hai-train1.csv): copy it there"
        )
    train = _join([_read(path) for path in release.train])
    test = _join([_read(path) for path in test_files], columns=train.channels)
    steps = np.diff(test.times)
    return SensorSeries(
        dataset="hai",
        entity=entity,
        channels=train.channels,
        units=("",) * len(train.channels),
        sampling_interval_s=float(np.median(steps)) / 1e6 if len(steps) else 1.0,
        train=train.values,
        train_ts=train.times,
        test=test.values,
        test_ts=test.times,
        test_labels=test.labels,
        segments=_segments(test),
    )


def _releases_by_entity(data: Path) -> dict[str, _Release]:
    if not data.is_dir():
        raise InputError(f"{data} is a file, expected the folder of a HAI release; correct --data")
    own = _releases(data)
    if own:
        return {name: release for release in own for name in (*release.test, *([ALL] if len(own) == 1 else []))}
    found = {}
    for folder in sorted(path for path in data.iterdir() if path.is_dir()):
        for name, release in (_releases_by_entity(folder) if _releases(folder) else {}).items():
            found[f"{folder.name}/{name}"] = release
    if not found:
        raise InputError(
            f"{data} holds no HAI test file; expected test1.csv (20.07 to 22.04), hai-test1.csv or end-test1.csv "
            "(23.05), plain or .gz, here or one folder below: correct --data"
        )
    return found


def _releases(folder: Path) -> list[_Release]:
    """Recordings of a folder, one release a file prefix; names carry the prefix only where there are several."""
    parts: dict[str, dict[str, list[tuple[int, Path]]]] = {}
    for path in sorted(folder.iterdir()):
        match = _FILE.match(path.name)
        if match and path.is_file():
            part = parts.setdefault(match["prefix"], {"train": [], "test": []})
            part[match["part"]].append((int(match["number"]), path))
    with_test = {prefix: part for prefix, part in parts.items() if part["test"]}
    return [
        _Release(
            folder,
            tuple(path for _, path in sorted(part["train"])),
            {f"{prefix if len(with_test) > 1 else ''}test{number}": path for number, path in sorted(part["test"])},
        )
        for prefix, part in sorted(with_test.items())
    ]


def _read(path: Path) -> _Recording:
    separator, names = read_header(path)
    time_name = next((name for name in names if name.lower() in _TIME_NAMES), None)
    if time_name is None:
        raise InputError(
            f"{path}, line 1: columns start with {', '.join(names[:3])}, expected one named 'time' or 'timestamp'; "
            "correct --data"
        )
    label_names = [name for name in names if _LABEL.match(name)]
    channels = tuple(name for name in names if name != time_name and name not in label_names)
    table = read_columns(path, separator, names, numbers=[*channels, *label_names], texts=[time_name])
    times = times_from_text(path, table.column(time_name), time_name)
    values = as_float32(path, table, channels)
    by_process: dict[str, np.ndarray] = {}
    labels: np.ndarray | None = None
    for name in label_names:
        flags = (as_float32(path, table, [name])[:, 0] > 0).astype(np.uint8)
        process = (_LABEL.match(name) or {"process": None})["process"]
        if process:
            by_process[process] = flags
        else:
            labels = flags
    if labels is None and by_process:
        labels = np.maximum.reduce(list(by_process.values()))
    if labels is None and (label_file := _label_file(path)) is not None:
        labels = _read_labels(label_file, path, times)
    kept = later_rows(path, times)
    return _Recording(
        path,
        channels,
        times[kept],
        values[kept],
        None if labels is None else labels[kept],
        {process: flags[kept] for process, flags in by_process.items()},
    )


def _label_file(path: Path) -> Path | None:
    match = _FILE.match(path.name)
    if match is None or match["part"] != "test":
        return None
    for candidate in sorted(path.parent.iterdir()):
        label = _LABEL_FILE.match(candidate.name)
        if label and label["number"] == match["number"]:
            return candidate
    return None


def _read_labels(path: Path, recording: Path, times: np.ndarray) -> np.ndarray:
    """[T] labels of a separate label file, matched to the recording by time."""
    separator, names = read_header(path)
    time_name = next((name for name in names if name.lower() in _TIME_NAMES), names[0])
    others = [name for name in names if name != time_name]
    if len(others) != 1:
        raise InputError(
            f"{path}, line 1: columns are {', '.join(names)}, expected a time and one label; correct the file"
        )
    table = read_columns(path, separator, names, numbers=others, texts=[time_name])
    label_times = times_from_text(path, table.column(time_name), time_name)
    flags = (as_float32(path, table, others)[:, 0] > 0).astype(np.uint8)
    if np.array_equal(label_times, times):
        return flags
    order = np.argsort(label_times, kind="stable")
    position = np.searchsorted(label_times[order], times).clip(max=len(order) - 1)
    found = order[position]
    missing = np.flatnonzero(label_times[found] != times)
    if len(missing):
        raise InputError(
            f"{path} has no label for row {missing[0] + 1} of {recording.name} ({len(missing)} of {len(times)} rows "
            "have none), expected one for every time; take both files from the same release"
        )
    return flags[found]


def _join(recordings: Sequence[_Recording], columns: tuple[str, ...] | None = None) -> _Recording:
    """Recordings one after the other in time, with the columns (and their order) of the first or of `columns`."""
    recordings = sorted(recordings, key=lambda recording: int(recording.times[0]))
    first = recordings[0]
    wanted = columns or first.channels
    values = []
    for before, recording in zip([None, *recordings], recordings, strict=False):
        if set(recording.channels) != set(wanted):
            differing = sorted(set(recording.channels) ^ set(wanted))
            raise InputError(
                f"{recording.path} has {len(recording.channels)} channels, expected the {len(wanted)} of the train "
                f"files; they differ in {', '.join(differing[:5])}: keep releases in separate folders"
            )
        if before is not None and recording.times[0] <= before.times[-1]:
            raise InputError(
                f"{recording.path} starts before {before.path.name} ends, expected recordings that follow each "
                "other; keep releases in separate folders"
            )
        order = [recording.channels.index(name) for name in wanted]
        values.append(recording.values if order == list(range(len(order))) else recording.values[:, order])
    labelled = [recording.labels for recording in recordings if recording.labels is not None]
    processes = {name for recording in recordings for name in recording.processes}
    return _Recording(
        first.path,
        wanted,
        np.concatenate([recording.times for recording in recordings]),
        np.concatenate(values),
        np.concatenate(labelled) if len(labelled) == len(recordings) else None,
        {
            name: np.concatenate([r.processes.get(name, np.zeros(len(r.times), np.uint8)) for r in recordings])
            for name in sorted(processes)
        },
    )


def _segments(test: _Recording) -> tuple[LabelledSegment, ...]:
    if test.labels is None:
        return ()
    return tuple(
        LabelledSegment(
            start, stop, (), "+".join(name for name, flags in test.processes.items() if flags[start:stop].any())
        )
        for start, stop in runs(test.labels)
    )
