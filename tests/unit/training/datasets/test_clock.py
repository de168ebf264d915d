from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.clock import later_rows, median_interval_s, spread_repeats


def test_increasing_times_are_left_as_they_are() -> None:
    times = np.array([1, 5, 6, 100])
    np.testing.assert_array_equal(spread_repeats(times), times)


def test_a_clock_that_stands_still_is_spread_up_to_the_next_later_time() -> None:
    assert spread_repeats(np.array([0, 100, 100, 100, 100, 200])).tolist() == [0, 100, 125, 150, 175, 200]


def test_a_clock_set_back_is_spread_from_the_last_later_time() -> None:
    assert spread_repeats(np.array([0, 40, 80, 40, 80, 120])).tolist() == [0, 40, 80, 93, 106, 120]


def test_rows_after_the_last_later_time_go_on_in_the_series_step() -> None:
    seconds = np.array([0, 60, 120, 60, 120]) * 1_000_000
    assert (spread_repeats(seconds) // 1_000_000).tolist() == [0, 60, 120, 180, 240]


def test_a_few_repeated_rows_are_left_out_and_many_are_refused() -> None:
    times = np.arange(200)
    times[50] = 49
    with pytest.warns(UserWarning, match="1 rows with a repeated or earlier time were left out"):
        assert np.flatnonzero(~later_rows(Path("log.csv"), times)).tolist() == [50]
    times[60:70] = 59
    with pytest.raises(InputError, match=r"log\.csv, line 52: 11 of 200 rows are not later than the row before"):
        later_rows(Path("log.csv"), times)


def test_interval_is_the_median_step() -> None:
    assert median_interval_s(np.array([0, 2, 4, 60, 62]) * 1_000_000) == 2
    assert median_interval_s(np.array([7])) == 1
