"""SPOT: where its level starts, what it learns, how often it is exceeded. What holds for every threshold is in tests/conformance."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.helpers.covering import covering
from wheeltapper.stream.core.policies import AlarmPolicy
from wheeltapper.stream.core.thresholds import Basis
from wheeltapper.stream.core.thresholds.spot import MAX_EXCESSES, SpotState, SpotThreshold

REPEATABLE = settings(derandomize=True, deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))

WINDOWS_PER_DAY = 1_440.0


def spot(
    calibration: np.ndarray, false_alarms_per_day: float = 1.44, spot_tail: float = 0.02, raise_level: float = 1.0
) -> SpotThreshold:
    """A threshold for one score a minute; 1.44 false alarms a day are one score in a thousand."""
    chosen = AlarmPolicy(
        method="spot", false_alarms_per_day=false_alarms_per_day, spot_tail=spot_tail, raise_level=raise_level
    )
    return SpotThreshold(chosen, Basis(calibration, WINDOWS_PER_DAY, 0.25))


def advance(threshold: SpotThreshold, state: SpotState, scores: Iterable[float]) -> np.ndarray:
    """`SpotThreshold.advance`, at any time: it does not ask for it."""
    values = np.array(list(scores), dtype=np.float64)
    return threshold.advance(state, values, np.arange(len(values)))


def learn(threshold: SpotThreshold, state: SpotState, scores: Iterable[float]) -> np.ndarray:
    """Take all scores in, those that reach the level as a machine in no alert does; the level at each of them."""
    values, levels, position = np.array(list(scores), dtype=np.float64), [np.empty(0)], 0
    while position < len(values):
        levels.append(advance(threshold, state, values[position:]))
        position += len(levels[-1])
    return np.concatenate(levels)


def taught(threshold: SpotThreshold, scores: Iterable[float]) -> SpotState:
    state = threshold.new()
    learn(threshold, state, scores)
    return state


def exponential(count: int, seed: int = 1) -> np.ndarray:
    """Scores that exceed z with probability exp(-10 z)."""
    return np.random.default_rng(seed).exponential(0.1, count)


@pytest.mark.parametrize(
    ("count", "one_in", "largest_share"),
    [
        (1_000, 100, 1.1),
        (5_000, 100, 1.1),
        (5_000, 1_000, 1.15),
        # Twenty excesses say little of what one score in 10,000 does: the fit errs on the high side.
        (1_000, 1_000, 1.3),
        (1_000, 10_000, 1.6),
    ],
)
def test_the_level_starts_near_the_true_quantile(count: int, one_in: int, largest_share: float) -> None:
    # given calibration scores of a known distribution, drawn ten times
    true = 0.1 * math.log(one_in)
    # when a level is asked for that one score in so many exceeds
    levels = [spot(exponential(count, seed), WINDOWS_PER_DAY / one_in).new().level for seed in range(10)]
    # then it is near that quantile
    assert 0.9 < np.median(levels) / true < largest_share
    assert min(levels) > 0.7 * true
    assert max(levels) < 2 * true


@covering(
    strength=1, shape=["exponential", "log-normal", "half-normal", "mostly zero"], one_in=[500, 2_000], seed=[1, 2, 3]
)
def test_false_alarms_come_about_as_often_as_asked_for_and_go_on_to(shape: str, one_in: int, seed: int) -> None:
    # given a threshold for one false alarm in so many scores
    random = np.random.default_rng(seed)
    scores = {
        "exponential": random.exponential(0.1, 102_000),
        "log-normal": np.exp(random.normal(-1.5, 0.5, 102_000)),
        "half-normal": np.abs(random.normal(0, 0.25, 102_000)),
        "mostly zero": np.where(random.random(102_000) < 0.9, 0, random.exponential(0.1, 102_000)),
    }[shape]
    threshold = spot(scores[:2_000], WINDOWS_PER_DAY / one_in)
    state = threshold.new()
    # when 100,000 ordinary ones come, of which those above the level are not learned
    alarms = scores[2_000:] >= learn(threshold, state, scores[2_000:])
    # then about as many are above it as expected, also in the last half: the level does not sink
    expected = 50_000 / one_in
    assert 0.2 * expected < sum(alarms[50_000:]) < 2.5 * expected
    assert sum(alarms[:50_000]) < 2.5 * expected + 10


@pytest.mark.parametrize("noise", [1.5, pytest.param(3.0, marks=pytest.mark.nightly)])
def test_the_level_moves_to_the_quantile_of_what_it_sees(noise: float) -> None:
    # given a machine that is noisier than the calibration was
    threshold = spot(exponential(1_000), WINDOWS_PER_DAY / 1_000)
    state = threshold.new()
    # when it has seen 100,000 of its scores: then the level is near its own quantile
    learn(threshold, state, noise * exponential(100_000, seed=5))
    assert state.level == pytest.approx(noise * 0.1 * math.log(1_000), rel=0.2)


@REPEATABLE
@given(scores=st.lists(st.floats(0, 5), max_size=200))
def test_scores_above_the_level_are_not_learned(scores: list[float]) -> None:
    # given any scores, when they come
    threshold = spot(exponential(500))
    state = threshold.new()
    for score in scores:
        before = replace(state, excesses=list(state.excesses))
        advance(threshold, state, [score])
        # then one that reaches the level changes nothing
        if score >= before.level:
            assert state == before
        else:
            assert state.seen == before.seen + 1


@REPEATABLE
@given(scores=st.lists(st.floats(0, 0.5), max_size=100), seed=st.integers(0, 100))
def test_the_level_is_finite_and_above_the_tails_start(scores: list[float], seed: int) -> None:
    state = taught(spot(exponential(300, seed)), scores)
    assert state.start < state.level < math.inf
    assert len(state.excesses) <= MAX_EXCESSES


@REPEATABLE
@given(scores=st.lists(st.floats(0, 1), max_size=100), quiet=st.lists(st.integers(0, 50), max_size=10))
def test_ordinary_scores_count_alike_one_by_one_and_at_once(scores: list[float], quiet: list[int]) -> None:
    # given scores with stretches of ordinary ones between them
    threshold = spot(exponential(500))
    one, other = threshold.new(), threshold.new()
    for position, score in enumerate(scores):
        ordinary = quiet[position % len(quiet)] if quiet else 0
        # when one takes them one by one and the other at once
        for _ in range(ordinary):
            advance(threshold, one, [one.start / 2])
        if ordinary:
            assert threshold.pass_quiet([other], [ordinary], [0], [0], [other.start / 2]) == [other.level]
        advance(threshold, one, [score])
        advance(threshold, other, [score])
    # then both know the same
    assert one == other


def test_the_same_scores_give_the_same_level() -> None:
    # given the same calibration and scores, when they are learned twice: then everything is equal
    scores = exponential(3_000, seed=4).tolist()
    assert taught(spot(exponential(500)), scores) == taught(spot(exponential(500)), scores)


def test_machines_learn_apart() -> None:
    # given two machines of one threshold, when one learns: then the other knows nothing of it
    threshold = spot(exponential(500))
    untouched = asdict(threshold.new())
    taught(threshold, exponential(5_000, seed=3))
    assert asdict(threshold.new()) == untouched


def test_only_the_newest_excesses_are_kept() -> None:
    # given a long time of ordinary scores, then of smaller ones
    state = taught(spot(exponential(500)), exponential(100_000, seed=2))
    assert len(state.excesses) == MAX_EXCESSES
    assert state.above > MAX_EXCESSES


@pytest.mark.parametrize("calibration", [np.array([]), np.array([0.3]), np.full(500, 0.25), np.zeros(500)])
def test_without_a_tail_the_raise_level_stands_in(calibration: np.ndarray) -> None:
    # given calibration scores that have no tail, when a machine starts: then the fixed level holds
    assert spot(calibration, raise_level=0.9).new().level == 0.9


def test_scores_that_are_mostly_the_same_raise_no_lasting_alarm() -> None:
    # given a detector that gives 0 for nearly every normal window, and so few windows a day that one in 240 may alarm
    calibration = np.zeros(20_000)
    calibration[::1_000] = np.linspace(0.1, 0.9, 20)
    chosen = AlarmPolicy(method="spot", false_alarms_per_day=0.1)
    threshold = SpotThreshold(chosen, Basis(calibration, 24.0, 0.1))
    state = threshold.new()
    assert state.start == 0
    # when it gives 0 again: then that is below the level
    assert state.level > 0


def test_learned_states_outlive_a_change_of_settings_as_far_as_they_fit() -> None:
    # given what a machine learned under one rate of false alarms
    known = taught(spot(exponential(500)), exponential(5_000, seed=3))
    before = replace(known, excesses=list(known.excesses))
    # when nothing has changed: then it is taken over as it is
    assert spot(exponential(500)).adopt(known) is known
    assert known == before
    # when fewer false alarms are wanted: then the level rises at once, with all that was learned
    stricter = spot(exponential(500), false_alarms_per_day=0.0144).adopt(known)
    assert stricter.level > 1.3 * before.level
    assert (stricter.seen, stricter.excesses) == (before.seen, before.excesses)
    # when the tail starts elsewhere: then its excesses are of no use, and learning starts anew
    other = spot(exponential(500), spot_tail=0.1)
    assert other.adopt(known) == other.new()
