"""A bundle over a series' test part as the live stream runs it.

The clock, the windows, the calibration, the threshold and the alerts are the worker's own code (`wheeltapper.stream.core`),
under the worker's settings. What is added here: every scored window and every alarm is known by its row of the test part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np

from wheeltapper.schemas.bundle import Bundle
from wheeltapper.schemas.errors import InputError
from wheeltapper.stream.core.alert_judge import ALERT, AlertJudge
from wheeltapper.stream.core.alert_life import AlertState, EventKind
from wheeltapper.stream.core.counters import Counters
from wheeltapper.stream.core.judging import Emission, Judge, Judged, Slot
from wheeltapper.stream.core.policies import AlarmPolicy, AlarmRules, WindowPolicy, WindowRules
from wheeltapper.stream.core.row_memory import RowBlock, RowMemory, row_layout
from wheeltapper.stream.core.rule import RuleSpec
from wheeltapper.stream.core.scoring_loop import RuleRuntime
from wheeltapper.stream.core.thresholds import OperatorAction
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
    stream = MachineStream(bundle, windows=windows, alarms=alarms)
    stream.feed(values, times)
    stream.finish()
    return stream.result()


class MachineStream:
    """One machine's rows through one rule, piece by piece, as the worker runs them.

    Between two pieces another bundle may take over, as a deployment does: the machine's rows, its open alert and what its
    judges remember go on under it. How the rows are cut into pieces changes nothing.

    Attributes:
        bundle: the one at work.
        rows: taken so far.
        runtime, memory: of the rule, for who wants to look at what a judge remembers.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        windows: WindowRules | None = None,
        alarms: AlarmRules | None = None,
        judges: Callable[[RuleSpec], Sequence[Judge]] = lambda rule: (),
    ) -> None:
        """
        Args:
            windows, alarms: the worker's settings [windows] and [threshold]; None: their defaults.
            judges: further judges of a rule, which see behind the alert judge; asked for each bundle that comes to work.

        Raises:
            InputError: a stride below 1.
        """
        self._windows, self._alarms = windows or WindowPolicy(), alarms or AlarmPolicy()
        if self._windows.stride is not None and self._windows.stride < 1:
            raise InputError(f"stride is {self._windows.stride}, expected at least 1 row")
        self._judges = judges
        self._counters = Counters()
        self._recorder = _Recorder()
        self._taken: list[np.ndarray] = []
        self._lags: list[np.ndarray] = []
        self.rows = 0
        self.bundle = bundle
        self.runtime = self._runtime(bundle)
        self.memory = self.runtime.new_memory()
        self._row_memory = RowMemory(row_layout([self.runtime.rule]))

    def _runtime(self, bundle: Bundle) -> RuleRuntime:
        manifest = bundle.manifest
        rule = RuleSpec(manifest.detector, bundle, bundle.open_graph(), self._windows.stride or manifest.stride)
        alerts = AlertJudge(rule, self._alarms, self._recorder, self._counters)
        return RuleRuntime(rule, [alerts, *self._judges(rule), self._recorder])

    @property
    def open_since(self) -> int | None:
        """Event time (us) that the open alert dates from; None where none is open."""
        state: AlertState = self.memory.slots[ALERT]
        return state.opened_at

    def swap(self, bundle: Bundle) -> None:
        """Go on under another bundle of the same channels."""
        self.bundle = bundle
        self.runtime = self._runtime(bundle)
        self.memory = self.runtime.adopt(self.memory)
        self._row_memory.fit(row_layout([self.runtime.rule]))

    def command(self, action: OperatorAction, time: int) -> None:
        """What an operator said of the rule, between two pieces; `time` is the event time (us) from which it holds."""
        for _ in self.runtime.command(self.memory, action, time):
            self._recorder.end(time)

    def feed(self, values: np.ndarray, times: np.ndarray) -> list[Emission]:
        """Take the next rows, [n, C] raw units and [n] int64 event time; what the further judges say of them."""
        rule, manifest = self.runtime.rule, self.bundle.manifest
        values = np.ascontiguousarray(values, dtype=np.float32)
        numbers = self.rows + np.arange(len(values))
        emissions: list[Emission] = []
        start, stop = 0, max(manifest.rows_before_scoring - 1 - self.rows, 0)
        while start < len(values):
            stop += _WINDOWS_AT_ONCE * rule.stride
            block = RowBlock(numbers[start:stop], times[start:stop], values[start:stop])
            for part in self._row_memory.take(block, self._windows, self._counters, manifest.training_data.entity):
                self._collect(part)
            emissions += self._judge()
            start = stop
        self.rows += len(values)
        return emissions

    def finish(self) -> list[Emission]:
        """No row follows: take those that wait for others, as after a far jump; what the further judges say of them."""
        for part in self._row_memory.rest(self._counters, self.runtime.rule.manifest.training_data.entity):
            self._collect(part)
        return self._judge()

    def _collect(self, part: RowBlock) -> None:
        numbers = part.offsets if part.sources is None else part.sources
        self._taken.append(numbers)
        rule = self.runtime.rule
        due = self._row_memory.due(replace(part, offsets=numbers), rule)
        if due is not None:
            self._lags.append(np.full(len(due.times), rule.manifest.lag))
            self.runtime.collect(rule.name, self.memory, due)

    def _judge(self) -> list[Emission]:
        if not self.runtime.has_windows:
            return []
        return [emission for _, found in self.runtime.judge(self._counters) for emission in found]

    def result(self) -> StreamRun:
        """What has been computed so far.

        Raises:
            InputError: no window was scored, or a score is not finite.
        """
        recorder, rows = self._recorder, self.rows
        if not recorder.windows:
            raise InputError(_no_window(self.bundle, rows, self._counters))
        completed = np.concatenate(recorder.completed)
        accepted = np.concatenate(self._taken)
        scored_rows = accepted[np.searchsorted(accepted, completed) - np.concatenate(self._lags)]
        raw = np.concatenate(recorder.raw).astype(np.float64)
        _check_finite(self.bundle, raw, scored_rows)
        calibrated, level = np.concatenate(recorder.calibrated), np.concatenate(recorder.level)
        return StreamRun(
            rows=rows,
            stride=self.runtime.rule.stride,
            scored_rows=scored_rows,
            raw=raw,
            calibrated=calibrated,
            level=level,
            contribution=np.concatenate(recorder.contribution),
            alarms=_alarms(recorder, scored_rows, calibrated >= self._alarms.clear_ratio * level, rows),
            counters=self._counters,
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

    def end(self, time: int) -> None:
        """The open alert ended behind the last window, by an operator's word."""
        self.steps[-1].cleared, self.steps[-1].cleared_at = self.windows, time

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
        f"({counters.late_rows} late rows, {counters.ahead_rows} from the future, {counters.gaps} gaps, {counters.clock_restarts} clock restarts); check its times, "
        "or raise windows.max_gap_intervals"
    )


def _check_finite(bundle: Bundle, raw: np.ndarray, scored_rows: np.ndarray) -> None:
    bad = np.flatnonzero(~np.isfinite(raw))
    if len(bad):
        raise InputError(
            f"{bundle.location}: the score of row {scored_rows[bad[0]]} is {raw[bad[0]]} ({len(bad)} of {len(raw)} are "
            "not finite), so it cannot be judged; check the graph and the data"
        )
