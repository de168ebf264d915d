"""Streams of a motor that changes its speed or its load, made from the recordings of CbM-Datasets.

A condition monitor that measures once a minute sends one row of band levels each time. Recordings last a second, so train parts
and streams draw their rows from the frames of the same recordings of one condition, with a little noise, as no two measurements are
the same: the machine is itself until it changes, and what is measured is the change, not whether one second tells of the next.
Faults are recordings of the faulty states at the same speed and load: nothing is made up of them but their times.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np

from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.cbm_motor import HEALTHY, LOADS_LB, SPEEDS_RPM, BandRows, Recording, recordings
from wheeltapper.training.datasets.clock import MADE_UP_INTERVAL_S, made_up_times
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.lab.shifts.faults import Fault, fault_labels, place_faults
from wheeltapper.training.lab.shifts.scenarios import (
    ACCEPT_AFTER_S,
    CHANGE_AT,
    EXAM_AT,
    EXAM_ROWS_PER_FAULT,
    FAULTS_PER_DAY,
    LASTING_FAULT_AT,
    LEARN,
    NONE,
    TELL,
    Change,
    Exam,
    Scenario,
    ScenarioKind,
)

DATASET = "cbm_motor"
SPEED, LOAD, FAULT = "motor-speed", "motor-load", "motor-fault"
MOTOR_KINDS: Mapping[str, ScenarioKind] = MappingProxyType(
    {
        NONE: ScenarioKind("nothing changes", "nothing: no drift, no other model that is worse"),
        SPEED: ScenarioKind("the motor runs at another speed", LEARN),
        LOAD: ScenarioKind("the motor runs under another load", LEARN),
        FAULT: ScenarioKind("a state of wear that lasts to the end", TELL, is_fault=True),
    }
)

_MINUTES_A_DAY = 1440
TRAIN_ROWS, STREAM_ROWS = 4 * _MINUTES_A_DAY, 8 * _MINUTES_A_DAY
# A tenth of a second: 10 Hz, a shaft's turn at the lowest speed, is one line of the spectrum.
_BANDS = BandRows(frame=2048)
_NOISE_SD = 0.2

# By part of the state's name; what is not named here is healthy.
_FAULTS = {
    "IR": "inner-race",
    "OR": "outer-race",
    "BF": "ball",
    "BS": "bent-shaft",
    "MA": "misalignment",
    "IL": "imbalance",
}


@dataclass(frozen=True)
class _Condition:
    speed: int
    load: int

    @property
    def name(self) -> str:
        return f"{self.speed}rpm-{self.load:02d}lb"


def motor_entities() -> tuple[str, ...]:
    """The conditions that a motor may be trained at, e.g. '1200rpm-00lb'."""
    return tuple(_Condition(speed, load).name for speed in SPEEDS_RPM for load in LOADS_LB)


def fault_kind(state: str) -> str:
    """'GoB_BS_BaLo_WA' -> 'bent-shaft'; '' for a healthy one."""
    if state == HEALTHY:
        return ""
    return next((kind for end, kind in _FAULTS.items() if any(part.endswith(end) for part in state.split("_"))), "")


class MotorFrames:
    """Rows of band levels by condition and fault."""

    def __init__(self, found: list[Recording]) -> None:
        parts: dict[tuple[_Condition, str], list[np.ndarray]] = {}
        for item in found:
            kind = fault_kind(item.state)
            if kind or not item.faulty:
                rows = _BANDS.rows(item.signal, item.speed_rpm)
                parts.setdefault((_Condition(item.speed_rpm, item.load_lb), kind), []).append(rows)
        self._frames = {key: np.concatenate(rows) for key, rows in parts.items()}

    def kinds(self, condition: _Condition) -> tuple[str, ...]:
        """Faults that were recorded at a condition."""
        return tuple(sorted(kind for at, kind in self._frames if at == condition and kind))

    def draw(self, condition: _Condition, kind: str, numbers: np.ndarray) -> np.ndarray:
        """[n, C] rows by random numbers [n].

        Args:
            kind: of fault; '' for the healthy motor.

        Raises:
            InputError: no such recording.
        """
        frames = self._frames.get((condition, kind))
        if frames is None:
            raise InputError(
                f"motor recordings at {condition.name}: none of the state '{kind or 'healthy'}', expected one; copy them again"
            )
        return frames[numbers % len(frames)]


def load_frames(data: Path) -> MotorFrames:
    """Read every recording of the folder.

    Raises:
        InputError: it holds none.
    """
    return MotorFrames(recordings(data))


def make_motor_scenario(name: str, entity: str, frames: MotorFrames, *, seed: int = 0) -> Scenario:
    """A scenario of `MOTOR_KINDS` for a motor that is trained at the condition `entity`.

    Raises:
        InputError: no such scenario or condition, or a recording that is missing.
    """
    if name not in MOTOR_KINDS:
        raise InputError(f"no scenario '{name}' of {DATASET}; expected one of {', '.join(MOTOR_KINDS)}")
    before = _condition(entity)
    random = np.random.default_rng([zlib.crc32(f"{DATASET}/{entity}/{name}".encode()), seed])
    kind = MOTOR_KINDS[name]
    row = int((LASTING_FAULT_AT if kind.is_fault else CHANGE_AT) * STREAM_ROWS)
    start = int(EXAM_AT * STREAM_ROWS)
    train_numbers, numbers = random.integers(0, 2**31, TRAIN_ROWS), random.integers(0, 2**31, STREAM_ROWS)
    train = frames.draw(before, "", train_numbers)
    scale = train.std(axis=0)
    train_noise = _NOISE_SD * scale * random.standard_normal(train.shape)
    noise = _NOISE_SD * scale * random.standard_normal((STREAM_ROWS, train.shape[1]))
    every = np.ones(train.shape[1], dtype=bool)
    blocked = [(row, row)]
    days = STREAM_ROWS / _MINUTES_A_DAY
    sparse = place_faults(random, STREAM_ROWS, round(FAULTS_PER_DAY * days), every, blocked)
    dense = place_faults(random, STREAM_ROWS - start, (STREAM_ROWS - start) // EXAM_ROWS_PER_FAULT, every)
    names = frames.kinds(before)
    sparse, dense = _named(sparse, names, random), _named(dense, names, random)
    after = _other(before, name)
    lasting = str(random.choice(names)) if kind.is_fault else ""

    def made_rows(change: int, faults: tuple[Fault, ...], origin: int) -> np.ndarray:
        """Rows of the stream from `origin` on, changed from row `change` on."""
        made = frames.draw(before, "", numbers[origin:])
        made[max(change - origin, 0) :] = frames.draw(after, lasting, numbers[max(change, origin) :])
        for fault in faults:
            there = slice(fault.start, fault.stop)
            at = after if fault.start + origin >= change else before
            made[there] = frames.draw(at, fault.kind, numbers[origin:][there])
        return (made + noise[origin:]).astype(np.float32)

    never, labels = STREAM_ROWS, fault_labels(dense, STREAM_ROWS - start)
    exam_change = row
    if kind.is_fault:
        exam_change = start + len(labels) // 2
        labels[exam_change - start :] = 1
    moved = name != NONE
    train_ts, times = made_up_times(TRAIN_ROWS, STREAM_ROWS)
    stream = made_rows(row if moved else never, sparse, 0)
    series = SensorSeries(
        dataset=DATASET,
        entity=entity,
        channels=_BANDS.channels(),
        units=("",) * train.shape[1],
        sampling_interval_s=MADE_UP_INTERVAL_S,
        train=(train + train_noise).astype(np.float32),
        train_ts=train_ts,
        test=stream,
        test_ts=times,
        made_up_clock=True,
    )
    regime, change = None, None
    if moved:
        change = Change(name, row, row, kind.is_fault, (), None if kind.is_fault else ACCEPT_AFTER_S)
        if not kind.is_fault:
            rows_after = frames.draw(after, "", train_numbers) + train_noise
            regime = replace(series, train=rows_after.astype(np.float32))
    exam = Exam(made_rows(exam_change if moved else never, dense, start), times[start:], labels, start)
    return Scenario(name, series, stream, times, made_rows(never, sparse, 0), sparse, change, regime, exam)


def _named(faults: tuple[Fault, ...], kinds: tuple[str, ...], random: np.random.Generator) -> tuple[Fault, ...]:
    """The same rows, with the faults that motors have, each as often as the others."""
    order = [kinds[index % len(kinds)] for index in range(len(faults))]
    return tuple(
        replace(fault, kind=str(kind), channels=())
        for fault, kind in zip(faults, random.permutation(order), strict=True)
    )


def _condition(entity: str) -> _Condition:
    if entity not in motor_entities():
        raise InputError(f"no condition '{entity}' of {DATASET}; expected one of {', '.join(motor_entities())}")
    speed, load = entity.removesuffix("lb").split("rpm-")
    return _Condition(int(speed), int(load))


def _other(condition: _Condition, name: str) -> _Condition:
    """The condition after the change: the next speed, or the other load."""
    if name == SPEED:
        return replace(condition, speed=SPEEDS_RPM[(SPEEDS_RPM.index(condition.speed) + 1) % len(SPEEDS_RPM)])
    if name == LOAD:
        return replace(condition, load=LOADS_LB[(LOADS_LB.index(condition.load) + 1) % len(LOADS_LB)])
    return condition
