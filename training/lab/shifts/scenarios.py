"""Streams with a known change, made from a machine's own recordings, each with the right answer.

A scenario is a pure function of a series, a seed and, for a swap, of another machine's series. The stream is the test part; the
change comes in its middle, sparse faults of six kinds before and after it. Rows before the change are those of the machine, but for
the sparse faults, and the faults that the data set has by itself stay faults.

The last quarter of the stream is the examination: the same rows of the new regime under many more faults, which no strategy sees
before; a bundle that is in force when it begins has been trained on none of its rows.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from wheeltapper.models.training_rows import moving_channels
from wheeltapper.schemas.errors import InputError
from wheeltapper.stream.core.thresholds import SECONDS_PER_DAY
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.lab.shifts import changes
from wheeltapper.training.lab.shifts.changes import AffineChange
from wheeltapper.training.lab.shifts.faults import RECORDED, Fault, fault_labels, place_faults, write_fault

CHANGE_AT, LASTING_FAULT_AT, EXAM_AT = 0.5, 0.55, 0.75
# More would throttle every controller of the alarm rate: it cannot tell a true alarm from a false one.
FAULTS_PER_DAY = 1.0
EXAM_ROWS_PER_FAULT = 100
ACCEPT_AFTER_S = 4 * 3600.0
RAMP_DAYS = 2.0
# Of longer recordings, the end of the train part and the beginning of the test part stand for the whole.
MOST_ROWS = 50_000
LEAST_DAYS, LEAST_ROWS = 4.0, 1000


@dataclass(frozen=True)
class Change:
    """What happens to the machine, and what is right to do.

    Attributes:
        kind: the scenario's name.
        row: the first changed row of the stream.
        full: the row from which the change is wholly in force.
        is_fault: a fault that lasts to the end: it must be told, and never learnt.
        channels: 0-based columns that move; empty where all may.
        accept_after_s: a person accepts the new state once, when an alarm or a drift that was told has stood so long; None: nobody does.
    """

    kind: str
    row: int
    full: int
    is_fault: bool
    channels: tuple[int, ...]
    accept_after_s: float | None


@dataclass(frozen=True)
class Exam:
    """Held-out rows of the final regime, with many faults.

    Where the change is a lasting fault, the machine is as it was in the first half, and has the fault in the second.

    Attributes:
        rows: [m, C] float32; times: [m] int64; labels: [m] uint8.
        start: the row of the stream at which it begins.
    """

    rows: np.ndarray
    times: np.ndarray
    labels: np.ndarray
    start: int


@dataclass(frozen=True)
class Scenario:
    """A stream and the truth about it.

    Attributes:
        series: whose train part the first bundle is fitted on.
        rows: [T, C] float32, and times: [T] int64 microseconds: what the machine sends.
        unchanged: [T, C] the same without the change, with the same sparse faults.
        faults: sparse faults and those of the data set, in order; a lasting fault is the change itself.
        change: None where nothing changes.
        regime: a series whose train part is of the new regime, without injected faults; None where there is none.
    """

    name: str
    series: SensorSeries
    rows: np.ndarray
    times: np.ndarray
    unchanged: np.ndarray
    faults: tuple[Fault, ...]
    change: Change | None
    regime: SensorSeries | None
    exam: Exam

    @property
    def change_row(self) -> int:
        """The row that parts 'before' from 'after'; the middle where nothing changes."""
        return self.change.row if self.change is not None else int(CHANGE_AT * len(self.rows))

    @property
    def labels(self) -> np.ndarray:
        """[T] uint8, 1 where a fault is, a lasting one too."""
        labels = fault_labels(self.faults, len(self.rows))
        if self.change is not None and self.change.is_fault:
            labels[self.change.row :] = 1
        return labels


@dataclass(frozen=True)
class _Plan:
    """An affine change as a scenario wants it.

    Attributes:
        weight: [T] of the stream, and regime_weight: [n] of the train part, where it stands for the new regime.
        full: row from which the weight is what it will be.
    """

    change: AffineChange
    weight: np.ndarray
    regime_weight: np.ndarray
    full: int


@dataclass(frozen=True)
class _Machine:
    """What plans are made from."""

    series: SensorSeries
    moving: np.ndarray
    random: np.random.Generator
    row: int

    @property
    def rows(self) -> int:
        return len(self.series.test)

    def sensors(self, **settings: float | int | bool | None) -> AffineChange:
        return changes.sensors(self.random, self.series.train, self.moving, **settings)  # type: ignore[arg-type]

    def days(self, days: float) -> int:
        """In rows."""
        return max(1, round(days * SECONDS_PER_DAY / self.series.sampling_interval_s))

    def step(self, change: AffineChange) -> _Plan:
        return _Plan(change, changes.step(self.rows, self.row), np.ones(len(self.series.train)), self.row)


def _ageing(machine: _Machine) -> _Plan:
    full = machine.row + (machine.rows - machine.row) // 4
    weight = changes.ramp(machine.rows, machine.row, full)
    return _Plan(machine.sensors(offset_sd=1.5), weight, np.ones(len(machine.series.train)), full)


def _mode(machine: _Machine) -> _Plan:
    change = machine.sensors(share=0.5, gain=0.6, offset_sd=2.0, about_mean=True)
    interval_s, train = machine.series.sampling_interval_s, len(machine.series.train)
    weight = changes.mode(machine.random, machine.rows, machine.row, interval_s)
    return _Plan(change, weight, changes.mode(machine.random, train, 0, interval_s), machine.row)


def _season(machine: _Machine) -> _Plan:
    full = machine.row + int(0.4 * (machine.rows - machine.row))
    weight = changes.season(machine.series.test_ts, machine.row, full)
    regime_weight = changes.season(machine.series.train_ts, -1, 0)
    return _Plan(machine.sensors(share=0.5, offset_sd=1.5, one_sign=True), weight, regime_weight, full)


def _ramp_fault(machine: _Machine) -> _Plan:
    full = min(machine.row + machine.days(RAMP_DAYS), machine.rows - 1)
    weight = changes.ramp(machine.rows, machine.row, full)
    return _Plan(machine.sensors(most=3, offset_sd=8.0), weight, np.ones(len(machine.series.train)), full)


def _noise_fault(machine: _Machine) -> _Plan:
    weight = changes.noise(machine.random, machine.rows, machine.row)
    return _Plan(machine.sensors(most=3, offset_sd=6.0), weight, np.ones(len(machine.series.train)), machine.row)


@dataclass(frozen=True)
class ScenarioKind:
    """
    Attributes:
        title: what happens, in a few words.
        answer: what is right to do.
        is_fault: a fault that lasts.
        plan: makes the change; None for the scenario without one and for the swap, which is no affine change.
    """

    title: str
    answer: str
    is_fault: bool = False
    plan: Callable[[_Machine], _Plan] | None = None


LEARN = "drift: learn it, after one accept where an alarm or a told drift stands for 4 h"
TELL = "fault: tell it, keep the alarm open to the end, never learn it"
NONE, SWAP = "none", "machine-swap"

KINDS: Mapping[str, ScenarioKind] = MappingProxyType(
    {
        NONE: ScenarioKind("nothing changes", "nothing: no drift, no other model that is worse"),
        SWAP: ScenarioKind("another machine under the same id", LEARN),
        "sensor-gain": ScenarioKind(
            "gain 1.2 on a third of the channels", LEARN, plan=lambda machine: machine.step(machine.sensors(gain=1.2))
        ),
        "sensor-offset": ScenarioKind(
            "offset of .5 sd on a third of the channels",
            LEARN,
            plan=lambda machine: machine.step(machine.sensors(offset_sd=0.5)),
        ),
        "sensor-replaced": ScenarioKind(
            "gain 1.5 about the mean and offset of 3 sd on a third of the channels",
            LEARN,
            plan=lambda machine: machine.step(machine.sensors(gain=1.5, offset_sd=3.0, about_mean=True)),
        ),
        "ageing": ScenarioKind(
            "a third of the channels move by 1.5 sd, over an eighth of the stream", LEARN, plan=_ageing
        ),
        "new-mode": ScenarioKind(
            "a mode of 3 to 12 h that comes and goes: half of the channels at other levels", LEARN, plan=_mode
        ),
        "season": ScenarioKind("half of the channels rise by 1.5 sd, part of it by day", LEARN, plan=_season),
        "step-fault-3": ScenarioKind(
            "a lasting step of 3 sd on up to three channels",
            TELL,
            is_fault=True,
            plan=lambda machine: machine.step(machine.sensors(most=3, offset_sd=3.0)),
        ),
        "step-fault-6": ScenarioKind(
            "a lasting step of 6 sd on up to three channels",
            TELL,
            is_fault=True,
            plan=lambda machine: machine.step(machine.sensors(most=3, offset_sd=6.0)),
        ),
        "ramp-fault": ScenarioKind(
            "up to three channels move by 8 sd in two days, and stay", TELL, is_fault=True, plan=_ramp_fault
        ),
        "noise-fault": ScenarioKind(
            "noise of 6 sd on up to three channels, to the end", TELL, is_fault=True, plan=_noise_fault
        ),
    }
)


def make_scenario(name: str, series: SensorSeries, *, seed: int = 0, other: SensorSeries | None = None) -> Scenario:
    """Make a scenario of `KINDS` from a machine's recordings.

    Args:
        seed: of what changes and of the faults; the machine's name has a part in it too.
        other: the machine whose rows come after a swap.

    Raises:
        InputError: no such scenario, too short a test part, or a swap without another machine of the same channels.
    """
    if name not in KINDS:
        raise InputError(f"no scenario '{name}'; expected one of {', '.join(KINDS)}")
    kind, series = KINDS[name], bounded(series)
    random = np.random.default_rng([zlib.crc32(f"{series.dataset}/{series.entity}/{name}".encode()), seed])
    if name == SWAP:
        return _swap(series, other, random)
    moving = moving_channels(series.train)
    if not moving.any():
        raise InputError(f"{series.dataset} {series.entity}: no channel varies in the train part, so none can change")
    row = int((LASTING_FAULT_AT if kind.is_fault else CHANGE_AT) * len(series.test))
    machine = _Machine(series, moving, random, row)
    plan = kind.plan(machine) if kind.plan is not None else None
    faults, unchanged, exam = _with_faults(series, series, len(series.test), random)
    change, regime, rows = None, None, unchanged
    if plan is not None:
        rows = plan.change.apply(unchanged, plan.weight)
        exam = _changed_exam(exam, plan, kind.is_fault)
        channels = plan.change.channels
        change = Change(name, row, plan.full, kind.is_fault, channels, None if kind.is_fault else ACCEPT_AFTER_S)
        if not kind.is_fault:
            regime = replace(series, train=plan.change.apply(series.train, plan.regime_weight))
    return Scenario(name, series, rows, series.test_ts, unchanged, faults, change, regime, exam)


def _changed_exam(exam: Exam, plan: _Plan, is_fault: bool) -> Exam:
    """The examination after the change. A lasting fault is in its second half alone, and is what has to be found there."""
    weight, labels = plan.weight[exam.start :].copy(), exam.labels.copy()
    if is_fault:
        half = len(labels) // 2
        weight[:half], labels[half:] = 0.0, 1
    return Exam(plan.change.apply(exam.rows, weight), exam.times, labels, exam.start)


def _swap(series: SensorSeries, other: SensorSeries | None, random: np.random.Generator) -> Scenario:
    if other is None or other.channels != series.channels or other.entity == series.entity:
        raise InputError(
            f"{SWAP} needs another machine with the channels of {series.dataset} {series.entity}; leave the scenario out, "
            "or give a data set with several"
        )
    other = bounded(other)
    length = min(len(series.test), len(other.test))
    row = int(CHANGE_AT * len(series.test))
    if length < row + LEAST_ROWS // 4:
        raise InputError(f"{other.dataset} {other.entity}: {len(other.test)} test rows, expected more than {row}")
    faults, rows, exam = _with_faults(series, other, length, random, row)
    _, unchanged, _ = _with_faults(series, series, length, random)
    unchanged[:row] = rows[:row]
    change = Change(SWAP, row, row, False, (), ACCEPT_AFTER_S)
    return Scenario(SWAP, series, rows, series.test_ts[:length], unchanged, faults, change, other, exam)


def _with_faults(
    first: SensorSeries, second: SensorSeries, length: int, random: np.random.Generator, row: int | None = None
) -> tuple[tuple[Fault, ...], np.ndarray, Exam]:
    """The test part of `first` up to `row`, then that of `second`, with sparse faults; and the examination of its end.

    Args:
        row: None: there is one machine alone.
    """
    row = length if row is None else row
    plain = np.concatenate([first.test[:row], second.test[row:length]]).astype(np.float32)
    recorded = _recorded(first, 0, row) + _recorded(second, row, length)
    blocked = [(fault.start, fault.stop) for fault in recorded]
    if row < length:
        blocked.append((row, row))  # no fault across the change
    moving = moving_channels(first.train) & moving_channels(second.train)
    scales = [np.nanstd(series.train, axis=0, dtype=np.float64) for series in (first, second)]

    def written(rows: np.ndarray, faults: tuple[Fault, ...], origin: int) -> np.ndarray:
        for fault in faults:
            if fault.kind != RECORDED:
                write_fault(rows, fault, scales[fault.start + origin >= row], random)
        return rows

    days = length * first.sampling_interval_s / SECONDS_PER_DAY
    sparse = place_faults(random, length, max(6, round(FAULTS_PER_DAY * days)), moving, blocked)
    start = int(EXAM_AT * length)
    inside = [(low - start, high - start) for low, high in blocked]
    dense = place_faults(random, length - start, (length - start) // EXAM_ROWS_PER_FAULT, moving, inside)
    labels = fault_labels(recorded, length)[start:] | fault_labels(dense, length - start)
    exam = Exam(written(plain[start:].copy(), dense, start), first.test_ts[start:length], labels, start)
    faults = tuple(sorted((*sparse, *recorded), key=lambda fault: fault.start))
    return faults, written(plain.copy(), sparse, 0), exam


def _recorded(series: SensorSeries, start: int, stop: int) -> tuple[Fault, ...]:
    """The series' own faults, as far as they lie in rows [start, stop)."""
    found = ((max(one.start, start), min(one.stop, stop), one.channels) for one in series.segments)
    return tuple(Fault(low, high, RECORDED, channels) for low, high, channels in found if low < high)


def bounded(series: SensorSeries) -> SensorSeries:
    """The series, its train part cut to its last rows and its test part to its first where they are very many.

    Raises:
        InputError: the test part is too short for anything to be learnt after a change.
    """
    days = len(series.test) * series.sampling_interval_s / SECONDS_PER_DAY
    if days < LEAST_DAYS or len(series.test) < LEAST_ROWS:
        raise InputError(
            f"{series.dataset} {series.entity}: the test part has {len(series.test)} rows in {days:.1f} days, expected at "
            f"least {LEAST_ROWS} rows and {LEAST_DAYS:g} days; leave it out"
        )
    if max(len(series.train), len(series.test)) <= MOST_ROWS:
        return series
    segments = tuple(segment for segment in series.segments if segment.stop <= MOST_ROWS)
    return replace(
        series,
        train=series.train[-MOST_ROWS:],
        train_ts=series.train_ts[-MOST_ROWS:],
        test=series.test[:MOST_ROWS],
        test_ts=series.test_ts[:MOST_ROWS],
        test_labels=None if series.test_labels is None else series.test_labels[:MOST_ROWS],
        segments=segments,
    )
