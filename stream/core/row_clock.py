"""Which rows a machine takes in: late rows, rows from the future, restarted clocks, gaps. Each case is counted.

A row that is further ahead of the one before than `windows.max_jump_intervals` is not believed at once: it waits. Rows that go on
from it, `PROOF_ROWS` in all, prove that time has moved on, and all are taken; a row that goes on from where the clock was proves
that it was a wrong stamp, and it is refused. Where records have timestamps of their own, a jump that they show too needs no
proof. What becomes of a row follows from the rows' times and timestamps in their order alone: neither grouping into messages nor
a restart changes it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from wheeltapper.stream.core.clock_notes import ClockNotes
from wheeltapper.stream.core.counters import Counters
from wheeltapper.stream.core.policies import WindowRules
from wheeltapper.stream.core.row_store import NEVER, RowStore

UNBOUNDED = 2**63 - 1
"""A step in time that no two int64 times have between them: gaps are bridged."""

PROOF_ROWS = 10
"""So many rows that go on from a far jump prove it."""

NO_STAMP = -1
"""Timestamp of a record that has none."""


@dataclass(slots=True)
class Part:
    """Rows that are taken in, one after the other.

    Attributes:
        anew: the window starts anew with them.
        rows: which, in order.
        by: for each the row with whose coming it was taken: itself, or a later one that it waited for.
    """

    anew: bool
    rows: list[int] | slice = field(default_factory=list)
    by: list[int] | slice = field(default_factory=list)


@dataclass(slots=True)
class Sorted:
    """What becomes of rows; of those in no list nothing does: they are late.

    Attributes:
        parts: taken in, in order.
        waiting: wait for others.
        refused: are from the future: (row, the row with whose coming that was found, time (us) of the newest row then).
    """

    parts: list[Part]
    waiting: list[int] = field(default_factory=list)
    refused: list[tuple[int, int, int]] = field(default_factory=list)


class _Column:
    """A number of a machine, kept beside those of other machines."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, clock: RowClock, owner: type) -> int:
        found: int = getattr(clock.store, self._name).item(clock.slot)
        return found

    def __set__(self, clock: RowClock, value: int) -> None:
        getattr(clock.store, self._name)[clock.slot] = value


class RowClock:
    """One machine's event time: its numbers in a `RowStore`.

    Attributes:
        last_time: event time (us) of its newest row; late rows are those not newer. None before the first row.
        stamp: timestamp (ms) of the record that it came in; NO_STAMP where there is none.
        late_run: late rows in a row, to notice a clock that was set back.
        back_run, back_time: of them, those in a row that are far behind and newer each than the one before; the last one's time.
        support: rows that the clock has gone on with since it began, or jumped far: a run that is longer overrules it.
        taken: rows since it began.
    """

    __slots__ = ("_notes", "slot", "store")

    stamp, support = _Column(), _Column()
    late_run, back_run, back_time = _Column(), _Column(), _Column()
    taken = _Column()

    def __init__(self, store: RowStore, slot: int) -> None:
        """
        Args:
            store, slot: where its numbers are.
        """
        self.store, self.slot = store, slot
        self._notes: ClockNotes | None = None

    def set(
        self,
        last_time: int | None = None,
        stamp: int = NO_STAMP,
        late_run: int = 0,
        back_run: int = 0,
        back_time: int = 0,
        support: int = 0,
    ) -> None:
        """Begin anew, or as a snapshot says."""
        store, slot = self.store, self.slot
        self.last_time = last_time
        store.stamp[slot], store.support[slot], store.taken[slot] = stamp, support, 0
        store.late_run[slot], store.back_run[slot], store.back_time[slot] = late_run, back_run, back_time
        self._notes = None

    @property
    def last_time(self) -> int | None:
        last = self.store.last_time.item(self.slot)
        return None if last == NEVER else last

    @last_time.setter
    def last_time(self, time: int | None) -> None:
        self.store.last_time[self.slot] = NEVER if time is None else time

    @property
    def notes(self) -> ClockNotes:
        """For the log."""
        if self._notes is None:
            self._notes = ClockNotes()
        return self._notes

    def moved(self, store: RowStore, slot: int) -> RowClock:
        """The same clock, its numbers elsewhere."""
        clock = RowClock(store, slot)
        clock.set(self.last_time, self.stamp, self.late_run, self.back_run, self.back_time, self.support)
        clock.taken, clock._notes = self.taken, self._notes
        return clock

    def sort(
        self,
        times: np.ndarray,
        interval_us: int,
        policy: WindowRules,
        counters: Counters,
        machine: str,
        stamp_of: Callable[[int], int],
        waiting: int = 0,
    ) -> Sorted:
        """Sort [n] int64 event times.

        `last_time` is moved on by the caller, part by part.

        Args:
            machine: whose clock it is, for the log.
            stamp_of: row -> timestamp (ms) of the record that it came in; NO_STAMP where there is none.
            waiting: the first so many rows are those that have waited since before.
        """
        largest_gap = policy.max_gap_intervals * interval_us or UNBOUNDED
        largest_jump = policy.max_jump_intervals * interval_us or UNBOUNDED
        if not waiting:
            steps = np.empty(len(times), dtype=np.int64)  # np.diff(prepend=..) takes three times as long
            steps[0] = 1 if self.last_time is None else times[0] - self.last_time
            np.subtract(times[1:], times[:-1], out=steps[1:])
            largest = min(largest_gap, largest_jump)
            if steps.min() > 0 and (largest == UNBOUNDED or steps.max() <= largest):
                go_on(self.store, self.slot, stamp_of(len(times) - 1), len(times))
                return Sorted([Part(False, slice(None), slice(None))])
        return _Sorting(self, times.tolist(), stamp_of, largest_gap, largest_jump, policy, counters, machine).run(
            waiting
        )


def go_on(store: RowStore, slots: np.ndarray | int, stamps: Any, rows: np.ndarray | int) -> None:
    """So many rows of these machines go on from their last ones; the newest came in records of `stamps` (ms).

    Their `last_time` is the caller's to move on.
    """
    store.late_run[slots] = 0
    store.back_run[slots] = 0
    store.support[slots] += rows
    store.taken[slots] += rows
    store.stamp[slots] = stamps


class _Sorting:
    """One call of `sort` that has to look at each row."""

    def __init__(
        self,
        clock: RowClock,
        times: list[int],
        stamp_of: Callable[[int], int],
        largest_gap: int,
        largest_jump: int,
        policy: WindowRules,
        counters: Counters,
        machine: str,
    ) -> None:
        self._clock = clock
        self._last = clock.last_time
        self._times = times
        self._stamp_of = stamp_of
        self._largest_gap, self._largest_jump = largest_gap, largest_jump
        self._restart_rows = policy.clock_restart_rows
        self._counters = counters
        self._machine = machine
        self._part = Part(False)
        self._sorted = Sorted([self._part])

    def run(self, waiting: int) -> Sorted:
        times, held, gone = self._times, self._sorted.waiting, list[int]()
        held += range(waiting)
        for index in range(waiting, len(times)):
            time, last = times[index], self._last
            if last is None:
                self._take(index, index)
            elif time <= last:
                self._take_late(index, last)
            else:
                goes_on = time - last <= self._largest_jump or self._is_due(index, last)
                slack = 0 if goes_on else self._largest_jump
                while held and times[held[-1]] > time + slack:
                    gone.append(held.pop())
                while gone:
                    self._refuse(gone.pop(), index, last)
                if held and time <= times[held[-1]]:
                    self._drop(is_equal=time == times[held[-1]])
                elif goes_on:
                    self._take_held(index)
                    self._take(index, index)
                else:
                    held.append(index)
                    if len(held) == 1:
                        self._clock.notes.jumped(self._machine, time, last)
                    if len(held) >= PROOF_ROWS:
                        self._take_held(index)
        return self._sorted

    def _is_due(self, index: int, last: int) -> bool:
        """Whether the records' own timestamps have moved on as far as the row; one that is the row's time again says nothing."""
        stamp, before, time = self._stamp_of(index), self._clock.stamp, self._times[index]
        if stamp <= 0 or before <= 0 or stamp == time // 1_000:
            return False
        return time - last <= (stamp - before) * 1_000 + self._largest_jump

    def _take_held(self, by: int) -> None:
        for index in self._sorted.waiting:
            self._take(index, by)
        self._sorted.waiting.clear()

    def _take(self, index: int, by: int) -> None:
        clock, time = self._clock, self._times[index]
        if self._last is not None:
            step = time - self._last
            if step > self._largest_jump:
                clock.support = 0
            if step > self._largest_gap:
                self._counters.gaps += 1
                self._begin_part()
        clock.late_run = clock.back_run = 0
        clock.support += 1
        clock.stamp = self._stamp_of(index)
        clock.taken += 1
        self._last = time
        assert isinstance(self._part.rows, list)
        assert isinstance(self._part.by, list)
        self._part.rows.append(index)
        self._part.by.append(by)

    def _begin_part(self) -> None:
        self._part = Part(True)
        self._sorted.parts.append(self._part)

    def _take_late(self, index: int, last: int) -> None:
        clock, time, restart_rows = self._clock, self._times[index], self._restart_rows
        clock.late_run += 1
        if last - time > self._largest_jump:
            clock.back_run = clock.back_run + 1 if clock.back_run and time > clock.back_time else 1
            clock.back_time = time
        else:
            clock.back_run = 0
        is_proven = clock.late_run >= restart_rows or clock.back_run > min(clock.support, restart_rows)
        if not restart_rows or not is_proven:
            self._drop(is_equal=time == last)
            return
        for held in self._sorted.waiting:
            self._refuse(held, index, last)
        self._sorted.waiting.clear()
        self._counters.clock_restarts += 1
        clock.notes.restarted(self._machine, clock.late_run, time, last)
        self._begin_part()
        clock.support, self._last = 0, None
        self._take(index, index)

    def _drop(self, *, is_equal: bool) -> None:
        self._counters.late_rows += 1
        self._clock.notes.dropped(self._machine, self._clock.taken, is_equal=is_equal)

    def _refuse(self, index: int, by: int, last: int) -> None:
        self._counters.ahead_rows += 1
        self._clock.notes.refused(self._machine, self._times[index], last)
        self._sorted.refused.append((index, by, last))
