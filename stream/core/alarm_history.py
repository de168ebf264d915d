"""The alarms of scores that are there already: the alert judge of the live stream, without a graph and without rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from wheeltapper.stream.core.alert_judge import AlertJudge
from wheeltapper.stream.core.alert_life import AlertState, EventKind
from wheeltapper.stream.core.counters import Counters
from wheeltapper.stream.core.judging import DueWindows, Judged, RuleMemory
from wheeltapper.stream.core.policies import AlarmRules
from wheeltapper.stream.core.thresholds import Calibrated


@dataclass(frozen=True, slots=True)
class PastAlarm:
    """One alarm.

    Attributes:
        opened_at: event time (us) that it dates from; told_at: of the window with which it opened.
        cleared_at: event time (us) of the window with which it cleared; None where it was open at the end.
        peak: worst calibrated score.
        level: raise level with which it opened, and reason: why it stood there.
    """

    opened_at: int
    told_at: int
    cleared_at: int | None
    peak: float
    level: float
    reason: str


@dataclass(frozen=True, slots=True)
class AlarmHistory:
    """
    Attributes:
        alarms: in order of opening; an alarm that re-opens soon after it cleared comes again.
        levels: [k] float64, raise level in force at each window.
    """

    alarms: tuple[PastAlarm, ...]
    levels: np.ndarray


def alarm_history(
    basis: Calibrated,
    policy: AlarmRules,
    times: np.ndarray,
    scores: np.ndarray,
    maintenance: np.ndarray | None = None,
) -> AlarmHistory:
    """What the worker would have told of one machine and rule.

    Args:
        basis: what the threshold starts from: the rule, or what stands for it.
        times: [k] int64 event time (us) of the scored rows; scores: [k] float64 calibrated; k is 1 or more.
        maintenance: [k] bool.
    """
    recorder = _Recorder()
    judge = AlertJudge(basis, policy, recorder, Counters())
    memory = RuleMemory({name: slot.new() for name, slot in judge.slots.items()})
    nothing = np.empty((len(times), 0), np.float32)
    due = DueWindows(nothing, times, np.arange(len(times)), np.ones(len(times)), nothing)
    judged = Judged("", memory, None, due, 0, len(times), maintenance=maintenance)
    judged.raw = judged.score = np.ascontiguousarray(scores, np.float64)
    judged.peak = float(scores.max())
    judge.see(judged)
    return AlarmHistory(tuple(recorder.alarms), judged.levels)


class _Recorder:
    """The report that turns an alert's steps into past alarms."""

    def __init__(self) -> None:
        self.alarms: list[PastAlarm] = []

    def __call__(
        self, judged: Judged, position: int, state: AlertState, event: EventKind, level: float
    ) -> Iterable[Any]:
        assert state.opened_at is not None
        time = int(judged.due.times[position])
        if event == "opened":
            self.alarms.append(PastAlarm(state.opened_at, time, None, state.peak_score, level, judged.level_reason))
            return ()
        known = self.alarms[-1]
        cleared_at = time if event == "cleared" else None
        self.alarms[-1] = PastAlarm(
            known.opened_at, known.told_at, cleared_at, state.peak_score, known.level, known.reason
        )
        return ()
