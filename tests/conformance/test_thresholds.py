"""What holds for every threshold: it depends on scores and times alone, in time order, and learns no level of what reaches it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, get_args

import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wheeltapper.stream.core.alert_life import AlertLife, AlertState
from wheeltapper.stream.core.policies import AlarmPolicy, ThresholdMethod
from wheeltapper.stream.core.thresholds import THRESHOLDS, Basis, OperatorAction, Threshold

REPEATABLE = settings(derandomize=True, deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))

pytestmark = pytest.mark.parametrize("method", THRESHOLDS)

MINUTE = 60_000_000
# Around the level of all kinds: ordinary ones, some in the tail, some that reach it.
score_lists = st.lists(st.floats(0, 0.5) | st.floats(0.5, 3) | st.just(1.0), max_size=60)
# Minutes from one window to the next: mostly one; gaps of hours and days, a clock that is set back.
step_lists = st.lists(st.just(1) | st.integers(1, 5) | st.sampled_from([70, 400, 5_000]), min_size=1, max_size=10)


def opened(
    method: ThresholdMethod, seed: int = 1, calibration: np.ndarray | None = None, **changes: Any
) -> Threshold[Any]:
    """A threshold for one score a minute, calibrated on scores that exceed z with probability exp(-10 z)."""
    policy = AlarmPolicy(**{"method": method, "false_alarms_per_day": 1.44, **changes})
    if calibration is None:
        calibration = np.random.default_rng(seed).exponential(0.1, 500)
    return THRESHOLDS[method](policy, Basis(calibration, 1_440.0, 1.44, "a bundle"))


def times_of(count: int, steps: Sequence[int] = (1,), start: int = 0) -> np.ndarray:
    """Event times of so many windows, one after the other by these numbers of minutes in turn."""
    return start + MINUTE * np.cumsum(np.resize(np.array(steps, dtype=np.int64), count))


def levels_of(
    threshold: Threshold[Any], memory: Any, scores: np.ndarray, times: np.ndarray | None = None
) -> np.ndarray:
    """The level at each score, through alerts of the default policy as the alert judge leads them."""
    times = times_of(len(scores)) if times is None else times
    return Machine(threshold, memory).levels(scores, times)


class Machine:
    """A threshold with the alert that goes with it."""

    def __init__(self, threshold: Threshold[Any], memory: Any) -> None:
        self.threshold = threshold
        self.memory = memory
        self.life = AlertLife(AlarmPolicy(clear_duration_s=240), 60.0)
        self.alert = AlertState()
        self.openings = 0

    def levels(self, scores: np.ndarray, times: np.ndarray) -> np.ndarray:
        found, position = np.empty(len(scores)), 0
        while position < len(scores):
            if self.alert.is_quiet:
                part = self.threshold.advance(self.memory, scores[position:], times[position:])
                found[position : position + len(part)] = part
                position += len(part)
                if scores[position - 1] < part[-1]:
                    continue
                position -= 1
            else:
                found[position] = self.threshold.hold(self.memory, scores.item(position), times.item(position))
            event = self.life.step(self.alert, scores.item(position), times.item(position), found.item(position))
            if event == "opened":
                self.openings += 1
                self.threshold.opened(self.memory, times.item(position))
            elif event == "cleared":
                self.life.end(self.alert, times.item(position))
                self.threshold.cleared(self.memory, times.item(position))
            position += 1
        return found

    def through_a_snapshot(self) -> None:
        saved = self.threshold.dump(self.memory)
        if saved is None:
            self.memory = self.threshold.new()
        else:
            self.memory = self.threshold.adopt(self.threshold.load(orjson.loads(orjson.dumps(saved))))


@REPEATABLE
@given(
    scores=score_lists,
    steps=step_lists,
    cuts=st.lists(st.tuples(st.integers(1, 20), st.booleans()), min_size=1, max_size=10),
)
def test_how_scores_are_grouped_changes_nothing(
    method: ThresholdMethod, scores: list[float], steps: list[int], cuts: list[tuple[int, bool]]
) -> None:
    # given any scores, at any times
    threshold, values, times = opened(method), np.array(scores), times_of(len(scores), steps)
    whole, parts = Machine(threshold, threshold.new()), Machine(threshold, threshold.new())
    # when they come at once, and in groups of any size, between some of which the machine is restored from its snapshot
    found = whole.levels(values, times)
    pieces, start, turn = [np.empty(0)], 0, 0
    while start < len(values):
        size, restored = cuts[turn % len(cuts)]
        pieces.append(parts.levels(values[start : start + size], times[start : start + size]))
        if restored:
            parts.through_a_snapshot()
        start, turn = start + size, turn + 1
    # then the levels are the same to the last bit, and what was learned too
    np.testing.assert_array_equal(found, np.concatenate(pieces))
    assert threshold.dump(whole.memory) == threshold.dump(parts.memory)
    assert whole.openings == parts.openings


@REPEATABLE
@given(scores=score_lists, steps=step_lists)
def test_it_stops_behind_the_first_score_that_reaches_its_level(
    method: ThresholdMethod, scores: list[float], steps: list[int]
) -> None:
    # given any scores, when they come
    threshold, values = opened(method), np.array(scores)
    memory = threshold.new()
    levels = threshold.advance(memory, values, times_of(len(values), steps))
    # then no score before the last one reaches its level, and the last does where some are left
    assert (values[: len(levels) - 1] < levels[:-1]).all()
    if len(levels) < len(values):
        assert values[len(levels) - 1] >= levels[-1]


@REPEATABLE
@given(scores=score_lists, above=st.floats(0, 5), later=score_lists)
def test_no_level_is_learned_from_what_reaches_it(
    method: ThresholdMethod, scores: list[float], above: float, later: list[float]
) -> None:
    # given a machine that has learned
    threshold = opened(method)
    memory = threshold.new()
    levels_of(threshold, memory, np.array(scores))
    threshold.cleared(memory, MINUTE * len(scores))
    now = times_of(1, start=MINUTE * len(scores))
    level = threshold.level(memory)
    calm = copy.deepcopy(memory)
    # when a score comes that reaches its level
    before = threshold.advance(memory, np.array([level + above]), now)
    # then its level is the one before it but for what time does, and the same as after a score of nothing at all
    assert before[0] == pytest.approx(level, rel=0.01)
    assert threshold.level(memory) == before[0]
    if method in ("budget", "aci", "fixed"):
        threshold.advance(calm, np.zeros(1), now)
        np.testing.assert_array_equal(
            threshold.advance(memory, np.array(later) / 100, times_of(len(later), start=now[0])),
            threshold.advance(calm, np.array(later) / 100, times_of(len(later), start=now[0])),
        )
    else:
        assert threshold.dump(memory) == threshold.dump(calm)


@REPEATABLE
@given(scores=score_lists, size=st.integers(1, 30))
def test_a_fault_is_not_learned_however_long_it_lasts(method: ThresholdMethod, scores: list[float], size: int) -> None:
    # given a machine that has learned, and an alert that opens
    threshold = opened(method)
    machine = Machine(threshold, threshold.new())
    machine.levels(np.array(scores) / 4, times_of(len(scores)))
    start = MINUTE * (len(scores) + 1)
    raised = machine.levels(np.array([9.0]), np.array([start]))
    assert machine.alert.opened_at == start
    # when it lasts for days: then the level that raised it, or a lower one, is in force throughout
    held = machine.levels(np.full(size * 300, 9.0), times_of(size * 300, start=start))
    assert (held <= raised[0]).all()
    assert machine.alert.opened_at == start


@REPEATABLE
@given(scores=score_lists, later=score_lists, steps=step_lists)
def test_a_snapshot_brings_back_everything(
    method: ThresholdMethod, scores: list[float], later: list[float], steps: list[int]
) -> None:
    # given a machine that has learned, when its memory goes through JSON
    threshold = opened(method)
    first = Machine(threshold, threshold.new())
    first.levels(np.array(scores), times_of(len(scores), steps))
    second = copy.deepcopy(first)
    second.through_a_snapshot()
    # then both go on alike
    times = times_of(len(later), steps, start=MINUTE * 10_000)
    np.testing.assert_array_equal(first.levels(np.array(later), times), second.levels(np.array(later), times))
    assert threshold.dump(first.memory) == threshold.dump(second.memory)


def test_passing_many_quiet_machines_at_once_changes_nothing(method: ThresholdMethod) -> None:
    # given two machines with the same scores, when one of them is asked for all at once where that is possible
    threshold = opened(method)
    one, other = threshold.new(), threshold.new()
    for seed in range(50):
        scores = np.random.default_rng(seed).exponential(0.1, 20)
        times = times_of(20, start=seed * 20 * MINUTE)
        before = copy.deepcopy(threshold.dump(other))
        (level,) = threshold.pass_quiet([other], [20], [times.item(0)], [times.item(-1)], [float(scores.max())])
        if level is None:
            assert threshold.dump(other) == before
            levels = threshold.advance(other, scores, times)
        else:
            levels = np.full(20, level)
        np.testing.assert_array_equal(threshold.advance(one, scores, times), levels)
    # then the same was learned
    assert threshold.dump(one) == threshold.dump(other)


def test_machines_learn_apart(method: ThresholdMethod) -> None:
    # given two machines of one threshold, when one learns: then the other knows nothing of it
    threshold = opened(method)
    untouched = copy.deepcopy(threshold.dump(threshold.new()))
    levels_of(threshold, threshold.new(), np.random.default_rng(3).exponential(0.1, 5_000))
    assert threshold.dump(threshold.new()) == untouched


@pytest.mark.parametrize("rate", [0.01, 0.25, 1.44, 50])
@pytest.mark.parametrize("calibration", [np.array([]), np.array([0.3]), np.zeros(500), np.full(500, 0.4)])
def test_a_level_is_a_finite_number_above_nothing(
    method: ThresholdMethod, calibration: np.ndarray, rate: float
) -> None:
    # given calibration scores that say little, when a machine starts: then there is a level that a score can reach
    threshold = opened(method, calibration=calibration, false_alarms_per_day=rate)
    assert 0 < threshold.level(threshold.new()) < np.inf


def test_a_rarer_alarm_has_a_higher_level(method: ThresholdMethod) -> None:
    # given one bundle, when more and more false alarms are welcome: then every method's level is lower and lower
    levels = []
    for rate in (0.1, 1.44, 10.0):
        threshold = opened(method, false_alarms_per_day=rate)
        levels.append(threshold.level(threshold.new()))
    assert levels[0] > levels[1] > levels[2]


def test_no_scores_are_no_news(method: ThresholdMethod) -> None:
    # given a machine, when no score comes: then nothing is returned and nothing learned
    threshold = opened(method)
    memory = threshold.new()
    assert len(threshold.advance(memory, np.empty(0), np.empty(0, dtype=np.int64))) == 0
    assert threshold.dump(memory) == threshold.dump(threshold.new())


@REPEATABLE
@given(scores=score_lists, needed=st.floats(0.01, 50))
def test_an_accepted_level_is_in_force_and_a_reset_takes_it_back(
    method: ThresholdMethod, scores: list[float], needed: float
) -> None:
    # given a machine that has learned
    threshold = opened(method)
    memory = threshold.new()
    levels_of(threshold, memory, np.array(scores))
    # when its operator accepts the scores of late: then the level is as high as they need, and it says so
    memory = threshold.command(memory, "accept", needed)
    assert threshold.level(memory) >= needed * (1 - 1e-9)
    # and after a snapshot too
    again = threshold.adopt(threshold.load(orjson.loads(orjson.dumps(threshold.dump(memory)))))
    assert threshold.level(again) == threshold.level(memory)
    # when it is reset, then it is where every machine starts
    memory = threshold.command(memory, "reset", needed)
    assert threshold.level(memory) == threshold.level(threshold.new())


@pytest.mark.parametrize("action", get_args(OperatorAction))
def test_a_command_leaves_a_level_that_can_be_reached(method: ThresholdMethod, action: OperatorAction) -> None:
    # given a machine without any scores, when any command comes: then there is a level, and a score is held against it
    threshold = opened(method)
    memory = threshold.command(threshold.new(), action, 0.0)
    assert 0 < threshold.level(memory) < np.inf
    assert len(threshold.advance(memory, np.array([0.1, 1e9, 0.1]), times_of(3))) == 2
