"""RowTail against a list of rows; what a machine keeps in memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.stream.feeds import REPEATABLE
from wheeltapper.stream.core.windows import RowTail, SpannedRows


class NaiveTail:
    """Every row since the start, in lists."""

    def __init__(self) -> None:
        self.times: list[int] = []
        self.values: list[np.ndarray] = []
        self.absent: list[np.ndarray] = []

    def windows(self, new_rows: int, window: int, stride: int) -> list[int]:
        """Row numbers at which a window ends that the last `new_rows` rows completed."""
        total = len(self.times)
        return [row for row in range(window - 1, total) if (row - window + 1) % stride == 0 and row >= total - new_rows]


@settings(REPEATABLE, max_examples=150)
@given(
    kept=st.integers(1, 12),
    shorter=st.integers(0, 11),
    stride=st.integers(1, 9),
    lag=st.integers(0, 11),
    steps=st.lists(st.integers(1, 40), min_size=1, max_size=15),
    clears=st.sets(st.integers(0, 14)),
    restarts=st.sets(st.integers(0, 14)),
    absence=st.sampled_from([0.0, 0.2]),
)
def test_windows_are_those_of_a_list_of_rows(
    kept: int,
    shorter: int,
    stride: int,
    lag: int,
    steps: list[int],
    clears: set[int],
    restarts: set[int],
    absence: float,
) -> None:
    # given a tail that keeps rows for the longer of two windows, and a list
    rng = np.random.default_rng([kept, stride, *steps])
    window, lag = max(1, kept - shorter), min(lag, max(1, kept - shorter) - 1)
    tail, naive = RowTail(kept, 2), NaiveTail()
    held: list[tuple[SpannedRows, int, NaiveTail, int]] = []
    for step, n in enumerate(steps):
        # when rows are added, by any number, sometimes after all were forgotten or taken over from a snapshot
        if step in clears:
            tail.clear()
            naive = NaiveTail()
        if step in restarts:
            times, values, absent, offsets = (array.copy() for array in tail.snapshot())
            seen = tail.seen
            tail = RowTail(kept, 2)
            tail.restore(times, values, absent, seen, offsets)
        times, values = rng.integers(0, 10**15, n), rng.random((n, 2)).astype(np.float32)
        absent = rng.random((n, 2)) < absence
        tail.append(times, values, absent if absent.any() else False, 3 * (len(naive.times) + np.arange(n)))
        naive.times += times.tolist()
        naive.values += list(values)
        naive.absent += list(absent)
        # then windows, their times, their quality and the newest row are those of the list
        views, ends = tail.windows(n, window, stride)
        rows = naive.windows(n, window, stride)
        assert (ends + len(naive.times) - n).tolist() == rows
        assert views.shape == (len(rows), window, 2)
        for view, row in zip(views, rows, strict=True):
            assert np.array_equal(view, naive.values[row + 1 - window : row + 1])
        assert tail.seen == len(naive.times)
        newest = tail.last_row()
        assert newest is not None
        assert np.array_equal(newest, naive.values[-1])
        if len(ends):
            assert tail.scored_times(n, ends, lag).tolist() == [naive.times[row - lag] for row in rows]
            quality, scored_absent = tail.measured(n, ends, window, lag)
            missing = [np.sum(naive.absent[row + 1 - window : row + 1]) for row in rows]
            assert quality == pytest.approx([1 - count / (2 * window) for count in missing])
            wanted = [naive.absent[row - lag].tolist() for row in rows]
            found = [[False, False]] * len(rows) if scored_absent is None else scored_absent.tolist()
            assert found == wanted
            spanned = tail.spanned(n, ends, window)
            held += [(spanned, index, naive, row) for index, row in enumerate(rows)]
    # and rows that somebody holds stay as they are, whatever came since
    for spanned, index, rows_then, row in held:
        part = slice(row + 1 - window, row + 1)
        assert spanned.offset_span(index) == (3 * (row + 1 - window), 3 * row)
        times, values = spanned.window(index)
        assert times.tolist() == rows_then.times[part]
        wanted_values = np.where(rows_then.absent[part], np.nan, rows_then.values[part])
        np.testing.assert_array_equal(values, wanted_values)


def test_blank_rows_come_before_the_first_one_and_are_in_no_snapshot() -> None:
    # given a tail whose windows of 5 rows are scored from the second row on
    tail = RowTail(5, 1, blank=3)
    values = np.arange(3, dtype=np.float32)[:, None]
    assert tail.last_row() is None
    tail.append(np.arange(3), values, False)
    # when its windows are taken: then what has not been is NaN and counts as not measured
    views, ends = tail.windows(3, 5, 1, 2)
    assert ends.tolist() == [1, 2]
    np.testing.assert_array_equal(views[:, :, 0], [[np.nan] * 3 + [0, 1], [np.nan] * 2 + [0, 1, 2]])
    quality, absent = tail.measured(3, ends, 5, 0)
    assert quality == pytest.approx([2 / 5, 3 / 5])
    assert absent is not None
    assert not absent.any()
    # a snapshot holds real rows alone, and a tail restored from it goes on where this one was
    times, kept, missing, _ = tail.snapshot()
    assert times.tolist() == [0, 1, 2]
    other = RowTail(5, 1, blank=3)
    other.restore(times, kept, missing, tail.seen)
    for one in (tail, other):
        one.append(np.array([3]), np.full((1, 1), 3, np.float32), False)
        np.testing.assert_array_equal(one.windows(1, 5, 1, 2)[0][0, :, 0], [np.nan, 0, 1, 2, 3])
    # and after a gap the warm-up begins anew
    tail.clear()
    tail.append(np.array([9]), np.full((1, 1), 9, np.float32), False)
    assert len(tail.windows(1, 5, 1, 2)[1]) == 0
    tail.append(np.array([10]), np.full((1, 1), 10, np.float32), False)
    np.testing.assert_array_equal(tail.windows(1, 5, 1, 2)[0][0, :, 0], [np.nan] * 3 + [9, 10])


def test_windows_cannot_be_written_to() -> None:
    # given windows, which share their rows
    tail = RowTail(3, 1)
    tail.append(np.arange(5), np.zeros((5, 1), dtype=np.float32), False)
    views, _ = tail.windows(5, 3, 1)
    # when one is written to: then that is refused
    with pytest.raises(ValueError, match="read-only"):
        views[0, 0, 0] = 1.0


def test_a_large_block_does_not_hold_its_memory() -> None:
    # given machines of 40 channels that each got 10,000 rows at once, as after an outage
    tracemalloc.start()
    try:
        tails = [RowTail(16, 40) for _ in range(20)]
        usual = tracemalloc.get_traced_memory()[0]
        block = np.zeros((10_000, 40), dtype=np.float32)
        for tail in tails:
            tail.append(np.arange(10_000), block, False)
        # when single rows follow
        for row in range(3):
            for tail in tails:
                tail.append(np.array([10_000 + row]), block[:1], False)
        # then they take as much as ever
        del block
        assert tracemalloc.get_traced_memory()[0] < 2 * usual
    finally:
        tracemalloc.stop()
    assert all(tail.seen == 10_003 for tail in tails)
    assert len(tails[0].windows(3, 16, 1)[1]) == 3
