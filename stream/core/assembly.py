"""Rows from readings that come one by one: the last value of each channel, on a grid of the bundle's interval.

A row at grid time g holds for each channel its newest reading at or before g, unless that is older than the hold limit. It comes
out once it is final: when every channel has had a reading at or after g, or when a reading has come that is newer than g by the
grace period. What comes out follows from the readings in their order alone, not from how messages or batches group them, and not
from any clock but theirs.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import nan
from typing import Any

import numpy as np
import structlog

from wheeltapper.schemas.clock import MAX_MICROS, MIN_MICROS, iso_from_micros
from wheeltapper.stream.core.counters import Counters, count
from wheeltapper.stream.core.policies import WindowRules
from wheeltapper.stream.core.rates import STEPS, tell_of_rate
from wheeltapper.stream.core.readings import AssemblyRules, ReadingBlock
from wheeltapper.stream.core.row_memory import RowBlock

log = structlog.get_logger(__name__)

ROWS_AT_A_TIME = 4_096
PROOF_INTERVALS = 10
"""So many grid intervals with readings that go on from a far jump ahead prove it."""

FOREVER = 2**62
"""A step in time that no reading is ahead by."""
NEVER = -FOREVER
"""Time of a channel's last reading before its first."""


class _Rows:
    """Rows that are final, until they are handed on."""

    __slots__ = ("offsets", "times", "values", "width")

    def __init__(self, width: int) -> None:
        self.width = width
        self.offsets: list[int] = []
        self.times: list[int] = []
        self.values: list[list[float]] = []

    def __len__(self) -> int:
        return len(self.times)

    def block(self) -> RowBlock:
        """What was collected, which is let go of."""
        block = RowBlock(
            np.array(self.offsets, dtype=np.int64),
            np.array(self.times, dtype=np.int64),
            np.array(self.values, dtype=np.float32).reshape(len(self), self.width),
        )
        self.offsets, self.times, self.values = [], [], []
        return block


class Assembler:
    """Readings of one machine that are held, or wait for their row.

    What waits is bounded: of each channel the newest reading of each grid interval, over the grace period.
    """

    def __init__(self, channels: int, interval_us: int) -> None:
        self._width = channels
        self._interval = interval_us
        self._phase = 0
        self._last_offset = -1
        self._reset()

    def _reset(self) -> None:
        self._until: int | None = None
        """Grid time of the last row that is out, or could have been; None before the first reading."""
        self._held_times = [NEVER] * self._width
        self._held = [nan] * self._width
        self._latest = [NEVER] * self._width
        """Time of each channel's newest reading, waiting ones too."""
        self._cells: dict[int, dict[int, tuple[int, float]]] = {}
        """Grid time -> channel -> (time, value) of its newest reading in the interval that ends there."""
        self._arrived = 0
        """Channels with a reading at or after the next grid time."""
        self._newest = NEVER
        self._stamp = -1
        """Timestamp (ms) of the record with the newest reading."""
        self._far: list[tuple[int, int, float, int]] = []
        """(time, channel, value, timestamp of the record) of readings far ahead, which others may prove."""
        self._late_run = 0
        self._steps: list[list[int]] | None = [[] for _ in range(self._width)]
        """First steps of each channel's clock; None once the rate has been judged."""

    # -- readings to rows -----------------------------------------------------------------------------------------------

    def take(
        self, block: ReadingBlock, policy: WindowRules, counters: Counters, machine: str
    ) -> Iterator[tuple[bool, RowBlock]]:
        """Take readings in; yields (whether the machine's clock was set back before them, rows that are final), in time order.

        Args:
            policy: so many rows' worth of late readings in a row are a clock that was set back.
            machine: whose readings they are, for the log.
        """
        grace, hold = block.rules.limits(self._interval)
        if block.rules.phase_us % self._interval != self._phase:
            self._regrid(self._interval, block.rules.phase_us)
        # What lies within the age limit is no jump: tags that are sent on change have pauses.
        jump = max(hold, policy.max_jump_intervals * self._interval) if policy.max_jump_intervals else FOREVER
        most_late = policy.clock_restart_rows * self._width
        rows, anew = _Rows(self._width), False
        columns = (block.offsets, block.times, block.columns, block.values, block.stamps)
        for offset, time, column, value, stamp in zip(*(column.tolist() for column in columns), strict=True):
            self._last_offset = offset
            if self._until is None:
                self._begin(time, grace)
            assert self._until is not None
            if time <= self._until:
                self._take_late(time, column, value, counters)
                if not most_late or self._late_run < most_late:
                    continue
                log.warning("clock restarted", machine=machine, late_readings=self._late_run, to_us=time)
                counters.clock_restarts += 1
                self._refuse_far(counters, machine)
                if self._cells:
                    self._emit(max(self._cells), offset, hold, rows, counters)
                if len(rows):
                    yield anew, rows.block()
                anew = True
                self._reset()
                self._begin(time, grace)
            elif time - self._newest > jump and self._newest != NEVER and not self._is_due(time, stamp, jump):
                self._far.append((time, column, value, stamp))
                if not self._is_proven():
                    continue
                self._take_far(counters, machine)
                self._pass_on(offset, grace, hold, rows, counters)
                continue
            elif self._far:
                self._refuse_far(counters, machine)
            self._late_run = 0
            self._wait(time, column, value, stamp, counters, machine)
            self._pass_on(offset, grace, hold, rows, counters)
            if len(rows) >= ROWS_AT_A_TIME:
                yield anew, rows.block()
                anew = False
        if len(rows) or anew:
            yield anew, rows.block()

    def _pass_on(self, offset: int, grace: int, hold: int, rows: _Rows, counters: Counters) -> None:
        """Rows that are final now."""
        assert self._until is not None
        interval, phase = self._interval, self._phase
        ready = self._until
        if self._newest - grace >= ready + interval:
            ready = self._newest - grace - (self._newest - grace - phase) % interval
        if self._arrived == self._width:
            oldest = min(self._latest)
            ready = max(ready, oldest - (oldest - phase) % interval)
        if ready > self._until:
            self._emit(ready, offset, hold, rows, counters)

    def _is_due(self, time: int, stamp: int, jump: int) -> bool:
        """Whether the records' own timestamps have moved on as far; one that is the reading's time again says nothing."""
        if stamp <= 0 or self._stamp <= 0 or stamp == time // 1_000:
            return False
        return time - self._newest <= (stamp - self._stamp) * 1_000 + jump

    def _is_proven(self) -> bool:
        intervals = {(time - self._phase) // self._interval for time, *_ in self._far}
        return len(intervals) >= PROOF_INTERVALS or len(self._far) >= PROOF_INTERVALS * (self._width + 1)

    def _take_far(self, counters: Counters, machine: str) -> None:
        far, self._far = self._far, []
        self._late_run = 0
        for time, column, value, stamp in far:
            self._wait(time, column, value, stamp, counters, machine)

    def _refuse_far(self, counters: Counters, machine: str) -> None:
        """Readings that were far ahead, where others go on from before them: a wrong stamp."""
        if not self._far:
            return
        counters.readings["ahead"] = counters.readings.get("ahead", 0) + len(self._far)
        log.warning(
            "readings from the future are left out: others went on from before them",
            machine=machine,
            readings=len(self._far),
            time=iso_from_micros(self._far[0][0]),
            newest_before=iso_from_micros(self._newest),
            what_to_do="check the clock of the sender (windows.max_jump_intervals)",
        )
        self._far = []

    def rest(self, rules: AssemblyRules, counters: Counters, machine: str) -> RowBlock:
        """The rows that wait, as no reading follows."""
        rows = _Rows(self._width)
        self._take_far(counters, machine)
        if self._cells:
            self._emit(max(self._cells), self._last_offset, rules.limits(self._interval)[1], rows, counters)
        return rows.block()

    def _begin(self, time: int, grace: int) -> None:
        """The first reading: readings that are older by the grace period may still come."""
        start = time - grace
        self._until = start - (start - self._phase) % self._interval - self._interval

    def _take_late(self, time: int, column: int, value: float, counters: Counters) -> None:
        """A reading whose row is out; rows to come may still hold it."""
        held = self._held_times[column]
        if time == held:
            count(counters.readings, "repeated")
            return
        count(counters.readings, "late")
        if time > held:
            self._held_times[column], self._held[column] = time, value
            self._latest[column] = max(self._latest[column], time)
        else:
            self._late_run += 1

    def _wait(self, time: int, column: int, value: float, stamp: int, counters: Counters, machine: str) -> None:
        """Keep a reading for its row."""
        assert self._until is not None
        cell = self._cells.setdefault(time + (self._phase - time) % self._interval, {})
        known = cell.get(column)
        if known is None or time >= known[0]:
            if known is not None and time == known[0]:
                count(counters.readings, "repeated")
            cell[column] = (time, value)
        before = self._latest[column]
        if time > before:
            next_row = self._until + self._interval
            if before < next_row <= time:
                self._arrived += 1
            self._latest[column] = time
            if time > self._newest:
                self._newest, self._stamp = time, stamp
            if self._steps is not None and before != NEVER:
                self._judge_rate(time - before, column, counters, machine)

    def _judge_rate(self, step: int, column: int, counters: Counters, machine: str) -> None:
        assert self._steps is not None
        steps = self._steps[column]
        steps.append(step)
        if len(steps) == STEPS:  # the fastest channel gets there first
            tell_of_rate(float(np.median(steps)), self._interval, counters, machine, readings=True)
            self._steps = None

    def _emit(self, ready: int, offset: int, hold: int, rows: _Rows, counters: Counters) -> None:
        """Rows up to grid time `ready`; none where no channel has a value that still counts."""
        assert self._until is not None
        interval, held_times, held = self._interval, self._held_times, self._held
        grid = self._until + interval
        while grid <= ready:
            cell = self._cells.pop(grid, None)
            if cell:
                for column, (time, value) in cell.items():
                    held_times[column], held[column] = time, value
            limit = grid - hold
            if min(held_times) > limit:
                row = held.copy()
            elif max(held_times) > limit:
                row = [value if time > limit else nan for time, value in zip(held_times, held, strict=True)]
                expired = sum(NEVER < time <= limit for time in held_times)
                if expired:
                    counters.readings["expired"] = counters.readings.get("expired", 0) + expired
            else:
                waiting = [at for at in self._cells if at <= ready]
                if not waiting:
                    break
                grid = min(waiting)
                continue
            rows.offsets.append(offset)
            rows.times.append(grid)
            rows.values.append(row)
            grid += interval
        self._until = ready
        self._arrived = sum(time >= ready + interval for time in self._latest)

    # -- another grid, snapshots ------------------------------------------------------------------------------------------

    def fit(self, interval_us: int) -> None:
        """Go on with another interval: another bundle serves."""
        if interval_us != self._interval:
            self._regrid(interval_us, self._phase)
            self._steps = [[] for _ in range(self._width)]

    def _regrid(self, interval: int, phase: int) -> None:
        waiting = [(time, column, value) for cell in self._cells.values() for column, (time, value) in cell.items()]
        self._interval, self._phase = interval, phase % interval
        self._cells = {}
        if self._until is not None:
            self._until -= (self._until - self._phase) % interval
        self._place(waiting)

    def _place(self, waiting: list[tuple[int, int, float]]) -> None:
        """Put readings in the cells where they wait; what is known of each channel's newest follows."""
        for time, column, value in sorted(waiting, key=lambda reading: reading[:2]):
            self._cells.setdefault(time + (self._phase - time) % self._interval, {})[column] = (time, value)
        latest = list(self._held_times)
        for time, column, _ in waiting:
            latest[column] = max(latest[column], time)
        self._latest = latest
        self._newest = max(latest)
        next_row = NEVER if self._until is None else self._until + self._interval
        self._arrived = 0 if self._until is None else sum(time >= next_row for time in latest)

    def dump(self) -> dict[str, Any]:
        """All that later rows follow from, in JSON types."""
        return {
            "interval": self._interval,
            "phase": self._phase,
            "until": self._until,
            "late_run": self._late_run,
            "stamp": self._stamp,
            "far": self._far,
            "last_offset": self._last_offset,
            "held_times": [None if time == NEVER else time for time in self._held_times],
            "held": self._held,
            "waiting": [
                [time, column, value] for cell in self._cells.values() for column, (time, value) in cell.items()
            ],
        }

    def load(self, saved: dict[str, Any]) -> None:
        """Take over what `dump` gave; afterwards on the grid that this assembler was made for.

        Raises:
            LookupError, TypeError, ValueError: it cannot be read.
        """
        times = [NEVER if time is None else _moment(time) for time in saved["held_times"]]
        values = [_number(value) for value in saved["held"]]
        waiting = [(_moment(time), int(column), _number(value)) for time, column, value in saved["waiting"]]
        far = [(_moment(time), int(column), _number(value), int(stamp)) for time, column, value, stamp in saved["far"]]
        stamp = int(saved["stamp"])
        interval, phase = int(saved["interval"]), int(saved["phase"])
        if len(times) != self._width or len(values) != self._width:
            raise ValueError(f"holds readings of {len(times)} channels, expected {self._width}")
        if any(not 0 <= column < self._width for _, column, *_ in (*waiting, *far)) or interval < 1:
            raise ValueError("a reading waits for a channel, or on a grid, that there is not")
        until = None if saved["until"] is None else _moment(saved["until"])
        wanted = self._interval
        self._reset()
        self._interval, self._phase = interval, phase % interval
        self._until, self._late_run = until, int(saved["late_run"])
        self._last_offset = int(saved["last_offset"])
        self._held_times, self._held = times, values
        self._place(waiting)
        self._stamp, self._far = stamp, far
        self.fit(wanted)


def _moment(saved: Any) -> int:
    time = int(saved)
    if not MIN_MICROS <= time <= MAX_MICROS:
        raise ValueError(f"time {time} is outside of the years 1 to 9999")
    return time


def _number(saved: Any) -> float:
    return nan if saved is None else float(saved)
