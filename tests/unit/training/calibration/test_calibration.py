"""The alarm level: as many false alarms as were asked for, and no surprise where the scores are odd."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.machines import make_series, normal_rows, rows_of
from wheeltapper.models.pca.fit import fit_pca
from wheeltapper.models.pca.settings import PcaSettings
from wheeltapper.schemas.bundle.graph import Graph
from wheeltapper.schemas.errors import InputError
from wheeltapper.stream.core.alert_life import SpanRule, alert_spans
from wheeltapper.stream.core.calibration import calibrate
from wheeltapper.training.fitting.calibration import (
    CalibrationScores,
    alarm_level,
    bounded_sample,
    contiguous_runs,
    cross_fit_scores,
    every_nth,
    score_rows,
)

MINUTE = 60.0


def as_scores(score: np.ndarray, interval_s: float = MINUTE) -> CalibrationScores:
    times = (np.arange(len(score)) * interval_s * 1e6).astype(np.int64)
    return CalibrationScores(np.asarray(score, dtype=np.float64), times, interval_s, "made")


def count_alarms(scores: CalibrationScores, center: float, level: float, rule: SpanRule | None = None) -> int:
    """Alarms that the stream would open at this raw level."""
    parts = (calibrate(stretch, center, level) for stretch in scores.stretches())
    return sum(len(alert_spans(part, rule or SpanRule())) for part in parts)


def smooth_noise(rows: int, seed: int) -> np.ndarray:
    """Autocorrelated positive scores, as neighbouring windows give: one disturbance fills many of them."""
    generator = np.random.default_rng(seed)
    kernel = 0.5 ** (np.arange(60) / 8)
    return np.convolve(generator.exponential(size=rows + 59) ** 2, kernel / kernel.sum(), mode="valid")


@pytest.mark.parametrize("rate", [0.25, 1.0, 4.0])
def test_fresh_scores_raise_about_as_many_alarms_as_were_asked_for(rate: float) -> None:
    # Given 30 days of scores to calibrate on, and 200 fresh days of the same kind
    calibration = alarm_level(as_scores(smooth_noise(30 * 1440, seed=1)), rate)
    fresh = as_scores(smooth_noise(200 * 1440, seed=2))
    # When the alarms of the fresh days are counted, then there are as many as expected, within a factor of two
    found = count_alarms(fresh, calibration.center, calibration.alarm_level) / fresh.days
    assert rate / 2 < found < rate * 2


def test_alarms_are_counted_not_rows() -> None:
    # Given calm scores with twelve disturbances of an hour each
    score = np.random.default_rng(0).uniform(0, 1, 12 * 1440)
    for day in range(12):
        score[day * 1440 + 300 : day * 1440 + 360] = 10 + day
    # When one alarm a day is asked for, then the level lies just below the disturbances, not above most of them
    calibration = alarm_level(as_scores(score), 1.0)
    assert count_alarms(as_scores(score), calibration.center, calibration.alarm_level) in range(9, 13)


def test_alarms_that_must_last_longer_are_fewer_so_their_level_is_lower() -> None:
    # given scores with a spike of a single window every hour, and a disturbance of an hour every day
    score = np.random.default_rng(0).uniform(0, 1, 12 * 1440)
    score[30::60] = 20
    for day in range(12):
        score[day * 1440 + 300 : day * 1440 + 360] = 10 + day / 10
    # when one alarm a day is asked for, from an alert rule that opens with one window, and from one that asks for three
    lasting = SpanRule(min_windows=3)
    at_once, later = alarm_level(as_scores(score), 1.0), alarm_level(as_scores(score), 1.0, lasting)
    # then the second rule's level lies at the disturbances, which its alarms are; at the first one's, it opens nothing
    assert later.alarm_level < 12 < 15 < at_once.alarm_level
    assert count_alarms(as_scores(score), later.center, later.alarm_level, lasting) in range(9, 13)
    assert count_alarms(as_scores(score), at_once.center, at_once.alarm_level, lasting) == 0


def test_rarer_alarms_mean_a_higher_level() -> None:
    scores = as_scores(smooth_noise(20 * 1440, seed=3))
    levels = [alarm_level(scores, rate).alarm_level for rate in (0.01, 0.1, 0.25, 0.5, 1.0, 2.0, 10.0)]
    assert levels == sorted(levels, reverse=True)
    assert len(set(levels)) > 5


def test_a_few_faults_in_training_hardly_move_the_level() -> None:
    # Given sixteen days of scores, and the same with three faults a hundred times as high
    clean = smooth_noise(16 * 1440, seed=4)
    contaminated = clean.copy()
    for start in (3000, 9000, 15000):
        contaminated[start : start + 30] = 100 * clean.max()
    # When both are calibrated
    level = alarm_level(as_scores(clean)).alarm_level
    found = alarm_level(as_scores(contaminated)).alarm_level
    # Then the level stays what it was, give or take, and far below the faults
    assert found < 2 * level
    assert found < clean.max() * 10


def test_few_windows_give_the_maximum_rule() -> None:
    score = np.random.default_rng(5).uniform(0, 1, 150)
    calibration = alarm_level(as_scores(score))
    assert calibration.method == "maximum"
    center = np.median(score)
    assert calibration.alarm_level == pytest.approx(center + 1.5 * (score.max() - center))


def test_scores_without_spread_give_a_fixed_step() -> None:
    calibration = alarm_level(as_scores(np.zeros(5000)))
    assert (calibration.method, calibration.center, calibration.alarm_level) == ("no-spread", 0.0, 1.0)


def test_mostly_zero_scores_still_give_a_level_above_zero() -> None:
    # Given a detector that sees nothing at all on most days: range bands on a calm machine
    score = np.zeros(10 * 1440)
    score[5000:5010] = 0.3
    calibration = alarm_level(as_scores(score))
    assert calibration.alarm_level > 0.3
    assert calibration.method == "maximum"


def test_more_alarms_welcome_than_there_are_is_no_error() -> None:
    scores = as_scores(smooth_noise(2000, seed=6))
    calibration = alarm_level(scores, 500.0)
    assert calibration.center < calibration.alarm_level < scores.score.max()


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_senseless_rate_is_refused(rate: float) -> None:
    with pytest.raises(InputError, match="expected a number above 0"):
        alarm_level(as_scores(np.arange(500.0)), rate)


def test_scores_that_are_not_numbers_are_refused() -> None:
    with pytest.raises(InputError, match="2 of 500 held-out scores are not finite"):
        alarm_level(as_scores(np.r_[np.zeros(498), np.nan, np.inf]))
    with pytest.raises(InputError, match="no held-out window"):
        alarm_level(as_scores(np.zeros(0)))


def test_alarm_does_not_last_across_a_hole_in_time() -> None:
    # Given a high score at the end of one stretch and at the start of the next, a day later
    score = np.zeros(200)
    score[99:101] = 5.0
    times = (np.arange(200) * 60_000_000).astype(np.int64)
    times[100:] += 86_400_000_000
    scores = CalibrationScores(score, times, MINUTE, "made")
    # Then these are two alarms; without the hole they are one
    assert count_alarms(scores, 0.0, 1.0) == 2
    assert count_alarms(as_scores(score), 0.0, 1.0) == 1


def test_cross_fit_scores_every_window_once_by_a_fit_that_did_not_see_it() -> None:
    # Given a fit that remembers which rows it saw
    series = make_series(normal_rows(1000, 4))
    seen: list[int] = []

    def fit(runs: list[np.ndarray]):  # type: ignore[no-untyped-def]
        seen.append(sum(len(run) for run in runs))
        return fit_pca(rows_of(*runs), PcaSettings(window=10))

    # When five blocks are cross-fitted
    scores = cross_fit_scores(series.train, series.train_ts, fit, sampling_interval_s=60.0)
    # Then every fit saw four fifths, and every row from the first full window on has one score, in order
    assert seen == [800] * 5
    np.testing.assert_array_equal(scores.time, series.train_ts[9:])
    assert scores.days == pytest.approx(991 / 1440)


def test_cross_fit_is_honest_where_scoring_the_own_rows_is_not() -> None:
    # Given a machine whose last day is unlike the others
    train = normal_rows(2000, 6, seed=7)
    train[1600:] += 3 * train.std(axis=0)
    series = make_series(train)

    def fit(runs: list[np.ndarray]):  # type: ignore[no-untyped-def]
        return fit_pca(rows_of(*runs), PcaSettings(window=4))

    # When it is scored by fits on the other days, and by a fit on all
    honest = cross_fit_scores(series.train, series.train_ts, fit, sampling_interval_s=60.0)
    graph = Graph(fit([train]).onnx_bytes(), device="cpu")
    flattering = score_rows(graph, train, series.train_ts, sampling_interval_s=60.0)
    # Then only the honest scores show that the last day came as a surprise
    assert np.median(honest.score[1600:]) > 3 * np.median(flattering.score[1600:])


def test_stride_scores_every_nth_window() -> None:
    train = normal_rows(300, 3)
    series = make_series(train)
    graph = Graph(fit_pca(rows_of(train), PcaSettings(window=8)).onnx_bytes(), device="cpu")
    every = score_rows(graph, train, series.train_ts, sampling_interval_s=60.0)
    third = score_rows(graph, train, series.train_ts, sampling_interval_s=60.0, stride=3)
    np.testing.assert_allclose(third.score, every.score[::3], rtol=1e-5)
    np.testing.assert_array_equal(third.time, every_nth(every, 3).time)
    assert third.interval_s == every_nth(every, 3).interval_s == 180.0
    # and they know for which stride they are
    assert (every.stride, third.stride, every_nth(every, 3).stride, every_nth(third, 2).stride) == (1, 3, 3, 6)
    assert third.days == pytest.approx(every.days, rel=0.01)


def test_holes_in_time_end_a_run_of_windows() -> None:
    # Given rows with a hole of an hour after row 100
    times = (np.arange(200) * 60_000_000).astype(np.int64)
    times[100:] += 3_600_000_000
    assert contiguous_runs(times, 60.0) == [slice(0, 100), slice(100, 200)]
    scores = cross_fit_scores(
        normal_rows(200, 3),
        times,
        lambda runs: fit_pca(rows_of(*runs), PcaSettings(window=10)),
        sampling_interval_s=60.0,
    )
    # Then no window spans it
    expected = np.concatenate([times[9:100], times[109:]])
    np.testing.assert_array_equal(np.sort(scores.time), expected)


@pytest.mark.parametrize(("count", "most"), [(0, 5), (3, 5), (5, 5), (1000, 7)])
def test_sample_is_bounded_ordered_and_reaches_both_ends(count: int, most: int) -> None:
    chosen = bounded_sample(count, most)
    assert len(chosen) == min(count, most)
    assert (np.diff(chosen) > 0).all()
    if count:
        assert (chosen[0], chosen[-1]) == (0, count - 1)
