"""Windows: strided views of rows, cut in one place for the live stream, calibration and evaluation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wheeltapper.stream.core.row_store import Hold, RowStore


def windows_of(rows: np.ndarray, window: int) -> np.ndarray:
    """[T - window + 1, window, ...] view of rows [T, ...]: the window that begins at each row."""
    return np.moveaxis(np.lib.stride_tricks.sliding_window_view(rows, window, axis=0), -1, 1)


@dataclass(slots=True)
class SpannedRows:
    """The rows that some windows lie in, cut out when they are asked for: most never are.

    The arrays are the store's own; rows of them are counted from 0.

    Attributes:
        marks: [m, 2] int64, time of each row and input offset of the message that it came in, -1 where that is not known.
        values: [m, C] float32, imputed; absent: [m, C] bool, which values were imputed.
        first: the machine's first row among them; blank ones lie before it.
        last: [k] the windows' last rows.
        length: rows of a window; one that began before the machine's first row has fewer.
        hold: keeps the rows as they are.
    """

    marks: np.ndarray
    values: np.ndarray
    absent: np.ndarray
    first: int
    last: np.ndarray
    length: int
    hold: Hold

    def window(self, index: int, most_rows: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Times [w] and values [w, C] of a window, or of its last `most_rows` rows; NaN where a value was imputed."""
        rows = self._rows(index, most_rows)
        return self.marks[rows, 0].copy(), np.where(self.absent[rows], np.float32(np.nan), self.values[rows])

    def offset_span(self, index: int) -> tuple[int, int] | None:
        """Input offsets of a window's first and last row whose message is known; None without one."""
        offsets = self.marks[self._rows(index), 1]
        known = offsets[offsets >= 0]
        return (int(known[0]), int(known[-1])) if len(known) else None

    def _rows(self, index: int, most_rows: int | None = None) -> slice:
        stop = int(self.last[index]) + 1
        length = self.length if most_rows is None else min(self.length, most_rows)
        return slice(max(self.first, stop - length), stop)


class RowTail:
    """The last rows of one machine in one contiguous buffer, so that windows are strided views of it.

    The buffer is one of a `RowStore`; rows that are too many for it get arrays of their own, until they are no longer needed.

    Args:
        window: rows of the longest window.
        blank: rows of NaN before the machine's first, for windows that are scored while the machine warms up. They
            count as not measured, and no snapshot holds them.
        store: where its buffer is; None: in one of its own.
    """

    __slots__ = ("_own", "slot", "store")

    def __init__(self, window: int, channels: int, blank: int = 0, store: RowStore | None = None) -> None:
        self.store = RowStore(window, channels, blank) if store is None else store
        self.slot = self.store.enter()
        self._own: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None
        """Values, marks and absent, as of the store, of rows that are too many for a buffer."""

    def __del__(self) -> None:
        self.store.leave(self.slot)

    @property
    def seen(self) -> int:
        """Rows accepted since the machine's clock (re)started; decides which windows the stride picks."""
        return self.store.seen.item(self.slot)

    @seen.setter
    def seen(self, rows: int) -> None:
        self.store.seen[self.slot] = rows

    @property
    def _end(self) -> int:
        return self.store.end.item(self.slot)

    @property
    def _rows(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Values [n, C], marks [n, 2] and absent [n, C] of its buffer."""
        if self._own is not None:
            return self._own
        store = self.store
        buffer = store.buffer.item(self.slot)
        if buffer < 0:
            buffer = store.begin(self.slot)
        return store.values[buffer], store.marks[buffer], store.absent[buffer]

    def append(
        self, times: np.ndarray, values: np.ndarray, absent: np.ndarray | bool, offsets: np.ndarray | int = -1
    ) -> None:
        """Add rows: times [n] int64, values [n, C] float32 without NaN, absent [n, C] bool: which were imputed.

        Args:
            offsets: [n] int64, input offsets of the messages that they came in; -1: not known.
        """
        n, start = len(times), self._end
        held_values, marks, held_absent = self._rows
        if start + n > len(marks):
            self._make_room(n)
            start = self._end
            held_values, marks, held_absent = self._rows
        end = start + n
        marks[start:end, 0] = times
        marks[start:end, 1] = offsets
        held_values[start:end] = values
        store, slot = self.store, self.slot
        if absent is not False:
            held_absent[start:end] = absent
            store.whole_from[slot] = end
        store.end[slot] = end
        store.seen[slot] += n

    def _make_room(self, n: int) -> None:
        store, slot, end = self.store, self.slot, self._end
        kept = min(store.keep, end)
        if kept + n <= store.rows and self._own is None:
            store.make_room(np.array([slot]))
            return
        old = self._rows
        if kept + n > store.rows:
            rows = kept + n
            own = tuple(np.empty((rows, part.shape[1]), part.dtype) for part in old)
            self._own = (own[0], own[1], own[2])
            own[2][kept:] = False
            if store.buffer[slot] >= 0:
                store.give_back(slot)
        else:
            self._own = None
        for part, whole in zip(self._rows, old, strict=True):
            part[:kept] = whole[end - kept : end]
        store.whole_from[slot] = max(0, store.whole_from.item(slot) - (end - kept))
        store.end[slot] = kept

    def last_row(self) -> np.ndarray | None:
        """[C] float32 of the newest row; None without one."""
        end = self._end
        return self._rows[0][end - 1] if self.seen and end else None

    def windows(
        self, new_rows: int, window: int, stride: int, warm_up: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Windows that the last `new_rows` rows completed.

        A window ends at row g (counted from 0 since the clock started) where g >= first and (g - first) is a multiple of
        the stride, first being window - 1, or warm_up - 1 where windows may begin with blank rows: how the rows were
        grouped into messages changes nothing.

        Returns:
            windows: [k, window, C] float32 view, and ends: [k] index of each window's last row among the new rows.
        """
        seen = self.seen
        first_new = seen - new_rows
        earliest = (warm_up or window) - 1
        first = max(first_new, earliest)
        first += -(first - earliest) % stride
        count = max(0, -(-(seen - first) // stride))
        values = self._rows[0]
        rows, channels = values.shape
        step, item = values.strides
        # As `windows_of`, in a tenth of its time.
        views = np.ndarray((rows - window + 1, window, channels), values.dtype, values, 0, (step, step, item))
        views.flags.writeable = False
        if not count:
            return views[:0], np.empty(0, dtype=np.int64)
        row_start = self._end - (seen - first) - (window - 1)
        ends = first - first_new + stride * np.arange(count)
        return views[row_start : row_start + (count - 1) * stride + 1 : stride], ends

    def run(self, new_rows: int, ends: np.ndarray, window: int) -> np.ndarray:
        """[m, C] float32 view: all rows that the windows with these `ends` lie in, in one piece."""
        last = self._end - new_rows
        return self._rows[0][last + int(ends[0]) + 1 - window : last + int(ends[-1]) + 1]

    def scored_times(self, new_rows: int, ends: np.ndarray, lag: int) -> np.ndarray:
        """[k] int64: event time of the row that each window's score belongs to."""
        times: np.ndarray = self._rows[1][self._end - new_rows + ends - lag, 0]
        return times

    def measured(self, new_rows: int, ends: np.ndarray, window: int, lag: int) -> tuple[np.ndarray, np.ndarray | None]:
        """How far the windows were measured rather than imputed.

        Returns:
            quality: [k] float64, share of each window's values that were measured, and absent: [k, C] bool, which
            values of each scored row were not; None where all were.
        """
        end = self._end
        first = end - new_rows + int(ends[0]) + 1 - window
        if first >= self.store.whole_from.item(self.slot):
            return np.ones(len(ends)), None
        return measured(self._rows[2][first:end], ends - ends[0] + window - 1, window, lag)

    def spanned(self, new_rows: int, ends: np.ndarray, window: int) -> SpannedRows:
        """The rows that the windows with these `ends` lie in; blank ones are left out."""
        end, (values, marks, absent) = self._end, self._rows
        first = max(0, end - self.seen)
        hold = self.store.hold(self.store.buffer.item(self.slot)) if self._own is None else Hold()
        return SpannedRows(marks, values, absent, first, end - new_rows + ends, window, hold)

    def snapshot(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Times, values, absent and offsets of the rows that later windows need, as `append` takes them."""
        end, (values, marks, absent) = self._end, self._rows
        rows = slice(end - min(self.store.keep, end, self.seen), end)
        return marks[rows, 0], values[rows], absent[rows], marks[rows, 1]

    def restore(
        self,
        times: np.ndarray,
        values: np.ndarray,
        absent: np.ndarray | bool,
        seen: int,
        offsets: np.ndarray | int = -1,
    ) -> None:
        """Take over a snapshot; arguments as of `append`."""
        if self.seen or self._end > self.store.blank:
            self.clear()
        self.append(times, values, absent, offsets)
        self.seen = seen

    def resized(self, window: int, blank: int, store: RowStore | None = None) -> RowTail:
        """A tail for windows of another length that goes on with these rows, as far as they reach."""
        tail = RowTail(window, self.store.channels, blank, store)
        times, values, absent, offsets = self.snapshot()
        tail.append(times, values, absent, offsets)
        # Rows that a longer window lacks are awaited, as after a start.
        tail.seen = self.seen if len(times) >= window - 1 else len(times)
        return tail

    def clear(self) -> None:
        """Forget all rows: the machine's clock restarted, or rows are missing in between."""
        self._own = None
        self.store.forget(self.slot)


def measured(absent: np.ndarray, last: np.ndarray, window: int, lag: int) -> tuple[np.ndarray, np.ndarray | None]:
    """How far windows were measured rather than imputed.

    Args:
        absent: [m, C] bool, which values of rows were imputed; last: [k] the windows' last rows among them.

    Returns:
        as `RowTail.measured`.
    """
    if not absent.any():
        return np.ones(len(last)), None
    sums = np.concatenate(([0], np.cumsum(absent.sum(axis=1))))
    missing = sums[last + 1] - sums[last + 1 - window]
    return 1.0 - missing / (window * absent.shape[1]), absent[last - lag]
