"""What holds for every threshold: it only depends on the scores, in time order, and learns nothing of what reaches its level."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wheeltapper.stream.core.policies import AlarmPolicy
from wheeltapper.stream.core.thresholds import THRESHOLDS, Threshold

REPEATABLE = settings(derandomize=True, deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))

pytestmark = pytest.mark.parametrize("method", THRESHOLDS)

# Around the level of both kinds: ordinary ones, some in the tail, some that reach it.
score_lists = st.lists(st.floats(0, 0.5) | st.floats(0.5, 3) | st.just(1.0), max_size=60)


def opened(method: str, seed: int = 1, calibration: np.ndarray | None = None, **changes: Any) -> Threshold[Any]:
    """A threshold for one score a minute, calibrated on scores that exceed z with probability exp(-10 z)."""
    policy = AlarmPolicy(**{"method": method, "false_alarms_per_day": 1.44, **changes})
    if calibration is None:
        calibration = np.random.default_rng(seed).exponential(0.1, 500)
    return THRESHOLDS[method](policy, calibration, 1_440.0)


def levels_of(threshold: Threshold[Any], memory: Any, scores: np.ndarray) -> np.ndarray:
    """The level at each score; those that reach it are passed over, as by a machine whose alert ends at once."""
    parts, position = [np.empty(0)], 0
    while position < len(scores):
        parts.append(threshold.advance(memory, scores[position:]))
        position += len(parts[-1])
    return np.concatenate(parts)


@REPEATABLE
@given(scores=score_lists, cuts=st.lists(st.integers(1, 20), min_size=1, max_size=10))
def test_how_scores_are_grouped_changes_nothing(method: str, scores: list[float], cuts: list[int]) -> None:
    # given any scores
    threshold, values = opened(method), np.array(scores)
    whole, parts = threshold.new(), threshold.new()
    # when they come at once, and in groups of any size
    found = levels_of(threshold, whole, values)
    pieces, start, turn = [np.empty(0)], 0, 0
    while start < len(values):
        pieces.append(levels_of(threshold, parts, values[start : start + cuts[turn % len(cuts)]]))
        start, turn = start + cuts[turn % len(cuts)], turn + 1
    # then the levels are the same, and what was learned too
    np.testing.assert_array_equal(found, np.concatenate(pieces))
    assert threshold.dump(whole) == threshold.dump(parts)


@REPEATABLE
@given(scores=score_lists)
def test_it_stops_behind_the_first_score_that_reaches_its_level(method: str, scores: list[float]) -> None:
    # given any scores, when they come
    threshold, values = opened(method), np.array(scores)
    memory = threshold.new()
    levels = threshold.advance(memory, values)
    # then no score before the last one reaches its level, and the last does where some are left
    assert (values[: len(levels) - 1] < levels[:-1]).all()
    if len(levels) < len(values):
        assert values[len(levels) - 1] >= levels[-1]


@REPEATABLE
@given(scores=score_lists, above=st.floats(0, 5))
def test_what_reaches_the_level_is_not_learned(method: str, scores: list[float], above: float) -> None:
    # given a machine that has learned
    threshold = opened(method)
    memory = threshold.new()
    levels_of(threshold, memory, np.array(scores))
    before = copy.deepcopy(threshold.dump(memory))
    level = threshold.level(memory)
    # when a score comes that reaches its level: then nothing has changed
    np.testing.assert_array_equal(threshold.advance(memory, np.array([level + above])), [level])
    assert threshold.dump(memory) == before
    assert threshold.level(memory) == level


@REPEATABLE
@given(scores=score_lists, later=score_lists)
def test_a_snapshot_brings_back_everything(method: str, scores: list[float], later: list[float]) -> None:
    # given a machine that has learned, when its memory goes through JSON
    threshold = opened(method)
    memory = threshold.new()
    levels_of(threshold, memory, np.array(scores))
    saved = threshold.dump(memory)
    again = threshold.new() if saved is None else threshold.adopt(threshold.load(orjson.loads(orjson.dumps(saved))))
    # then both go on alike
    np.testing.assert_array_equal(
        levels_of(threshold, memory, np.array(later)), levels_of(threshold, again, np.array(later))
    )
    assert threshold.dump(memory) == threshold.dump(again)


def test_knowing_the_largest_score_changes_nothing(method: str) -> None:
    # given scores of which the caller knows the largest, when they come with it and without it
    threshold = opened(method)
    one, other = threshold.new(), threshold.new()
    for seed in range(50):
        scores = np.random.default_rng(seed).exponential(0.1, 20)
        np.testing.assert_array_equal(
            threshold.advance(one, scores), threshold.advance(other, scores, float(scores.max()))
        )
    # then the same was learned
    assert threshold.dump(one) == threshold.dump(other)


def test_machines_learn_apart(method: str) -> None:
    # given two machines of one threshold, when one learns: then the other knows nothing of it
    threshold = opened(method)
    untouched = copy.deepcopy(threshold.dump(threshold.new()))
    levels_of(threshold, threshold.new(), np.random.default_rng(3).exponential(0.1, 5_000))
    assert threshold.dump(threshold.new()) == untouched


@pytest.mark.parametrize("calibration", [np.array([]), np.array([0.3]), np.zeros(500)])
def test_a_level_is_a_finite_number_above_nothing(method: str, calibration: np.ndarray) -> None:
    # given calibration scores that say little, when a machine starts: then there is a level that a score can reach
    threshold = opened(method, calibration=calibration)
    assert 0 < threshold.level(threshold.new()) < np.inf


def test_no_scores_are_no_news(method: str) -> None:
    # given a machine, when no score comes: then nothing is returned and nothing learned
    threshold = opened(method)
    memory = threshold.new()
    assert len(threshold.advance(memory, np.empty(0))) == 0
    assert threshold.dump(memory) == threshold.dump(threshold.new())
