"""TEP, the Tennessee Eastman process: a simulated chemical plant, 41 measurements and 11 valves, a row in 3 minutes.

The runs of Braatz's group, as published or compact:

    d00.dat, d01.dat .. d21.dat (training runs)   d00_te.dat, d01_te.dat .. d21_te.dat (test runs)
    tep.npz with arrays d00 [500, 52], d01_te [960, 52], ..

(numbers separated by blanks, a row a line; the published d00.dat alone is transposed, 52 lines of 500 numbers, and both
ways are read.)

An entity is a fault, d01 to d21, or d00: normal operation. Train part: the fault-free training run d00, for every
entity. The training runs under a fault are not used: a detector that is given them knows its fault. Test part: the
entity's test run. Its fault begins after sample 160 (8 hours), so rows 160 to 959 are labelled; d00 has none. No
timestamps; the source does not say which channels a fault touches.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.arrays import as_matrix, load_npz, npz_names
from wheeltapper.training.datasets.clock import made_up_times
from wheeltapper.training.datasets.places import home
from wheeltapper.training.datasets.series import LabelledSegment, SensorSeries
from wheeltapper.training.datasets.tables import read_spaced

INTERVAL_S = 180.0
FAULT_FROM_ROW = 160
NORMAL = "d00"
COMPACT = "tep.npz"
MEASUREMENTS, VALVES = 41, 11
CHANNELS = (
    *(f"XMEAS({number})" for number in range(1, MEASUREMENTS + 1)),
    *(f"XMV({number})" for number in range(1, VALVES + 1)),
)
# Downs and Vogel, Computers & Chemical Engineering 17(3), 1993, tables 3 to 5.
UNITS = (
    "kscmh", "kg/h", "kg/h", "kscmh", "kscmh", "kscmh", "kPa gauge", "%", "degC", "kscmh", "degC", "%", "kPa gauge",
    "m3/h", "%", "kPa gauge", "m3/h", "degC", "kg/h", "kW", "degC", "degC",
    *("mol%",) * 19,
    *("%",) * VALVES,
)  # fmt: skip
# The same paper's table 8; 16 to 20 are 'unknown' there, 21 was added by Braatz's group.
FAULTS = {
    1: "A/C feed ratio, step",
    2: "B composition, step",
    3: "D feed temperature, step",
    4: "reactor cooling water temperature, step",
    5: "condenser cooling water temperature, step",
    6: "A feed lost",
    7: "C header pressure lost",
    8: "A, B, C feed composition, random",
    9: "D feed temperature, random",
    10: "C feed temperature, random",
    11: "reactor cooling water temperature, random",
    12: "condenser cooling water temperature, random",
    13: "reaction kinetics, slow drift",
    14: "reactor cooling water valve, sticking",
    15: "condenser cooling water valve, sticking",
    16: "unknown",
    17: "unknown",
    18: "unknown",
    19: "unknown",
    20: "unknown",
    21: "stream 4 valve fixed",
}
_TEST = re.compile(r"^(d(?:0\d|1\d|2[01]))_te$")


def entities(data: Path) -> tuple[str, ...]:
    """Runs with a test part, d00 first."""
    folder = _root(data)
    return tuple(sorted(match[1] for name in _runs(folder) if (match := _TEST.match(name))))


def load(data: Path, entity: str) -> SensorSeries:
    """The fault-free training run, and one test run: values [500, 52] and [960, 52] float32."""
    folder = _root(data)
    train, test = _run(folder, NORMAL), _run(folder, f"{entity}_te")
    labels = np.zeros(len(test), dtype=np.uint8)
    segments: tuple[LabelledSegment, ...] = ()
    if entity != NORMAL:
        if len(test) <= FAULT_FROM_ROW:
            raise InputError(
                f"{folder}: run {entity}_te has {len(test)} rows, expected more than the {FAULT_FROM_ROW} before its "
                "fault; copy it again"
            )
        labels[FAULT_FROM_ROW:] = 1
        segments = (LabelledSegment(FAULT_FROM_ROW, len(test), (), FAULTS[int(entity[1:])]),)
    train_ts, test_ts = made_up_times(len(train), len(test), INTERVAL_S)
    return SensorSeries(
        dataset="tep",
        entity=entity,
        channels=CHANNELS,
        units=UNITS,
        sampling_interval_s=INTERVAL_S,
        train=train,
        train_ts=train_ts,
        test=test,
        test_ts=test_ts,
        test_labels=labels,
        segments=segments,
        made_up_clock=True,
    )


def _root(data: Path) -> Path:
    return home(
        data,
        ("TE_process", "te_process", "data"),
        lambda folder: (folder / COMPACT).is_file() or any(folder.glob("d??_te.dat")),
        f"holds no TEP run; expected d00.dat, d01_te.dat, .., or {COMPACT}",
    )


def _runs(folder: Path) -> tuple[str, ...]:
    compact = folder / COMPACT
    return npz_names(compact) if compact.is_file() else tuple(path.stem for path in folder.glob("d*.dat"))


def _run(folder: Path, name: str) -> np.ndarray:
    """[T, 52] of a run."""
    compact, path = folder / COMPACT, folder / f"{name}.dat"
    if compact.is_file():
        return as_matrix(load_npz(compact, [name])[0], compact, name, len(CHANNELS))
    if not path.is_file():
        raise InputError(f"{path} is missing; expected it beside the other runs of TEP: copy it there")
    values = read_spaced(path)
    if values.shape[1] != len(CHANNELS) and values.shape[0] == len(CHANNELS):
        values = values.T
    if values.shape[1] != len(CHANNELS):
        raise InputError(
            f"{path}, line 1: found {values.shape[1]} columns, expected {len(CHANNELS)} (or {len(CHANNELS)} lines, one a "
            "channel); copy the file again"
        )
    return as_matrix(values, path, name, len(CHANNELS))
