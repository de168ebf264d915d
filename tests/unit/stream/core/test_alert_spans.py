"""`alert_spans`, which calibration asks about many levels, is `AlertLife.step`, which the stream takes window by window."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.stream.feeds import REPEATABLE
from wheeltapper.stream.core.alert_life import AlertLife, AlertState, alert_spans
from wheeltapper.stream.core.policies import AlarmPolicy

policies = st.builds(
    AlarmPolicy,
    raise_level=st.sampled_from([0.5, 1.0, 1.7]),
    clear_ratio=st.sampled_from([0.1, 0.5, 0.8, 1.0]),
    min_duration=st.integers(1, 6),
    clear_duration=st.integers(1, 12),
)
# Few values, so that scores lie at the levels themselves, and long runs of either kind.
scores_of_machines = st.lists(
    st.tuples(st.sampled_from([0.0, 0.05, 0.25, 0.4, 0.5, 0.8, 0.9, 1.0, 1.36, 1.7, 3.0]), st.integers(1, 15)),
    max_size=30,
).map(lambda runs: np.repeat([score for score, _ in runs], [length for _, length in runs]))


def followed(scores: np.ndarray, policy: AlarmPolicy, level: float) -> list[tuple[int, int]]:
    """The alerts of the stream's own rule: (window that each dates from, window behind the last at the clear level)."""
    life, state = AlertLife(policy), AlertState()
    spans: list[tuple[int, int]] = []
    since = last_loud = 0
    for window, score in enumerate(scores.tolist()):
        event = life.step(state, score, window, level)
        if state.opened_at is not None and score >= policy.clear_ratio * level:
            last_loud = window
        if event == "opened":
            assert state.opened_at is not None
            since = state.opened_at
        elif event == "cleared":
            spans.append((since, last_loud + 1))
            life.end(state)
    if state.opened_at is not None:
        spans.append((since, last_loud + 1))
    return spans


@REPEATABLE
@given(scores=scores_of_machines, policy=policies, level=st.sampled_from([None, 0.4, 1.36]))
def test_alert_spans_are_the_alerts_that_the_stream_opens(
    scores: np.ndarray, policy: AlarmPolicy, level: float | None
) -> None:
    # given scores, durations and levels of any kind
    # when all alerts are found at once, then they are those that the stream's rule opens one window after the other
    found = alert_spans(scores, policy, raise_level=level)
    assert found == followed(scores, policy, policy.raise_level if level is None else level)


def test_alert_spans_agree_on_scores_that_wander() -> None:
    # given scores that cross both levels again and again
    for seed in range(20):
        rng = np.random.default_rng(seed)
        factors = rng.choice([0.3, 1.0, 1.3], 800, p=[0.5, 0.3, 0.2])
        scores = np.abs(np.cumsum(rng.normal(0, 0.25, 800)) % 2.4 - 1.2) * factors
        # when they are judged by rules of three durations, then there are alerts, and they are the same
        for policy in (AlarmPolicy(), AlarmPolicy(min_duration=3, clear_duration=4), AlarmPolicy(clear_duration=1)):
            found = alert_spans(scores, policy)
            assert found
            assert found == followed(scores, policy, 1.0)


def scores_with(windows: int, *parts: tuple[int, int, float]) -> np.ndarray:
    values = np.full(windows, 0.1)
    for start, stop, score in parts:
        values[start:stop] = score
    return values


def test_an_alert_lasts_until_ten_windows_below_the_clear_level() -> None:
    policy = AlarmPolicy()
    # Above the level at 10..12, then between clear level and level, then 9 quiet windows, then loud again: one alert.
    assert alert_spans(scores_with(60, (10, 12, 1.2), (12, 20, 0.9), (29, 30, 1.0)), policy) == [(10, 30)]
    # One quiet window more, and the alert has cleared in between.
    assert alert_spans(scores_with(60, (10, 12, 1.2), (12, 20, 0.9), (30, 31, 1.0)), policy) == [(10, 20), (30, 31)]
    # Loud without reaching the level: no alert. Still open at the end: it lasts to the last loud window.
    assert alert_spans(scores_with(60, (10, 40, 0.99)), policy) == []
    assert alert_spans(scores_with(60, (55, 60, 2.0)), policy) == [(55, 60)]


def test_an_alert_that_takes_three_windows_in_a_row_dates_from_the_first() -> None:
    policy = AlarmPolicy(min_duration=3, clear_duration=2)
    # Two windows are too few, also twice; the third run opens, and a short rise later keeps it open but opens nothing.
    scores = scores_with(40, (2, 4, 2.0), (8, 10, 2.0), (14, 17, 2.0), (18, 19, 0.9), (25, 27, 2.0))
    assert alert_spans(scores, policy) == [(14, 19)]
