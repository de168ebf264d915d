"""The rows of many machines in one place: what is done with all of them at once needs them side by side.

A machine has a slot, which holds what is known of it in numbers, and a buffer, which holds its last rows in one piece, so that windows
are views of it. Rows are only ever added to a buffer. One that is full is given away to those who still hold windows of it, and the
machine goes on in another; where nobody does, the rows that later windows need move to its beginning.
"""

from __future__ import annotations

import weakref
from typing import Any, NamedTuple

import numpy as np

NEVER = -(2**63)
"""In place of an event time, where there is none."""

_COLUMNS = (
    "end",
    "seen",
    "whole_from",
    "buffer",
    "last_time",
    "stamp",
    "support",
    "late_run",
    "back_run",
    "back_time",
    "taken",
    "settled",
)
_MOVED_AT_ONCE = 256
"""Buffers whose rows are moved at a time: more would not stay in the processor's cache."""


class Hold:
    """Who has one may look at rows that were there when it was given out: they stay as they are."""

    __slots__ = ("__weakref__",)


def _nobody() -> Hold | None:
    return None


class RowStore:
    """Machines whose rows look alike: so many channels, windows as long.

    Attributes:
        window: rows of the longest window; keep: rows that later windows need; rows: of a buffer; blank: rows of NaN before a machine's
            first, which count as not measured.
        values: [B, rows, C] float32; marks: [B, rows, 2] int64, time and input offset of each row; absent: [B, rows, C] bool, which values
            were imputed; for B buffers. Another array takes their place when there are more buffers.
        end: [S] int64, rows in the machine's buffer; seen: rows accepted since its clock (re)started; whole_from: rows from there on
            have no value that was imputed; buffer: its number, -1 where the machine has none.
        last_time, stamp, support, late_run, back_run, back_time, taken: see `RowClock`.
        settled: 1 where nothing about the machine's rows is left to be said in the log.
    """

    values: np.ndarray
    marks: np.ndarray
    absent: np.ndarray
    end: np.ndarray
    seen: np.ndarray
    whole_from: np.ndarray
    buffer: np.ndarray
    last_time: np.ndarray
    stamp: np.ndarray
    support: np.ndarray
    late_run: np.ndarray
    back_run: np.ndarray
    back_time: np.ndarray
    taken: np.ndarray
    settled: np.ndarray

    def __init__(self, window: int, channels: int, blank: int = 0) -> None:
        self.window = window
        self.keep = max(window - 1, 1)  # the newest row always: missing values are carried forward from it
        self.rows = max(2 * window, 16)
        self.channels = channels
        self.blank = blank
        self._set_columns(np.zeros((len(_COLUMNS), 1), dtype=np.int64))
        self._slots = self._buffers = 0
        """Used so far."""
        self._free_slots: list[int] = []
        self._free_buffers: list[int] = []
        self._given_away: list[int] = []
        """Buffers that no machine has and somebody may look at."""
        self._held = np.zeros(1, dtype=np.bool_)
        self._hold = _nobody
        self.cohorts: weakref.WeakValueDictionary[Any, Any] = weakref.WeakValueDictionary()
        """Groups of its machines, by what they have in common; the caller's."""
        self._set_buffers(1)

    # -- slots ----------------------------------------------------------------------------------------------------------

    def enter(self) -> int:
        """A slot for a machine without rows."""
        if self._free_slots:
            slot = self._free_slots.pop()
        else:
            slot, self._slots = self._slots, self._slots + 1
            if slot == len(self.end):
                self._set_columns(np.concatenate([self._columns, np.zeros_like(self._columns)], axis=1))
        self._columns[:, slot] = 0
        self.buffer[slot] = self.stamp[slot] = -1
        self.last_time[slot] = NEVER
        self.end[slot] = self.whole_from[slot] = self.blank
        return slot

    def leave(self, slot: int) -> None:
        """The machine is gone."""
        self.forget(slot)
        self._free_slots.append(slot)

    def _set_columns(self, columns: np.ndarray) -> None:
        self._columns = columns
        for name, column in zip(_COLUMNS, columns, strict=True):
            setattr(self, name, column)

    # -- buffers --------------------------------------------------------------------------------------------------------

    def begin(self, slot: int) -> int:
        """A buffer for a machine that has none, with its blank rows."""
        buffer = self._take_buffer()
        self.buffer[slot] = buffer
        self.values[buffer, : self.blank] = np.nan
        self.absent[buffer, : self.blank] = True
        self.marks[buffer, : self.blank] = (0, -1)
        return buffer

    def forget(self, slot: int) -> None:
        """The machine's rows are of no use any more."""
        if self.buffer.item(slot) >= 0:
            self.give_back(slot)
        self.seen[slot] = 0
        self.end[slot] = self.whole_from[slot] = self.blank

    def give_back(self, slot: int) -> None:
        """The machine keeps its rows elsewhere."""
        self._give_away(self.buffer.item(slot))
        self.buffer[slot] = -1

    def hold(self, buffers: np.ndarray | int) -> Hold:
        """Rows that these buffers have stay as they are for as long as what is returned is kept."""
        hold = self._hold()
        if hold is None:
            self._let_go()
            hold = Hold()
            self._hold = weakref.ref(hold)
        self._held[buffers] = True
        return hold

    def make_room(self, slots: np.ndarray) -> None:
        """The last `keep` rows of machines that have more go to the beginning of their buffers, or of other ones."""
        for start in range(0, len(slots), _MOVED_AT_ONCE):
            self._move(slots[start : start + _MOVED_AT_ONCE])

    def _move(self, slots: np.ndarray) -> None:
        keep = self.keep
        old = self.buffer[slots]
        new = old
        if self._hold() is not None:
            held = np.flatnonzero(self._held[old])
            if len(held):
                new = old.copy()
                new[held] = [self._take_buffer() for _ in held]
                self._given_away += old[held].tolist()
                self.buffer[slots] = new
        first = self.end[slots] - keep
        begin = old * self.rows + first
        self.values[new, :keep] = stretches(self.values, keep)[begin].reshape(-1, keep, self.channels)
        self.marks[new, :keep] = stretches(self.marks, keep)[begin].reshape(-1, keep, 2)
        whole_from = self.whole_from[slots]
        for place in np.flatnonzero(whole_from).tolist():
            absent, row = self.absent[old[place], : self.rows], first[place]
            kept = absent[row : row + keep].copy()
            self.absent[new[place], :keep] = kept
            self.absent[new[place], keep:] = False
        self.whole_from[slots] = np.maximum(whole_from - first, 0)
        self.end[slots] = keep

    def append(self, slots: np.ndarray, counts: np.ndarray, values: np.ndarray, marks: np.ndarray) -> None:
        """Rows of many machines, each of which has a buffer; every value was measured.

        Args:
            slots: [M], each once; counts: [M], rows of each, `rows - keep` at most.
            values: [n, C] float32 and marks [n, 2] int64, machine by machine.
        """
        full = self.end[slots] + counts > self.rows
        if full.any():
            self.make_room(slots[full])
        ends = self.end[slots]
        rows = self.buffer[slots] * self.rows + ends
        if len(marks) > len(slots):
            rows = ranges(rows, counts)
        self.values.reshape(-1, self.channels)[rows] = values
        self.marks.reshape(-1, 2)[rows] = marks
        self.end[slots] = ends + counts
        self.seen[slots] += counts

    def _take_buffer(self) -> int:
        if not self._free_buffers and self._given_away and self._hold() is None:
            self._let_go()
        if self._free_buffers:
            buffer = self._free_buffers.pop()
            self.absent[buffer] = False
            return buffer
        buffer, self._buffers = self._buffers, self._buffers + 1
        if buffer == len(self.values):
            self._set_buffers(2 * buffer)
        return buffer

    def _give_away(self, buffer: int) -> None:
        if self._hold() is not None and self._held[buffer]:
            self._given_away.append(buffer)
        else:
            self._free_buffers.append(buffer)

    def _let_go(self) -> None:
        self._held[:] = False
        self._free_buffers += self._given_away
        self._given_away.clear()

    def _set_buffers(self, count: int) -> None:
        values = np.empty((count, self.rows, self.channels), dtype=np.float32)
        marks = np.empty((count, self.rows, 2), dtype=np.int64)
        absent = np.zeros((count, self.rows, self.channels), dtype=np.bool_)
        held = np.zeros(count, dtype=np.bool_)
        known = self._buffers and count // 2
        if known:
            values[:known], marks[:known], absent[:known] = self.values, self.marks, self.absent
            held[:known] = self._held
        self.values, self.marks, self.absent, self._held = values, marks, absent, held


class Placed(NamedTuple):
    """Where a machine's rows lie beside those of others, which may be taken in at once.

    Attributes:
        interval_us: sampling interval.
    """

    store: RowStore
    slot: int
    interval_us: int


def stretches(rows: np.ndarray, length: int) -> np.ndarray:
    """[n, length * k] view of rows [.., k] that lie one behind another: the `length` rows that begin at each; not to be written to."""
    width = rows.shape[-1]
    count, item = rows.size // width, rows.itemsize
    # As numpy's sliding_window_view, in a tenth of its time.
    view = np.ndarray((max(0, count - length + 1), length * width), rows.dtype, rows, 0, (width * item, item))
    view.flags.writeable = False
    return view


def ranges(starts: np.ndarray, counts: np.ndarray, step: int = 1) -> np.ndarray:
    """[sum of counts] int64: so many numbers from each start on, `step` apart."""
    before = np.cumsum(counts)
    total = int(before[-1]) if len(before) else 0
    before -= counts
    found: np.ndarray = np.repeat(starts - step * before, counts)
    found += step * np.arange(total)
    return found
