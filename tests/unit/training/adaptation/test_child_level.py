"""The alarm level of a child: few recent windows move and stretch a known tail, many show their own."""

from __future__ import annotations

import numpy as np
import pytest

from wheeltapper.schemas.bundle.manifest import Calibration
from wheeltapper.stream.core.alert_life import SpanRule, alert_spans
from wheeltapper.stream.core.calibration import calibrate
from wheeltapper.training.adaptation.child_level import MOVED_TAIL, is_foreign, raised_level
from wheeltapper.training.fitting.calibration import CalibrationScores, alarm_level

RATE = 0.25
WINDOW = 24
INTERVAL_S = 300.0
DAY = 288
CLEAR = SpanRule(clear_windows=30)


def scored(score: np.ndarray) -> CalibrationScores:
    times = np.arange(len(score), dtype=np.int64) * round(INTERVAL_S * 1e6)
    return CalibrationScores(score=score, time=times, interval_s=INTERVAL_S, origin="made")


def machine(days: float, seed: int, *, lift: float = 0.0, gain: float = 1.0) -> np.ndarray:
    """Scores with a tail: neighbours are alike, as windows that share rows are."""
    random = np.random.default_rng(seed)
    steps = random.gamma(2.0, 1.0, round(days * DAY) + 5)
    return lift + gain * np.convolve(steps, np.full(6, 1 / 6), mode="valid")


KNOWN_SCORES = machine(60, 0)
KNOWN = alarm_level(scored(KNOWN_SCORES), RATE)


def raised(recent: np.ndarray) -> Calibration:
    return raised_level(KNOWN, KNOWN_SCORES, scored(recent), WINDOW, RATE)


def alarms_a_day(level: Calibration, scores: np.ndarray) -> float:
    return len(alert_spans(calibrate(scores, level.center, level.alarm_level), CLEAR)) / (len(scores) / DAY)


def test_recent_scores_that_do_not_contradict_a_level_leave_it() -> None:
    # Given a day that is like the sixty before it, when a level is chosen, then it stays to the last digit
    assert raised(machine(1, 1)) == KNOWN


@pytest.mark.parametrize(("lift", "gain"), [(0.0, 3.0), (6.0, 1.0), (5.0, 2.0)])
def test_few_windows_give_a_level_that_is_neither_blind_nor_flooding(lift: float, gain: float) -> None:
    # Given twenty days, each by itself, of a machine whose scores have risen and spread
    levels = [raised(machine(1, seed, lift=lift, gain=gain)) for seed in range(2, 22)]
    # When their levels are asked about two months that follow
    later = machine(60, 100, lift=lift, gain=gain)
    true = alarm_level(scored(later), RATE).alarm_level
    heights = np.array([(level.alarm_level - KNOWN.center) / (true - KNOWN.center) for level in levels])
    # Then all lie near the level that the two months have, and most raise some alarms a week, not a flood
    assert ((heights > 0.65) & (heights < 1.25)).all()
    assert np.median([alarms_a_day(level, later) for level in levels]) < 6 * RATE


@pytest.mark.parametrize("top", [20.0, 200.0])
def test_one_fault_among_few_windows_does_not_make_the_level_blind(top: float) -> None:
    # Given half a day with a fault in it that nobody noticed, on a machine whose scores have trebled
    recent = machine(0.6, 3, gain=3.0)
    recent[80:90] = top
    # When a level is chosen
    level = raised(recent)
    # Then it does not follow the fault's height, as half again the largest score does
    assert level.method == MOVED_TAIL
    assert level.alarm_level < 3.5 * KNOWN.alarm_level
    assert alarm_level(scored(recent), RATE).alarm_level > 1.2 * top


def test_recent_windows_raise_no_more_alarms_than_are_likely() -> None:
    # Given a day with a busy hour thrice, and otherwise no louder than before
    recent = machine(1, 4)
    for start in (40, 130, 220):
        recent[start : start + 12] = 3 * KNOWN.alarm_level
    # When a level is chosen, then at most the one alarm that is likely in a day stands there
    assert alarms_a_day(raised(recent), recent) <= 1


@pytest.mark.parametrize(("lift", "foreign"), [(0.0, False), (0.5, False), (1.5, True)])
def test_a_graph_by_which_ordinary_windows_are_alarms_does_not_know_the_regime(lift: float, foreign: bool) -> None:
    # Given a day whose scores lie higher by a part of the distance from center to level, or by more than that
    recent = machine(1, 8, lift=lift * (KNOWN.alarm_level - KNOWN.center))
    # When a level is to be chosen, then the known tail belongs to it, or does not
    assert is_foreign(KNOWN, scored(recent)) == foreign


def test_the_level_is_never_below_the_known_one() -> None:
    assert raised(machine(1, 5, gain=0.3)) == KNOWN


def test_weeks_of_recent_windows_give_the_level_that_training_gives() -> None:
    # Given thirty days of scores that have trebled, when a level is chosen, then it is that of their own calibration
    recent = machine(30, 6, gain=3.0)
    level, own = raised(recent), alarm_level(scored(recent), RATE)
    assert (level.alarm_level, level.method, level.windows) == (own.alarm_level, own.method, own.windows)


@pytest.mark.parametrize("days", [0.8, 30.0])
def test_a_busy_mode_does_not_make_the_calm_one_all_alike(days: float) -> None:
    # Given recent hours of which more than half are in a mode with higher scores
    recent = machine(days, 7)
    recent[: round(0.6 * len(recent))] += 0.5 * KNOWN.alarm_level
    # When a level is chosen
    level = raised(recent)
    # Then calm scores still differ from each other as they did
    assert level.alarm_level > KNOWN.alarm_level
    calm = calibrate(KNOWN_SCORES, level.center, level.alarm_level)
    assert np.mean(calm > 0) == pytest.approx(0.5, abs=0.01)
