"""A bundle over a series' test part as the live stream runs it.

The clock, the windows, the calibration, the threshold and the alerts are the worker's own code (`wheeltapper.stream.core`),
under the worker's settings. What is added here: every scored window and every alarm is known by its row of the test part.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np

from wheeltapper.schemas.bundle import Bundle
from wheeltapper.schemas.errors import InputError
from wheeltapper.stream.core.alert_judge import AlertJudge
from wheeltapper.stream.core.alert_life import AlertState, EventKind
from wheeltapper.stream.core.counters import Counters
from wheeltapper.stream.core.judging import Emission, Judged, Slot
from wheeltapper.stream.core.policies import AlarmPolicy, AlarmRules, WindowPolicy, WindowRules
from wheeltapper.stream.core.row_memory import RowBlock, RowMemory, row_layout
from wheeltapper.stream.core.rule import RuleSpec
from wheeltapper.stream.core.scoring_loop import RuleRuntime
from wheeltapper.training.judging.metrics.alarms import AlarmRows

# Windows scored and judged at a time: bounds the memory that embeddings of long series take.
_WINDOWS_AT_ONCE = 8192


@dataclass(frozen=True, slots=True)
class Alarm:
    """An alert of the run.

    Attributes:
        rows: where it was on.
        opened_at: event time (us) that the alert dates from, as the alert event says it.
        cleared_at: event time (us) of the window with which it cleared; None where it was open at the end.
    """

    rows: AlarmRows
    opened_at: int
    cleared_at: int | None


@dataclass(frozen=True)
class StreamRun:
    """What the live stream computes of T rows.

    Attributes:
        rows: T.
        stride: rows between scored windows.
        scored_rows: [k] int64, rising: the row that each window's score belongs to.
        raw: [k] float64, as the graph gave it; larger is more anomalous.
        calibrated: [k] float64; 1.0 is the bundle's alarm level.
        level: [k] float64, raise level in force at each window.
        contribution: [k, C] float32.
        alarms: in order of opening.
        counters: rows taken in, late rows, gaps and clock restarts among them.
    """

    rows: int
    stride: int
    scored_rows: np.ndarray
    raw: np.ndarray
    calibrated: np.ndarray
    level: np.ndarray
    contribution: np.ndarray
    alarms: tuple[Alarm, ...]
    counters: Counters

    @property
    def first_scored(self) -> int:
        """The first row that has a score of its own."""
        return int(self.scored_rows[0])

    def by_row(self, values: np.ndarray) -> np.ndarray:
        """[k, ...] values of windows to [T, ...] values of rows.

        A row without a score of its own holds the one before it; rows before the first score hold the first.
        """
        found: np.ndarray = values[self._window_of_row]
        return found

    @cached_property
    def _window_of_row(self) -> np.ndarray:
        return np.maximum(np.searchsorted(self.scored_rows, np.arange(self.rows), side="right") - 1, 0)


def run_as_stream(
    bundle: Bundle,
    values: np.ndarray,
    times: np.ndarray,
    *,
    windows: WindowRules | None = None,
    alarms: AlarmRules | None = None,
) -> StreamRun:
    """Run a bundle over one machine's rows, in the order in which the stream would receive them.

    Args:
        values: [T, C] raw units, columns in the bundle's order, NaN where a sensor gave nothing.
        times: [T] int64 event time, microseconds UTC; late rows are dropped, as by the worker.
        windows, alarms: the worker's settings [windows] and [threshold]; None: their defaults.

    Raises:
        InputError: no window was scored, a stride below 1, or a score that is not finite.
    """
    windows, alarms = windows or WindowPolicy(), alarms or AlarmPolicy()
    manifest = bundle.manifest
    if windows.stride is not None and windows.stride < 1:
        raise InputError(f"stride is {windows.stride}, expected at least 1 row")
    rule = RuleSpec(manifest.detector, bundle, bundle.open_graph(), windows.stride or manifest.stride)
    layout = row_layout([rule])
    counters = Counters()
    recorder = _Recorder()
    runtime = RuleRuntime(rule, [AlertJudge(rule, alarms, recorder, counters), recorder])
    rows, memory = RowMemory(layout), runtime.new_memory()
    values, numbers = np.ascontiguousarray(values, dtype=np.float32), np.arange(len(values))
    taken: list[np.ndarray] = []
    start, stop = 0, manifest.rows_before_scoring - 1
    while start < len(values):
        stop += _WINDOWS_AT_ONCE * rule.stride
        block = RowBlock(numbers[start:stop], times[start:stop], values[start:stop])
        for part in rows.take(block, windows, counters, manifest.training_data.entity):
            taken.append(part.offsets)
            due = rows.due(part, rule, keep_rows=False)
            if due is not None:
                runtime.collect(rule.name, memory, due)
        if runtime.has_windows:
            for _ in runtime.judge(counters):
                pass  # the recorder has seen it
        start = stop
    if not recorder.windows:
        raise InputError(_no_window(bundle, len(values), counters))
    completed = np.concatenate(recorder.completed)
    accepted = np.concatenate(taken)
    scored_rows = accepted[np.searchsorted(accepted, completed) - manifest.lag]
    raw = np.concatenate(recorder.raw).astype(np.float64)
    _check_finite(bundle, raw, scored_rows)
    calibrated, level = np.concatenate(recorder.calibrated), np.concatenate(recorder.level)
    return StreamRun(
        rows=len(values),
        stride=rule.stride,
        scored_rows=scored_rows,
        raw=raw,
        calibrated=calibrated,
        level=level,
        contribution=np.concatenate(recorder.contribution),
        alarms=_alarms(recorder, scored_rows, calibrated >= alarms.clear_ratio * level, len(values)),
        counters=counters,
    )


@dataclass(slots=True)
class _Step:
    """An alert that opened: with which window, since when; and with which window it cleared."""

    opened: int
    opened_at: int
    cleared: int | None = None
    cleared_at: int | None = None


class _Recorder:
    """The judge that keeps everything, and the report that turns an alert's steps into alarms instead of messages."""

    slots: Mapping[str, Slot[Any]] = MappingProxyType({})
    keeps_rows = False

    def __init__(self) -> None:
        self.windows = 0
        self.completed: list[np.ndarray] = []
        self.times: list[np.ndarray] = []
        self.raw: list[np.ndarray] = []
        self.calibrated: list[np.ndarray] = []
        self.level: list[np.ndarray] = []
        self.contribution: list[np.ndarray] = []
        self.steps: list[_Step] = []

    def __call__(
        self, judged: Judged, position: int, state: AlertState, event: EventKind, level: float
    ) -> Iterable[Any]:
        """See `AlertReport`; called before `see` has counted the windows of `judged`."""
        window = self.windows + position
        if event == "opened":
            assert state.opened_at is not None
            if self.steps and self.steps[-1].opened_at == state.opened_at:
                self.steps[-1].cleared = self.steps[-1].cleared_at = None  # the last alert goes on
            else:
                self.steps.append(_Step(window, state.opened_at))
        elif event == "cleared":
            self.steps[-1].cleared = window
            self.steps[-1].cleared_at = int(judged.due.times[position])
        return ()

    def see(self, judged: Judged) -> Iterable[Emission]:
        self.completed.append(judged.due.offsets)
        self.times.append(judged.due.times)
        self.raw.append(judged.raw)
        self.calibrated.append(judged.score)
        self.level.append(judged.levels)
        self.contribution.append(judged.scored.contribution[judged.start : judged.stop])
        self.windows += len(judged.raw)
        return ()


def _alarms(recorder: _Recorder, scored_rows: np.ndarray, loud: np.ndarray, rows: int) -> tuple[Alarm, ...]:
    """
    Args:
        loud: [k] bool, windows at or above the clear level.
        rows: T.
    """
    # The rows that a window's score counts for begin here; the last entry stands behind the last window.
    begins = np.append(scored_rows, rows)
    begins[0] = 0
    times = np.concatenate(recorder.times)
    found = []
    for step in recorder.steps:
        last = len(loud) if step.cleared is None else step.cleared
        behind = step.opened + int(np.flatnonzero(loud[step.opened : last])[-1]) + 1
        # A clock that was set back may give a time twice: the run before the opening is the later one.
        since = int(np.flatnonzero(times[: step.opened + 1] == step.opened_at)[-1])
        on = AlarmRows(int(begins[since]), int(begins[step.opened]), int(begins[behind]))
        found.append(Alarm(on, step.opened_at, step.cleared_at))
    return tuple(found)


def _no_window(bundle: Bundle, rows: int, counters: Counters) -> str:
    wanted = bundle.manifest.rows_before_scoring
    if rows < wanted:
        return (
            f"{bundle.location}: its window is {bundle.manifest.window} rows, the test part has {rows}; "
            f"give at least {wanted}"
        )
    return (
        f"{bundle.location}: no stretch of the test part's {rows} rows fills a window of {bundle.manifest.window} rows "
        f"({counters.late_rows} late rows, {counters.gaps} gaps, {counters.clock_restarts} clock restarts); check its times, "
        "or raise windows.max_gap_intervals"
    )


def _check_finite(bundle: Bundle, raw: np.ndarray, scored_rows: np.ndarray) -> None:
    bad = np.flatnonzero(~np.isfinite(raw))
    if len(bad):
        raise InputError(
            f"{bundle.location}: the score of row {scored_rows[bad[0]]} is {raw[bad[0]]} ({len(bad)} of {len(raw)} are "
            "not finite), so it cannot be judged; check the graph and the data"
        )
