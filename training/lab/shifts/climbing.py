"""The whole ladder as a strategy: the drift judge asks, the operator may accept, the ladder climbs, the gate decides.

It does what the adaptation service does (`wheeltapper.training.adaptation.service`), in event time and without Kafka: one adaptation at
a time; none while an alert is open that nobody has accepted, nor where a few channels alone moved far; rows since the change alone, and enough of them; a child takes over
when its time in shadow is over. Not part of it are the judgement in shadow and the rollback afterwards: what the gate lets
through is measured as it is.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from wheeltapper.schemas.errors import InputError
from wheeltapper.stream.core.counters import Counters
from wheeltapper.stream.core.drift.finding import DriftFinding
from wheeltapper.stream.core.drift.watch import DriftWatch
from wheeltapper.stream.core.judging import Judge, Judged
from wheeltapper.stream.core.policies import AlarmPolicy, AlarmRules, DriftPolicy
from wheeltapper.stream.core.rule import RuleSpec
from wheeltapper.stream.core.thresholds import SECONDS_PER_DAY
from wheeltapper.training.adaptation.gate import GatePolicy
from wheeltapper.training.adaptation.ladder import LadderOptions, climb
from wheeltapper.training.adaptation.local_change import may_be_fault
from wheeltapper.training.adaptation.recent import RecentRows
from wheeltapper.training.adaptation.service.readiness import next_try_at, rows_needed
from wheeltapper.training.fitting.calibration import contiguous_runs
from wheeltapper.training.lab.shifts.course import Adaptation, Course, Drift

LADDER = "ladder"


@dataclass
class _Request:
    """An adaptation that is asked for.

    Attributes:
        since: event time (us) of the change. accepted: a person called it the new normal.
        local: a few channels alone moved far: nothing is learnt until a person accepts it.
        tries: how often the gate refused. not_before: event time (us) from which it is tried.
        bridged: a child has passed, and a better one is looked for.
    """

    since: int
    accepted: bool
    local: bool = False
    tries: int = 0
    not_before: int = 0
    bridged: bool = False

    @property
    def is_settled(self) -> bool:
        """Whether the end of the drift does not end it: a person accepted it, or a child has ended it."""
        return self.accepted or self.bridged


@dataclass
class WholeLadder:
    """Drift judge, ladder and gate over the operating layer.

    Attributes:
        least_rows, least_s: rows since the change before the ladder is climbed; the gate's own need comes on top.
        most_rows: the newest so many are used.
        shadow_s: event time between the gate and the take-over.
        tries: the ladder is climbed so often in all, a day apart: where the gate refused, and behind a child that passed.
    """

    name: str = LADDER
    alarms: AlarmRules = field(default_factory=AlarmPolicy)
    takes_accept: bool = True
    least_rows: int = 500
    least_s: float = SECONDS_PER_DAY
    most_rows: int = 20_000
    shadow_s: float = 6 * 3600.0
    tries: int = 3
    policy: GatePolicy = field(default_factory=GatePolicy)
    _request: _Request | None = None
    _heard: int = 0
    _answered: bool = False
    _child: tuple[int, Adaptation] | None = None

    def judges(self, rule: RuleSpec) -> Sequence[Judge]:
        names = rule.manifest.channel_names

        def report(judged: Judged, position: int, finding: DriftFinding) -> list[Drift]:
            row = int(judged.due.offsets[position])
            channels = tuple(names[moved.index] for moved in finding.channels)
            effects = tuple(moved.effect for moved in finding.channels)
            return [Drift(row, finding.event, finding.since, finding.tests, channels, finding.alert_open, effects)]

        return (DriftWatch(rule, DriftPolicy(), report, Counters()),)

    def look(self, course: Course) -> None:
        if self._child is not None:
            due, adaptation = self._child
            if course.time < due:
                return
            self._child = None
            course.take_over(replace(adaptation, row=course.rows))
        self._hear(course)
        request = self._request
        if request is None or self._child is not None or course.time < request.not_before:
            return
        if not request.accepted and (request.local or course.stream.open_since is not None):
            return
        normal = course.presumed_normal(request.since, accepted=request.accepted)
        found = np.flatnonzero(normal)[-self.most_rows :]
        rows = RecentRows(course.scenario.rows[found], course.scenario.times[found], accepted=request.accepted)
        if self.is_enough(rows, course):
            request.tries += 1
            request.not_before = next_try_at(course.time)
            self._climb(course, rows)
            request.bridged |= self._child is not None
            if request.tries == self.tries:
                self._request = None

    def is_enough(self, recent: RecentRows, course: Course) -> bool:
        """Whether there are as many rows as is asked for, and as many held-out windows as the gate needs."""
        manifest, interval_s = course.stream.bundle.manifest, course.scenario.series.sampling_interval_s
        least = rows_needed(interval_s, least_rows=self.least_rows, least_s=self.least_s, most_rows=self.most_rows)
        if len(recent) < least:
            return False
        runs = contiguous_runs(recent.split(manifest.window)[1].times, interval_s)
        windows = [(run.stop - run.start - manifest.window) // manifest.stride + 1 for run in runs]
        return sum(max(count, 0) for count in windows) >= self.policy.least_windows

    def _hear(self, course: Course) -> None:
        for drift in course.drifts[self._heard :]:
            if drift.event == "started" and self._request is None:
                self._request = _Request(drift.since, accepted=False, local=may_be_fault(drift.effects))
            elif drift.event == "ended" and self._request is not None and not self._request.is_settled:
                self._request = None
        self._heard = len(course.drifts)
        if course.accepted is not None and not self._answered:
            self._answered = True
            self._request = _Request(int(course.scenario.times[course.accepted[0]]), accepted=True)

    def _climb(self, course: Course, recent: RecentRows) -> None:
        options = LadderOptions(out=course.out / f"child-{course.rows}", seed=course.seed, policy=self.policy)
        started = time.monotonic()
        try:
            result = climb(course.stream.bundle, recent, options)
        except InputError as error:
            course.take_over(Adaptation(course.rows, None, "", time.monotonic() - started, str(error)))
            return
        seconds = time.monotonic() - started
        adaptation = Adaptation(course.rows, result.child, result.step, seconds, result.reason)
        if result.child is None:
            course.take_over(adaptation)
        else:
            self._child = (course.time + int(self.shadow_s * 1e6), adaptation)
