"""The judge that opens and clears alerts: threshold and alert life, window after window."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import pairwise
from typing import Any, Protocol, TypeVar

import numpy as np

from wheeltapper.stream.core.alert_life import AlertLife, AlertState, EndedAlert, EventKind
from wheeltapper.stream.core.counters import Counters, count
from wheeltapper.stream.core.judging import Emission, Judged, JudgedTogether, RuleMemory, Slot
from wheeltapper.stream.core.policies import AlarmRules
from wheeltapper.stream.core.recent_scores import RecentSlot
from wheeltapper.stream.core.saved import moment, optional, score, span, text, whole
from wheeltapper.stream.core.thresholds import SECONDS_PER_DAY, Calibrated, OperatorAction, Threshold, make_threshold

_Number = TypeVar("_Number", int, float)

ALERT = "alert"
THRESHOLD = "threshold"
RECENT = "recent"


class AlertReport(Protocol):
    """Turns a step of an alert's life into outputs."""

    def __call__(
        self, judged: Judged, position: int, state: AlertState, event: EventKind, level: float
    ) -> Iterable[Any]:
        """
        Args:
            position: of the window among the judged ones.
            level: raise level in force there; why it stands there says `judged.level_reason`.
        """
        ...


class AlertSlot:
    """An alert's life in a snapshot."""

    def new(self) -> AlertState:
        return AlertState()

    def adopt(self, memory: AlertState) -> AlertState:
        return memory

    def dump(self, memory: AlertState) -> Any:
        return asdict(memory)

    def load(self, saved: Any) -> AlertState:
        """Snapshots from when durations were counted in windows have an alert's counts under other names: they start anew."""
        last = saved.get("last")
        return AlertState(
            opened_at=optional(moment, saved["opened_at"]),
            peak_score=score(saved["peak_score"]),
            severity=whole(saved["severity"], 0, 100),
            above_us=span(saved.get("above_us", 0)),
            quiet_us=span(saved.get("quiet_us", 0)),
            above_since=moment(saved.get("above_since", 0)),
            seen_at=moment(saved.get("seen_at", 0)),
            bundle=text(saved.get("bundle", "")),
            last=None
            if last is None
            else EndedAlert(
                opened_at=moment(last["opened_at"]),
                cleared_at=moment(last["cleared_at"]),
                bundle=text(last["bundle"]),
                peak_score=score(last["peak_score"]),
            ),
        )


class AlertJudge:
    """One rule's alerts. Comes first among the judges: it says which raise level was in force."""

    def __init__(self, rule: Calibrated, policy: AlarmRules, report: AlertReport, counters: Counters) -> None:
        self._bundle_id = rule.identity
        self._life = AlertLife(policy, SECONDS_PER_DAY / rule.windows_per_day)
        self._clear_ratio = policy.clear_ratio
        self._report = report
        self._counters = counters
        self.threshold: Threshold[Any] = make_threshold(policy, rule)
        # What no accepted level depends on: it is never below the one that every machine starts with.
        self._worth_knowing = policy.clear_ratio * self.threshold.level(self.threshold.new())
        self.slots: Mapping[str, Slot[Any]] = {
            ALERT: AlertSlot(),
            THRESHOLD: self.threshold,
            RECENT: RecentSlot(self._bundle_id),
        }

    def see_together(self, judged: JudgedTogether) -> Iterator[tuple[int, Sequence[Emission]]]:
        """See `SeesTogether`: machines that are quiet and stay below all levels only learn."""
        worth, slots = self._worth_knowing, judged.slots
        quiet = [
            place
            for place, (held, peak) in enumerate(zip(slots, judged.peaks, strict=True))
            if peak < worth and held[ALERT].opened_at is None and held[ALERT].above_us == 0
        ]
        if judged.has_maintenance:
            quiet = [place for place in quiet if judged.maintenance(place) is None]
        passed = self.threshold.pass_quiet(
            [slots[place][THRESHOLD] for place in quiet],
            _picked(judged.counts, quiet),
            _picked(judged.first_times, quiet),
            _picked(judged.last_times, quiet),
            _picked(judged.peaks, quiet),
        )
        levels: list[float | None] = [None] * len(slots)
        for place, level in zip(quiet, passed, strict=True):
            levels[place] = level
        judged.levels[:] = np.repeat(np.array(levels, dtype=np.float64), judged.counts)
        for place, level in enumerate(levels):
            if level is None:
                one = judged.one(place)
                emissions = self.see(one)
                judged.levels[judged.edges[place] : judged.edges[place + 1]] = one.levels
                yield place, emissions

    def see(self, judged: Judged) -> Sequence[Emission]:
        """See `Judge.see`; also fills `judged.levels`."""
        slots = judged.memory.slots
        state: AlertState = slots[ALERT]
        score, times = judged.score, judged.due.times
        if judged.maintenance is not None and judged.maintenance.any():
            return self._pass_over(judged, state)
        if judged.peak >= self._worth_knowing:
            slots[RECENT].add(score, times, self._worth_knowing)
        if state.is_quiet:
            judged.levels = levels = self.threshold.advance(slots[THRESHOLD], score, times)
            seen = len(levels)
            if seen == len(score) and score[-1] < levels[-1]:
                return ()
            levels = np.empty(len(score))
            levels[:seen] = judged.levels
            judged.levels = levels
            return self._follow(judged, state, seen - 1, len(score))  # from the one that reaches its level
        judged.levels = np.empty(len(score))
        return self._judge(judged, state, 0, len(score))

    def command(self, memory: RuleMemory, action: OperatorAction, time: int) -> list[AlertState]:
        """What an operator said of this rule on one machine, between two windows.

        accept: the scores of the last hours are the new normal: the open alert ends, the level goes above them. reset: the
        level is as on the first day. confirm, reject: the last alarm was true, was false.

        Args:
            time: event time (us) from which it holds.

        Returns:
            the alert that ended by it, as it was when it ended; its end is the caller's to publish.
        """
        slots, threshold = memory.slots, self.threshold
        state: AlertState = slots[ALERT]
        ended = []
        if action == "accept" and state.opened_at is not None:
            ended.append(replace(state))
            threshold.cleared(slots[THRESHOLD], time)
            count(self._counters.alerts, "cleared")
        if action == "accept":
            self._life.end(state, time, over=True)
        # Below the clear level, else the next alert would open at the machine's normal.
        needed = slots[RECENT].typical_peak(time) / self._clear_ratio
        slots[THRESHOLD] = threshold.command(slots[THRESHOLD], action, needed)
        return ended

    def level_reason(self, memory: RuleMemory) -> str:
        """Why the level stands where it does, for a person; '' where there is nothing to say."""
        return self.threshold.reason(memory.slots[THRESHOLD])

    def _pass_over(self, judged: Judged, state: AlertState) -> list[Emission]:
        """Windows of which some lie in the machine's maintenance: those see no judge, an open alert stays as it is."""
        assert judged.maintenance is not None
        slots = judged.memory.slots
        judged.levels = np.empty(len(judged.score))
        emissions: list[Emission] = []
        edges = [0, *(np.flatnonzero(np.diff(judged.maintenance)) + 1).tolist(), len(judged.score)]
        for start, stop in pairwise(edges):
            if not judged.maintenance[start]:
                slots[RECENT].add(judged.score[start:stop], judged.due.times[start:stop], self._worth_knowing)
                emissions += self._judge(judged, state, start, stop)
                continue
            judged.levels[start:stop] = self.threshold.level(slots[THRESHOLD])
            if state.opened_at is None:
                state.above_us = 0  # a run does not last through it
        return emissions

    def _judge(self, judged: Judged, state: AlertState, start: int, stop: int) -> list[Emission]:
        """Windows [start, stop), whatever the machine's state."""
        scores, times, learned = judged.score, judged.due.times, judged.memory.slots[THRESHOLD]
        if not state.is_quiet:
            judged.levels[start] = self.threshold.hold(learned, scores.item(start), times.item(start))
            return self._follow(judged, state, start, stop)
        part = self.threshold.advance(learned, scores[start:stop], times[start:stop])
        seen = start + len(part)
        judged.levels[start:seen] = part
        if seen == stop and scores[seen - 1] < part[-1]:
            return []
        return self._follow(judged, state, seen - 1, stop)

    def _follow(self, judged: Judged, state: AlertState, position: int, stop: int) -> list[Emission]:
        """Window by window from one that is loud, or belongs to an alert, at `position`; its level is known."""
        threshold, life, levels = self.threshold, self._life, judged.levels
        learned = judged.memory.slots[THRESHOLD]
        scores, times = judged.score, judged.due.times
        emissions: list[Emission] = []
        while position < stop:
            score, time = scores.item(position), times.item(position)
            event = life.step(state, score, time, levels.item(position))
            if event is not None:
                emissions += self._tell(judged, position, state, event)
            elif state.is_quiet:
                # It ended a run too short for an alert, and is itself ordinary.
                threshold.advance(learned, scores[position : position + 1], times[position : position + 1])
            position += 1
            if position == stop:
                break
            if state.is_quiet:
                part = threshold.advance(learned, scores[position:stop], times[position:stop])
                levels[position : position + len(part)] = part
                position += len(part)
                if scores[position - 1] < part[-1]:
                    break
                position -= 1
            else:
                levels[position] = threshold.hold(learned, scores.item(position), times.item(position))
        return emissions

    def _tell(self, judged: Judged, position: int, state: AlertState, event: EventKind) -> list[Emission]:
        learned, time = judged.memory.slots[THRESHOLD], judged.due.times.item(position)
        if event == "opened":
            again = self._life.goes_on(state)
            if not again:
                state.bundle = self._bundle_id
            self.threshold.opened(learned, time, again)
        count(self._counters.alerts, event)
        judged.steps = (*judged.steps, (position, event))
        judged.level_reason = self.threshold.reason(learned)
        outputs = self._report(judged, position, state, event, judged.levels.item(position))
        offset = judged.due.offsets.item(position)
        emissions = [Emission(offset, output) for output in outputs]
        if event == "cleared":
            self._life.end(state, time)
            self.threshold.cleared(learned, time)
        return emissions


def _picked(values: Sequence[_Number], places: Sequence[int]) -> Sequence[_Number]:
    return values if len(places) == len(values) else [values[place] for place in places]
