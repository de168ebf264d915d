"""Which recent rows are learnt from, and which judge."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wheeltapper.schemas.errors import InputError
from wheeltapper.training.adaptation.recent import RecentRows
from wheeltapper.training.fitting.calibration import contiguous_runs

MINUTE = 60_000_000
DAY = 1440


def minutes(count: int) -> RecentRows:
    times = MINUTE * np.arange(count, dtype=np.int64)
    return RecentRows(np.arange(count, dtype=np.float32)[:, None], times)


def test_judges_of_a_machine_that_changes_its_mode_are_of_every_mode() -> None:
    # given three days of a machine that is in another mode every other 5 hours
    rows = minutes(3 * DAY)
    mode = np.arange(len(rows)) // (5 * 60) % 2
    # when they are parted
    learn, judge = rows.split(window=64)
    # then both parts are of both modes, and the newest row judges
    for part in (learn, judge):
        share = mode[part.values[:, 0].astype(int)].mean()
        assert 0.2 < share < 0.8
    assert judge.times[-1] == rows.times[-1]


def test_few_rows_are_judged_by_the_last_ones() -> None:
    learn, judge = minutes(400).split(window=64)
    assert learn.times[-1] < judge.times[0]
    assert len(judge) == 140


@given(count=st.integers(1, 6000), window=st.integers(1, 300), share=st.floats(0.05, 0.95))
def test_each_row_is_learnt_from_or_judges(count: int, window: int, share: float) -> None:
    rows = minutes(count)
    rows = RecentRows(rows.values, rows.times, held_out_share=share)
    learn, judge = rows.split(window)
    # no row is lost, none is in both
    together = np.sort(np.concatenate([learn.times, judge.times]))
    np.testing.assert_array_equal(together, rows.times)
    # as many judge as asked for, but for a row in each stretch
    assert abs(len(judge) - share * count) <= 3
    # stretches are long enough for windows that share no row with what was learnt
    lengths = [run.stop - run.start for run in contiguous_runs(judge.times, 60.0)]
    if len(lengths) > 1:
        assert min(lengths) >= 3 * window - 1


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_share_that_leaves_a_part_empty_is_refused(share: float) -> None:
    with pytest.raises(InputError, match="expected between 0 and 1"):
        RecentRows(np.zeros((3, 1), np.float32), np.arange(3), held_out_share=share)
