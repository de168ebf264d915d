"""SMD, the Server Machine Dataset of OmniAnomaly: servers with 38 metrics, one row a minute, no timestamps.

Two layouts are read. The original, one folder a part:

    train/machine-1-1.txt   test/machine-1-1.txt   test_label/machine-1-1.txt   interpretation_label/machine-1-1.txt

(values: 38 comma-separated numbers a row; labels: one 0 or 1 a row; also when it lies in a folder
`ServerMachineDataset`), and a compact one, one file a machine:

    machine-1-1.npz {train [T, 38], test [T, 38], test_label [T]}   machine-1-1.interpretation.txt

A line `15849-16368:1,9,10` of an interpretation file names the channels, counted from 1, of the anomalous rows
15849 up to but not including 16368.

Values are as published: every channel min-max scaled over train and test together. What is fitted must rescale on
the train part first.
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import numpy as np

from schemas.errors import InputError
from training.datasets.clock import MADE_UP_INTERVAL_S, made_up_times
from training.datasets.labels import segments_of
from training.datasets.series import LabelledSegment, SensorSeries
from training.datasets.tables import read_matrix

# Not in the source itself; these are the names in common use, in column order.
CHANNELS = (
    "cpu_r", "load_1", "load_5", "load_15", "mem_shmem", "mem_u", "mem_u_e", "total_mem",
    "disk_q", "disk_r", "disk_rb", "disk_svc", "disk_u", "disk_w", "disk_wa", "disk_wb",
    "si", "so", "eth1_fi", "eth1_fo", "eth1_pi", "eth1_po", "tcp_tw", "tcp_use",
    "active_opens", "curr_estab", "in_errs", "in_segs", "listen_overflows", "out_rsts", "out_segs", "passive_opens",
    "retransegs", "tcp_timeouts", "udp_in_dg", "udp_out_dg", "udp_rcv_buf_errs", "udp_snd_buf_errs",
)  # fmt: skip
ORIGINAL_FOLDER = "ServerMachineDataset"
_LINE = re.compile(r"^(\d+)-(\d+):(\d+(?:,\d+)*)$")


def entities(data: Path) -> tuple[str, ...]:
    """Machines in either layout, in natural order."""
    folder = _root(data)
    names = {path.stem for path in folder.glob("machine-*.npz")}
    names |= {path.stem for path in (folder / "train").glob("machine-*.txt")}
    return tuple(sorted(names, key=lambda name: [int(part) for part in re.findall(r"\d+", name)]))


def load(data: Path, entity: str) -> SensorSeries:
    """One machine: values [T, 38] float32, labels, and the channels of every labelled segment."""
    folder = _root(data)
    compact = folder / f"{entity}.npz"
    if compact.is_file():
        train, test, labels = _read_compact(compact)
        interpretation = folder / f"{entity}.interpretation.txt"
    else:
        train = read_matrix(_part(folder, "train", entity), columns=len(CHANNELS))
        test = read_matrix(_part(folder, "test", entity), columns=len(CHANNELS))
        label_file = _part(folder, "test_label", entity)
        labels = _as_labels(read_matrix(label_file, columns=1)[:, 0], label_file)
        interpretation = folder / "interpretation_label" / f"{entity}.txt"
    if len(labels) != len(test):
        raise InputError(
            f"{folder}: {entity} has {len(labels)} labels for {len(test)} test rows; copy both files again"
        )
    described = _read_interpretation(interpretation) if interpretation.is_file() else []
    train_ts, test_ts = made_up_times(len(train), len(test))
    return SensorSeries(
        dataset="smd",
        entity=entity,
        channels=CHANNELS,
        units=("",) * len(CHANNELS),
        sampling_interval_s=MADE_UP_INTERVAL_S,
        train=train,
        train_ts=train_ts,
        test=test,
        test_ts=test_ts,
        test_labels=labels,
        segments=segments_of(labels, described),
        made_up_clock=True,
    )


def _root(data: Path) -> Path:
    for folder in (data, data / ORIGINAL_FOLDER):
        if any(folder.glob("machine-*.npz")) or any((folder / "train").glob("machine-*.txt")):
            return folder
    nested = next((data / name for name in ("smd", "SMD") if (data / name).is_dir()), None)
    hint = f"did you mean --data {nested}?" if nested else "correct --data"
    raise InputError(
        f"{data} holds no SMD machine; expected train/machine-1-1.txt beside test/ and test_label/ (also inside "
        f"{ORIGINAL_FOLDER}/), or machine-1-1.npz: {hint}"
    )


def _part(folder: Path, part: str, entity: str) -> Path:
    path = folder / part / f"{entity}.txt"
    if not path.is_file():
        raise InputError(
            f"{path} is missing; expected train/, test/ and test_label/ to hold {entity}.txt: copy it there"
        )
    return path


def _read_compact(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            missing = [name for name in ("train", "test", "test_label") if name not in arrays.files]
            if missing:
                raise InputError(f"{path}: arrays are {sorted(arrays.files)}, {missing} missing; copy the file again")
            train, test, labels = (arrays[name] for name in ("train", "test", "test_label"))
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: cannot be read as .npz ({error}); copy the file again") from error
    for name, values in (("train", train), ("test", test)):
        if values.ndim != 2 or values.shape[1] != len(CHANNELS) or not len(values):
            raise InputError(f"{path}: '{name}' has shape {values.shape}, expected (rows, {len(CHANNELS)})")
        bad = np.argwhere(np.isinf(values))
        if len(bad):
            row, column = bad[0]
            raise InputError(
                f"{path}: '{name}' is infinite in row {row}, column {column + 1}; expected a finite number"
            )
    return (
        np.ascontiguousarray(train, dtype=np.float32),
        np.ascontiguousarray(test, dtype=np.float32),
        _as_labels(labels, path),
    )


def _as_labels(values: np.ndarray, path: Path) -> np.ndarray:
    values = np.asarray(values)
    if values.ndim != 1:
        raise InputError(f"{path}: labels have shape {values.shape}, expected one value a row")
    wrong = np.flatnonzero((values != 0) & (values != 1))
    if len(wrong):
        raise InputError(f"{path}: label of row {wrong[0]} (from 0) is {values[wrong[0]]:g}, expected 0 or 1")
    return values.astype(np.uint8)


def _read_interpretation(path: Path) -> list[LabelledSegment]:
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        text = line.replace(" ", "").strip()
        if not text:
            continue
        match = _LINE.match(text)
        channels = tuple(int(part) - 1 for part in match[3].split(",")) if match else ()
        if match is None or not all(0 <= channel < len(CHANNELS) for channel in channels):
            raise InputError(
                f"{path}, line {number}: found '{line.strip()[:60]}', expected start-end:channel,channel,.. with "
                f"channels 1 to {len(CHANNELS)}, e.g. 15849-16368:1,9,10"
            )
        found.append(LabelledSegment(int(match[1]), int(match[2]), tuple(sorted(set(channels)))))
    return found
