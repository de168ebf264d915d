from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wheeltapper.training.judging.metrics.nab import (
    PROFILES,
    nab_raw_score,
    nab_score,
    normalised,
    probation_rows,
)

WINDOWS = ((20, 30), (60, 65))
LENGTH = 100
REPEATABLE = settings(derandomize=True, deadline=None, max_examples=60)


def s(position: float) -> float:
    """The benchmark's scaled sigmoid."""
    return 2 / (1 + math.exp(5 * position)) - 1


def test_probation_is_15_percent_and_at_most_750_rows() -> None:
    assert (probation_rows(100), probation_rows(4_032), probation_rows(22_695)) == (15, 604, 750)


def test_by_hand() -> None:
    detections = np.array([
        3,  # in the probation: nothing
        17,  # before any window: -0.11
        24, 26,  # the window 20..29: 6 of its 10 rows lie ahead of row 24, which is the better one
        34,  # 5 rows past it, which is 9 rows from its first to its last
        58,  # 29 rows past it: more than three times its width
    ])  # fmt: skip
    found = s(-0.6) / s(-1)
    raw = -0.11 + found + 0.11 * s(5 / 9) - 0.11 - 1  # nothing in 60..64
    assert nab_raw_score(WINDOWS, detections, LENGTH) == pytest.approx(raw)
    # Saying nothing is -2, perfect is 2.
    assert nab_score(WINDOWS, detections, LENGTH) == pytest.approx(100 * (raw + 2) / 4)


def test_profiles_by_hand() -> None:
    detections = np.array([17, 24])
    found = s(-0.6) / s(-1)
    raw = {"reward_low_FP_rate": -0.22 + found - 1, "reward_low_FN_rate": -0.11 + found - 2}
    for profile, wanted in raw.items():
        assert nab_raw_score(WINDOWS, detections, LENGTH, profile=profile) == pytest.approx(wanted)
    assert nab_score(WINDOWS, detections, LENGTH, profile="reward_low_FN_rate") == pytest.approx(
        100 * (raw["reward_low_FN_rate"] + 4) / (2 + 4)
    )


@pytest.mark.parametrize("profile", PROFILES)
def test_perfect_is_100_and_nothing_is_0(profile: str) -> None:
    assert nab_score(WINDOWS, np.array([20, 60]), LENGTH, profile=profile) == pytest.approx(100)
    assert nab_score(WINDOWS, np.array([], dtype=int), LENGTH, profile=profile) == 0
    assert nab_score((), np.array([50]), LENGTH, profile=profile) is None


def test_the_last_row_of_a_window_still_earns_a_little_and_the_next_one_costs_a_little() -> None:
    last = nab_raw_score(WINDOWS[:1], np.array([29]), LENGTH) + 1
    after = nab_raw_score(WINDOWS[:1], np.array([30]), LENGTH) + 1
    assert 0 < last < 2  # instead of -1 for missing it
    assert last == pytest.approx(1 + s(-0.1) / s(-1))
    assert after == pytest.approx(0.11 * s(1 / 9))


def test_a_corpus_is_summed_before_it_is_normalised() -> None:
    parts = [nab_raw_score(WINDOWS, np.array([20]), LENGTH), nab_raw_score(((40, 50),), np.array([41]), LENGTH)]
    wanted = 100 * (1 - 1 + s(-0.9) / s(-1) + 3) / 6
    assert normalised(sum(parts), 3) == pytest.approx(wanted)


def test_rows_and_windows_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="overlaps"):
        nab_score(((20, 30), (25, 40)), np.array([1]), LENGTH)
    with pytest.raises(ValueError, match=r"rows 5\.\.100, the series has 100"):
        nab_score(WINDOWS, np.array([5, 100]), LENGTH)
    with pytest.raises(ValueError, match="no NAB profile"):
        nab_score(WINDOWS, np.array([5]), LENGTH, profile="standart")


rows = st.lists(st.integers(0, LENGTH - 1), max_size=30).map(lambda found: np.array(sorted(set(found)), dtype=np.int64))


@REPEATABLE
@given(detections=rows, profile=st.sampled_from(sorted(PROFILES)))
def test_never_above_100_and_false_ones_never_help(detections: np.ndarray, profile: str) -> None:
    score = nab_score(WINDOWS, detections, LENGTH, profile=profile)
    assert score is not None
    assert score <= 100 + 1e-9
    inside = np.array([row for row in detections if 20 <= row < 30 or 60 <= row < 65], dtype=np.int64)
    cleaned = nab_score(WINDOWS, inside, LENGTH, profile=profile)
    assert cleaned is not None
    assert cleaned >= 0
    assert score <= cleaned + 1e-9
    # What happens in the probation is nobody's business
    later = detections[detections >= 15]
    assert nab_score(WINDOWS, later, LENGTH, profile=profile) == score
