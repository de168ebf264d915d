"""Windows that are due: of one machine, whatever its input, and of many machines whose rows lie in one store."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from wheeltapper.stream.core.row_store import Hold, RowStore, ranges
from wheeltapper.stream.core.rule import RuleSpec
from wheeltapper.stream.core.windows import SpannedRows, measured


@dataclass(frozen=True, slots=True)
class DueWindows:
    """Windows of one machine that are due for a rule.

    Attributes:
        samples: [k, *shape] float32, what the graph takes of each; a view that is copied before the machine goes on.
        times: [k] int64 event time of each scored sample, rising.
        offsets: [k] int64 input offset of the message that completed each window.
        quality: [k] float64 share of measured values.
        actual: [k, C] float32, the scored samples in raw units; NaN where a value was imputed.
        rows: of rows, those that the windows lie in.
        attributes: [k, A] float32, the operating point, of a graph that takes it.
        spans: [k, 2] int64, of sound: input offsets of the first and last message with samples of each window.
        run: [(k - 1) * stride + W, C] float32, the rows that the windows lie in, where they lie in one piece; a view, as `samples`.
    """

    samples: np.ndarray
    times: np.ndarray
    offsets: np.ndarray
    quality: np.ndarray
    actual: np.ndarray
    rows: SpannedRows | None = None
    attributes: np.ndarray | None = None
    spans: np.ndarray | None = None
    run: np.ndarray | None = None


class DueTogether:
    """Windows of many machines that are due for a rule; K of M machines, machine by machine.

    Attributes:
        places: [M] which of the machines that were asked for.
        counts: [M] windows of each, one at least.
        times, offsets, quality: [K], as of `DueWindows`.
        rows: [.., C] float32, where the windows are cut from; starts: [M], the row there at which each machine's first begins.
    """

    def __init__(
        self,
        store: RowStore,
        slots: np.ndarray,
        counts: np.ndarray,
        last: np.ndarray,
        places: np.ndarray,
        rule: RuleSpec,
    ) -> None:
        """
        Args:
            slots: [M] of the machines; last: [M] the last row of the first window of each, in its buffer.
        """
        manifest, depth = rule.manifest, store.rows
        self.places, self.counts = places, counts
        self._window, self._lag = manifest.window, manifest.lag
        self._slots, self._store = slots, store
        # The arrays as they are now: another takes their place where there are more buffers.
        self._values, self._marks, self._absent = store.values, store.marks, store.absent
        self._buffers = store.buffer[slots]
        self._hold: Hold = store.hold(self._buffers)
        self._first = np.maximum(0, store.end[slots] - store.seen[slots])
        begin = self._buffers * depth
        self.rows = self._values.reshape(-1, store.channels)
        self.starts = begin + last + 1 - self._window
        self._many = len(counts) < int(counts.sum())
        ends = begin + last
        if self._many:
            ends = ranges(ends, counts, rule.stride)
        self._ends = ends
        """[K] the last row of each window, in `rows`."""
        marks = self._marks.reshape(-1, 2)
        self.offsets = marks[ends, 1]
        self.times = marks[ends - self._lag, 0] if self._lag else marks[ends, 0]
        self.quality = np.ones(len(ends))
        imputed = np.flatnonzero(last + 1 - self._window < store.whole_from[slots])
        if len(imputed):
            edges = np.concatenate(([0], np.cumsum(counts)))
            for place in imputed.tolist():
                part = slice(int(edges[place]), int(edges[place + 1]))
                self.quality[part] = self._measured(place, part)[0]
        self._imputed = len(imputed) > 0

    @cached_property
    def actual(self) -> np.ndarray:
        """[K, C], as of `DueWindows`."""
        scored = self._ends - self._lag
        actual = self.rows[scored]
        if self._imputed:
            actual[self._absent.reshape(-1, actual.shape[1])[scored]] = np.nan
        return actual

    def one(self, place: int, first: int) -> DueWindows:
        """One machine's windows, of which `first` is the first among all."""
        buffer = int(self._buffers[place])
        part = slice(first, first + int(self.counts[place]))
        last = self._ends[part] - buffer * self._store.rows
        return DueWindows(
            samples=self.rows[:0],
            times=self.times[part],
            offsets=self.offsets[part],
            quality=self.quality[part],
            actual=self.actual[part],
            rows=SpannedRows(
                self._marks[buffer],
                self._values[buffer],
                self._absent[buffer],
                int(self._first[place]),
                last,
                self._window,
                self._hold,
            ),
        )

    def _measured(self, place: int, part: slice) -> tuple[np.ndarray, np.ndarray | None]:
        buffer = int(self._buffers[place])
        last = self._ends[part] - buffer * self._store.rows
        first = int(last[0]) + 1 - self._window
        return measured(self._absent[buffer, first : int(last[-1]) + 1], last - first, self._window, self._lag)


def due_together(store: RowStore, slots: np.ndarray, new_rows: np.ndarray, rule: RuleSpec) -> DueTogether | None:
    """The windows of a rule that the newest rows of machines completed, as `RowTail.windows` says; None where there are none.

    Args:
        slots: [M] of the machines; new_rows: [M] rows of each that came last.
    """
    seen, stride = store.seen[slots], rule.stride
    first = np.maximum(seen - new_rows, rule.first_scored)
    if stride > 1:
        first += (rule.first_scored - first) % stride
    counts = seen - first
    if stride > 1:
        counts += stride - 1
        counts //= stride
    places = np.flatnonzero(counts > 0)
    if not len(places):
        return None
    slots = slots[places]
    last = store.end[slots] - (seen - first)[places]
    return DueTogether(store, slots, counts[places], last, places, rule)
