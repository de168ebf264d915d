"""`alert_spans`, which calibration asks about many levels, is `AlertLife.step`, which the stream takes window by window."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.stream.feeds import REPEATABLE
from wheeltapper.stream.core.alert_life import AlertLife, AlertState, SpanRule, alert_spans
from wheeltapper.stream.core.policies import AlarmPolicy

rules = st.builds(
    SpanRule,
    clear_ratio=st.sampled_from([0.1, 0.5, 0.8, 1.0]),
    min_windows=st.integers(1, 6),
    clear_windows=st.integers(1, 12),
)
# Few values, so that scores lie at the levels themselves, and long runs of either kind.
scores_of_machines = st.lists(
    st.tuples(st.sampled_from([0.0, 0.05, 0.25, 0.4, 0.5, 0.8, 0.9, 1.0, 1.36, 1.7, 3.0]), st.integers(1, 15)),
    max_size=30,
).map(lambda runs: np.repeat([score for score, _ in runs], [length for _, length in runs]))


def followed(scores: np.ndarray, rule: SpanRule, level: float) -> list[tuple[int, int]]:
    """The alerts of the stream's own rule: (window that each dates from, window behind the last at the clear level)."""
    interval_s = 60.0
    policy = AlarmPolicy(
        clear_ratio=rule.clear_ratio,
        min_duration_s=rule.min_windows * interval_s,
        clear_duration_s=rule.clear_windows * interval_s,
    )
    life, state = AlertLife(policy, interval_s), AlertState()
    spans: list[tuple[int, int]] = []
    since = last_loud = 0
    for window, score in enumerate(scores.tolist()):
        event = life.step(state, score, round(window * interval_s * 1e6), level)
        if state.opened_at is not None and score >= policy.clear_ratio * level:
            last_loud = window
        if event == "opened":
            assert state.opened_at is not None
            since = round(state.opened_at / interval_s / 1e6)
        elif event == "cleared":
            spans.append((since, last_loud + 1))
            life.end(state, 0)
    if state.opened_at is not None:
        spans.append((since, last_loud + 1))
    return spans


@REPEATABLE
@given(scores=scores_of_machines, rule=rules, level=st.sampled_from([0.4, 0.5, 1.0, 1.36, 1.7]))
def test_alert_spans_are_the_alerts_that_the_stream_opens(scores: np.ndarray, rule: SpanRule, level: float) -> None:
    # given scores, durations and levels of any kind
    # when all alerts are found at once, then they are those that the stream's rule opens one window after the other
    assert alert_spans(scores, rule, level) == followed(scores, rule, level)


def test_alert_spans_agree_on_scores_that_wander() -> None:
    # given scores that cross both levels again and again
    for seed in range(20):
        rng = np.random.default_rng(seed)
        factors = rng.choice([0.3, 1.0, 1.3], 800, p=[0.5, 0.3, 0.2])
        scores = np.abs(np.cumsum(rng.normal(0, 0.25, 800)) % 2.4 - 1.2) * factors
        # when they are judged by rules of three durations, then there are alerts, and they are the same
        for rule in (SpanRule(), SpanRule(min_windows=3, clear_windows=4), SpanRule(clear_windows=1)):
            found = alert_spans(scores, rule)
            assert found
            assert found == followed(scores, rule, 1.0)


def scores_with(windows: int, *parts: tuple[int, int, float]) -> np.ndarray:
    values = np.full(windows, 0.1)
    for start, stop, score in parts:
        values[start:stop] = score
    return values


def test_an_alert_lasts_until_ten_windows_below_the_clear_level() -> None:
    rule = SpanRule()
    # Above the level at 10..12, then between clear level and level, then 9 quiet windows, then loud again: one alert.
    assert alert_spans(scores_with(60, (10, 12, 1.2), (12, 20, 0.9), (29, 30, 1.0)), rule) == [(10, 30)]
    # One quiet window more, and the alert has cleared in between.
    assert alert_spans(scores_with(60, (10, 12, 1.2), (12, 20, 0.9), (30, 31, 1.0)), rule) == [(10, 20), (30, 31)]
    # Loud without reaching the level: no alert. Still open at the end: it lasts to the last loud window.
    assert alert_spans(scores_with(60, (10, 40, 0.99)), rule) == []
    assert alert_spans(scores_with(60, (55, 60, 2.0)), rule) == [(55, 60)]


def test_an_alert_that_takes_three_windows_in_a_row_dates_from_the_first() -> None:
    rule = SpanRule(min_windows=3, clear_windows=2)
    # Two windows are too few, also twice; the third run opens, and a short rise later keeps it open but opens nothing.
    scores = scores_with(40, (2, 4, 2.0), (8, 10, 2.0), (14, 17, 2.0), (18, 19, 0.9), (25, 27, 2.0))
    assert alert_spans(scores, rule) == [(14, 19)]
