"""The alert judge around maintenance and what operators say of alarms."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.stream.bundles import Recipe
from tests.unit.stream.conftest import OpenRoutes
from tests.unit.stream.feeds import MINUTE, REPEATABLE, START
from wheeltapper.stream.core.alert_judge import ALERT, RECENT, THRESHOLD, AlertJudge
from wheeltapper.stream.core.alert_life import AlertState, EventKind
from wheeltapper.stream.core.counters import Counters
from wheeltapper.stream.core.judging import DueWindows, Judged, RuleMemory
from wheeltapper.stream.core.policies import AlarmPolicy, ThresholdMethod
from wheeltapper.stream.core.recent_scores import RecentScores
from wheeltapper.stream.core.thresholds import THRESHOLDS

HOUR = 60


class Watched:
    """A machine of one score a minute under a judge."""

    def __init__(self, open_routes: OpenRoutes, **changes: Any) -> None:
        (rule,) = open_routes(Recipe(window=1)).rules
        self.events: list[tuple[str, int, str]] = []
        self.counters = Counters()
        self.judge = AlertJudge(rule, AlarmPolicy(**changes), self._report, self.counters)
        self.memory = RuleMemory({name: slot.new() for name, slot in self.judge.slots.items()})
        self.minute = 0

    def take(self, scores: Iterable[float], maintenance: Iterable[bool] | None = None) -> np.ndarray:
        """Windows in one batch; the level at each."""
        values = np.array(list(scores))
        times = START + MINUTE * np.arange(self.minute, self.minute + len(values))
        empty = np.zeros((len(values), 1, 3), np.float32)
        due = DueWindows(empty, times, np.arange(len(values)), np.ones(len(values)), empty[:, 0])
        judged = Judged("press-1", self.memory, None, due, 0, len(values))
        judged.score, judged.raw, judged.peak = values, values, float(values.max())
        judged.maintenance = None if maintenance is None else np.array(list(maintenance))
        list(self.judge.see(judged))
        self.minute += len(values)
        return judged.levels

    def say(self, action: Any) -> list[AlertState]:
        return self.judge.command(self.memory, action, START + MINUTE * self.minute)

    @property
    def is_open(self) -> bool:
        return self.memory.slots[ALERT].opened_at is not None

    @property
    def level(self) -> float:
        return self.judge.threshold.level(self.memory.slots[THRESHOLD])

    def _report(self, judged: Judged, position: int, state: AlertState, event: EventKind, level: float) -> tuple[()]:
        self.events.append((event, (judged.due.times.item(position) - START) // MINUTE, judged.level_reason))
        return ()


def told(machine: Watched) -> list[tuple[str, int]]:
    return [(event, minute) for event, minute, _ in machine.events if event != "updated"]


def test_in_maintenance_nothing_opens_and_nothing_is_learned(open_routes: OpenRoutes) -> None:
    # given a machine, and another that is serviced for an hour in which its scores are wild
    calm, serviced = Watched(open_routes), Watched(open_routes)
    for machine in (calm, serviced):
        machine.take([0.1] * 30)
    # when it happens, in the middle of a batch
    serviced.take([0.1, *[9.0] * HOUR, 0.1], [False, *[True] * HOUR, False])
    calm.take([0.1] * (HOUR + 2))
    # then no alert opened, what is known of scores knows nothing of it, and the level is the other machine's
    assert serviced.events == []
    assert serviced.memory.slots[RECENT].largest == []
    assert serviced.level == pytest.approx(calm.level, rel=0.01)
    assert serviced.memory.slots[THRESHOLD].shadow == 0


def test_an_open_alert_waits_out_the_maintenance(open_routes: OpenRoutes) -> None:
    # given an open alert
    machine = Watched(open_routes, clear_duration_s=600)
    machine.take([0.1, 5.0])
    # when the machine is serviced, and quiet meanwhile
    machine.take([0.1] * HOUR, [True] * HOUR)
    # then it is open still, and clears when it has been quiet for as long as always
    assert machine.is_open
    machine.take([0.1] * 20)
    assert told(machine) == [("opened", 1), ("cleared", 1 + HOUR + 10)]


def test_a_run_does_not_last_through_maintenance(open_routes: OpenRoutes) -> None:
    # given an alert that takes three minutes, when two loud minutes before maintenance are followed by two after it
    machine = Watched(open_routes, min_duration_s=180)
    machine.take([5.0] * 14, [False] * 2 + [True] * 10 + [False] * 2)
    # then there is none yet; the third opens it, and it dates from behind the maintenance
    assert machine.events == []
    machine.take([5.0])
    assert told(machine) == [("opened", 14)]
    assert machine.memory.slots[ALERT].opened_at == START + 12 * MINUTE


@REPEATABLE
@given(
    scores=st.lists(st.sampled_from([0.05, 0.3, 0.79, 0.9, 1.0, 1.3, 4.0]), min_size=1, max_size=60),
    marks=st.lists(st.booleans(), min_size=1, max_size=12),
    sizes=st.lists(st.integers(1, 20), min_size=1, max_size=6),
    method=st.sampled_from(sorted(THRESHOLDS)),
    minimum=st.sampled_from([0, 120]),
)
def test_how_windows_are_grouped_changes_nothing(
    open_routes: OpenRoutes,
    scores: list[float],
    marks: list[bool],
    sizes: list[int],
    method: ThresholdMethod,
    minimum: int,
) -> None:
    # given windows, some of them in maintenance, of a machine under any method
    marked = np.repeat(marks, 7)[: len(scores)]
    marked = np.append(marked, np.zeros(len(scores) - len(marked), bool))
    chosen = {"method": method, "clear_duration_s": 240, "min_duration_s": minimum, "reopen_s": 300}
    whole, parts = Watched(open_routes, **chosen), Watched(open_routes, **chosen)
    # when they come at once, and in groups
    levels = whole.take(scores, marked)
    found, start, turn = [], 0, 0
    while start < len(scores):
        stop = start + sizes[turn % len(sizes)]
        found.append(parts.take(scores[start:stop], marked[start:stop]))
        start, turn = stop, turn + 1
    # then levels, alerts and memories are the same
    np.testing.assert_array_equal(levels, np.concatenate(found))
    assert whole.events == parts.events
    assert [slot.dump(whole.memory.slots[name]) for name, slot in whole.judge.slots.items()] == [
        slot.dump(parts.memory.slots[name]) for name, slot in parts.judge.slots.items()
    ]


@pytest.mark.parametrize("method", THRESHOLDS)
def test_what_is_accepted_is_the_new_normal(open_routes: OpenRoutes, method: ThresholdMethod) -> None:
    # given a machine whose scores have moved up after a service, with a peak where they did: an alert stands for a day
    machine = Watched(open_routes, method=method)
    machine.take([0.1] * HOUR)
    moved = 3 + np.random.default_rng(1).uniform(-0.4, 0.4, 24 * HOUR)
    machine.take([80.0, *moved])
    assert machine.is_open
    # when an operator accepts it
    (ended,) = machine.say("accept")
    # then its alert ends, as it was
    assert ended.opened_at == START + HOUR * MINUTE
    assert ended.peak_score == 80.0
    assert not machine.is_open
    assert machine.counters.alerts["opened"] == machine.counters.alerts["cleared"] == 1
    # and none opens in the day after it, while a fault far above the new normal is found
    machine.take(3 + np.random.default_rng(2).uniform(-0.4, 0.4, 24 * HOUR))
    assert [event for event, _ in told(machine)] == ["opened"]
    machine.take([40.0])
    assert machine.is_open


def test_accepting_a_quiet_machine_changes_nothing_to_hear(open_routes: OpenRoutes) -> None:
    # given a machine without an alert, when it is accepted: then nothing ends, and its level is the first day's
    machine = Watched(open_routes)
    machine.take([0.1] * HOUR)
    assert machine.say("accept") == []
    assert machine.level == 1.0


def test_a_reset_takes_back_what_was_learned_but_no_alert(open_routes: OpenRoutes) -> None:
    # given a machine whose level was raised by three alarms, and whose fourth is open
    machine = Watched(open_routes)
    for _ in range(3):
        machine.take([50.0, *[0.1] * 31])
    machine.take([50.0])
    # when an operator resets it: then the alert stays open, and is held against the first day's level from then on
    assert machine.say("reset") == []
    assert machine.is_open
    assert machine.take([1.01]).tolist() == [1.0]


def test_the_alert_says_why_its_level_stands_there(open_routes: OpenRoutes) -> None:
    # given a machine with alarms, when the next opens: then it names what its level owes to them
    machine = Watched(open_routes)
    for _ in range(3):
        machine.take([50.0, *[0.1] * 31])
    reasons = [reason for event, _, reason in machine.events if event == "opened"]
    assert reasons[0] == ""
    assert reasons[1].startswith("level x 1.6 after 1 alarm")
    assert reasons[2].endswith("after 2 alarms")


def test_recent_scores_know_their_hours() -> None:
    # given scores of five half hours, one with a peak
    recent = RecentScores("a bundle")
    times = START // (30 * MINUTE) * 30 * MINUTE + MINUTE * np.arange(150)
    scores = np.full(150, 1.0)
    scores[70], scores[100] = 30.0, 2.0
    recent.add(scores, times, 0.8)
    # then the peak's half hour is left out of what they reach
    assert recent.largest == [1.0, 1.0, 30.0, 2.0, 1.0]
    assert recent.typical_peak(times[-1]) == 2.0
    # and what is far below any level is not remembered: after three hours of that the peak is all there is to know
    recent.add(np.full(180, 0.5), times[-1] + MINUTE * np.arange(1, 181), 0.8)
    assert recent.typical_peak(times[-1] + 120 * MINUTE) == 2.0
    assert recent.typical_peak(times[-1] + 150 * MINUTE) == 30.0
    # and after four hours nothing
    assert recent.typical_peak(times[-1] + 240 * MINUTE) == 0.0
