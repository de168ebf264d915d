"""Windows: strided views of rows, cut in one place for the live stream, calibration and evaluation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


def windows_of(rows: np.ndarray, window: int) -> np.ndarray:
    """[T - window + 1, window, ...] view of rows [T, ...]: the window that begins at each row."""
    return np.moveaxis(np.lib.stride_tricks.sliding_window_view(rows, window, axis=0), -1, 1)


@dataclass(slots=True)
class SpannedRows:
    """The rows that some windows lie in, cut out when they are asked for: most never are.

    The arrays are the tail's own, which no row is ever written over in; rows of them are counted from 0.

    Attributes:
        times: [m] int64; offsets: [m] int64, input offset of the message that each row came in, -1 where it is not known.
        values: [m, C] float32, imputed; absent: [m, C] bool, which values were imputed.
        first: the machine's first row among them; blank ones lie before it.
        origin, ends: the windows' last rows are origin + ends [k].
        length: rows of a window; one that began before the machine's first row has fewer.
    """

    times: np.ndarray
    offsets: np.ndarray
    values: np.ndarray
    absent: np.ndarray
    first: int
    origin: int
    ends: np.ndarray
    length: int

    def window(self, index: int, most_rows: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Times [w] and values [w, C] of a window, or of its last `most_rows` rows; NaN where a value was imputed."""
        rows = self._rows(index, most_rows)
        return self.times[rows].copy(), np.where(self.absent[rows], np.float32(np.nan), self.values[rows])

    def offset_span(self, index: int) -> tuple[int, int] | None:
        """Input offsets of a window's first and last row whose message is known; None without one."""
        offsets = self.offsets[self._rows(index)]
        known = offsets[offsets >= 0]
        return (int(known[0]), int(known[-1])) if len(known) else None

    def _rows(self, index: int, most_rows: int | None = None) -> slice:
        stop = self.origin + int(self.ends[index]) + 1
        length = self.length if most_rows is None else min(self.length, most_rows)
        return slice(max(self.first, stop - length), stop)


class RowTail:
    """The last rows of one machine in one contiguous buffer, so that windows are strided views of it.

    Rows are only ever added to a buffer: one that is full is left to those who still hold views of it, and another goes on.

    Args:
        window: rows of the longest window.
        blank: rows of NaN before the machine's first, for windows that are scored while the machine warms up. They
            count as not measured, and no snapshot holds them.

    Attributes:
        seen: rows accepted since the machine's clock (re)started; decides which windows the stride picks.
    """

    __slots__ = (
        "_absent",
        "_blank",
        "_capacity",
        "_end",
        "_keep",
        "_marks",
        "_offsets",
        "_times",
        "_values",
        "_whole_from",
        "_windows",
        "seen",
    )

    def __init__(self, window: int, channels: int, blank: int = 0) -> None:
        self._blank = blank
        self._keep = max(window - 1, 1)  # the newest row always: missing values are carried forward from it
        self._capacity = max(2 * window, 16)
        self._windows: dict[int, np.ndarray] = {}
        self._end = self._whole_from = 0
        """Rows from `_whole_from` on have no value that was imputed."""
        self.seen = 0
        self._allocate(self._capacity, channels)
        self._fill_blank()

    def append(
        self, times: np.ndarray, values: np.ndarray, absent: np.ndarray | bool, offsets: np.ndarray | int = -1
    ) -> None:
        """Add rows: times [n] int64, values [n, C] float32 without NaN, absent [n, C] bool: which were imputed.

        Args:
            offsets: [n] int64, input offsets of the messages that they came in; -1: not known.
        """
        n = len(times)
        if self._end + n > len(self._times):
            self._make_room(n)
        start, end = self._end, self._end + n
        self._times[start:end] = times
        self._offsets[start:end] = offsets
        self._values[start:end] = values
        if absent is not False:
            self._absent[start:end] = absent
            self._whole_from = end
        self._end = end
        self.seen += n

    def append_one(self, values: np.ndarray, mark: np.ndarray) -> None:
        """`append` for one row of which every value was measured: values [C] float32; mark [2] int64: its time, its offset."""
        end = self._end
        if end == len(self._times):
            self._make_room(1)
            end = self._end
        self._values[end] = values
        self._marks[end] = mark
        self._end = end + 1
        self.seen += 1

    def _allocate(self, rows: int, channels: int) -> None:
        self._values = np.empty((rows, channels), dtype=np.float32)
        self._marks = np.empty((rows, 2), dtype=np.int64)
        """Time and offset of each row, of which these are views."""
        self._times, self._offsets = self._marks[:, 0], self._marks[:, 1]
        self._absent = np.zeros((rows, channels), dtype=np.bool_)
        """Rows of which every value was measured are left as they are here."""
        self._windows.clear()

    def _make_room(self, n: int) -> None:
        kept = min(self._keep, self._end)
        old = slice(self._end - kept, self._end)
        whole_from = self._whole_from - old.start
        values, times, absent, offsets = self._values, self._times, self._absent, self._offsets
        self._allocate(max(kept + n, self._capacity), values.shape[1])
        self._values[:kept] = values[old]
        self._times[:kept] = times[old]
        self._absent[:kept] = absent[old]
        self._offsets[:kept] = offsets[old]
        self._end = kept
        self._whole_from = max(0, whole_from)

    def last_row(self) -> np.ndarray | None:
        """[C] float32 of the newest row; None without one."""
        return self._values[self._end - 1] if self.seen and self._end else None

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
        first_new = self.seen - new_rows
        earliest = (warm_up or window) - 1
        first = max(first_new, earliest)
        first += -(first - earliest) % stride
        count = max(0, -(-(self.seen - first) // stride))
        if not count:
            return self._views(window)[:0], np.empty(0, dtype=np.int64)
        row_start = self._end - (self.seen - first) - (window - 1)
        view = self._views(window)[row_start : row_start + (count - 1) * stride + 1 : stride]
        ends = first - first_new + stride * np.arange(count)
        return view, ends

    def run(self, new_rows: int, ends: np.ndarray, window: int) -> np.ndarray:
        """[m, C] float32 view: all rows that the windows with these `ends` lie in, in one piece."""
        last = self._end - new_rows
        return self._values[last + int(ends[0]) + 1 - window : last + int(ends[-1]) + 1]

    def _views(self, window: int) -> np.ndarray:
        """[n, window, C] view of the buffer: the window that begins at each row."""
        views = self._windows.get(window)
        if views is None:
            values = self._values
            rows, channels = values.shape
            step, item = values.strides
            # As `windows_of`, in a tenth of its time: every new buffer needs one.
            views = np.ndarray((rows - window + 1, window, channels), values.dtype, values, 0, (step, step, item))
            views.flags.writeable = False
            self._windows[window] = views
        return views

    def scored_times(self, new_rows: int, ends: np.ndarray, lag: int) -> np.ndarray:
        """[k] int64: event time of the row that each window's score belongs to."""
        times: np.ndarray = self._times[self._end - new_rows + ends - lag]
        return times

    def measured(self, new_rows: int, ends: np.ndarray, window: int, lag: int) -> tuple[np.ndarray, np.ndarray | None]:
        """How far the windows were measured rather than imputed.

        Returns:
            quality: [k] float64, share of each window's values that were measured, and absent: [k, C] bool, which
            values of each scored row were not; None where all were.
        """
        first = self._end - new_rows + int(ends[0]) + 1 - window
        if first >= self._whole_from:
            return np.ones(len(ends)), None
        absent = self._absent[first : self._end]
        if not absent.any():
            return np.ones(len(ends)), None
        sums = np.concatenate(([0], np.cumsum(absent.sum(axis=1))))
        last = ends - ends[0] + window - 1
        missing = sums[last + 1] - sums[last + 1 - window]
        return 1.0 - missing / (window * absent.shape[1]), absent[last - lag]

    def spanned(self, new_rows: int, ends: np.ndarray, window: int) -> SpannedRows:
        """The rows that the windows with these `ends` lie in; blank ones are left out."""
        end = self._end
        first = max(0, end - self.seen)
        return SpannedRows(self._times, self._offsets, self._values, self._absent, first, end - new_rows, ends, window)

    def snapshot(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Times, values, absent and offsets of the rows that later windows need, as `append` takes them."""
        rows = slice(self._end - min(self._keep, self._end, self.seen), self._end)
        return self._times[rows], self._values[rows], self._absent[rows], self._offsets[rows]

    def restore(
        self,
        times: np.ndarray,
        values: np.ndarray,
        absent: np.ndarray,
        seen: int,
        offsets: np.ndarray | int = -1,
    ) -> None:
        """Take over a snapshot."""
        if self.seen or self._end > self._blank:
            self.clear()
        self.append(times, values, absent, offsets)
        self.seen = seen

    def resized(self, window: int, blank: int) -> RowTail:
        """A tail for windows of another length that goes on with these rows, as far as they reach."""
        tail = RowTail(window, self._values.shape[1], blank)
        times, values, absent, offsets = self.snapshot()
        tail.append(times, values, absent, offsets)
        # Rows that a longer window lacks are awaited, as after a start.
        tail.seen = self.seen if len(times) >= window - 1 else len(times)
        return tail

    def clear(self) -> None:
        """Forget all rows: the machine's clock restarted, or rows are missing in between."""
        self._allocate(self._capacity, self._values.shape[1])
        self._fill_blank()

    def _fill_blank(self) -> None:
        self._times[: self._blank] = 0
        self._offsets[: self._blank] = -1
        self._values[: self._blank] = np.nan
        self._absent[: self._blank] = True
        self._end = self._whole_from = self._blank
        self.seen = 0
