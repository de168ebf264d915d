"""The course of a scenario under a strategy: rows through the worker's own core, hour by hour, with an operator who may accept once.

An hour is how often a strategy and the operator look; scores and alarms do not depend on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from wheeltapper.schemas.bundle import Bundle
from wheeltapper.schemas.events import ClearReason
from wheeltapper.stream.core.judging import Judge
from wheeltapper.stream.core.policies import AlarmRules
from wheeltapper.stream.core.rule import RuleSpec
from wheeltapper.training.adaptation.service.alerts import KnownAlert
from wheeltapper.training.adaptation.service.presumed_normal import outside, spans_under_alerts
from wheeltapper.training.adaptation.service.readiness import beginning_of
from wheeltapper.training.judging.stream_run import Alarm, MachineStream, StreamRun
from wheeltapper.training.lab.shifts.scenarios import Scenario

LOOK_EVERY_S = 3600.0


@dataclass(frozen=True)
class Drift:
    """A step of a drift, as the drift judge said it.

    Attributes:
        row: with which it was said; since: event time (us) of the change, as estimated.
        channels: names that moved, the largest effect first; effects: of them, in standard deviations of normal rows.
    """

    row: int
    event: str
    since: int
    tests: tuple[str, ...]
    channels: tuple[str, ...]
    alert_open: bool
    effects: tuple[float, ...] = ()


@dataclass(frozen=True)
class Adaptation:
    """A try to adapt.

    Attributes:
        row: after which it ran, and from which its bundle is in force.
        bundle: what took over; None where nothing did.
        step: of the ladder; '' where none.
        seconds: that it took.
        reason: why nothing took over, or what did.
    """

    row: int
    bundle: Bundle | None
    step: str
    seconds: float
    reason: str


@dataclass
class Course:
    """What has happened so far; a strategy reads it, and adds to it.

    Attributes:
        parent: the bundle at the beginning.
        out: folder for bundles.
        seed: of trainings.
        rows: of the stream that have been seen.
        drifts, adaptations: in order.
        accepted: when the operator called what the machine does normal: the row of the change, as far as it is known, and the
            row from which the command holds; None until then.
    """

    scenario: Scenario
    parent: Bundle
    stream: MachineStream
    out: Path
    seed: int = 0
    rows: int = 0
    drifts: list[Drift] = field(default_factory=list)
    adaptations: list[Adaptation] = field(default_factory=list)
    accepted: tuple[int, int] | None = None

    @property
    def time(self) -> int:
        """Event time (us) of the newest row."""
        return int(self.scenario.times[self.rows - 1])

    @property
    def open_drift(self) -> Drift | None:
        """The drift that was told and has not ended; None where there is none."""
        return next((drift for drift in self.drifts[-1:] if drift.event == "started"), None)

    def row_at(self, time: int) -> int:
        """The first row at or after an event time (us)."""
        return int(np.searchsorted(self.scenario.times, time))

    def presumed_normal(self, since: int, *, accepted: bool) -> np.ndarray:
        """[rows] bool: rows from an event time (us) on that may be learnt from, by the adaptation service's own rule.

        Args:
            accepted: the operator has accepted the change that is adapted to.
        """
        times, manifest = self.scenario.times[: self.rows], self.stream.bundle.manifest
        margin_us = round(manifest.window * manifest.sampling_interval_s * 1e6)
        alerts = [self._known(alarm) for alarm in self.stream.result().alarms]
        spans = spans_under_alerts(alerts, accepted=accepted, margin_us=margin_us)
        return outside(times, [*spans, (-(2**63), since - 1)])

    def _known(self, alarm: Alarm) -> KnownAlert:
        """An alarm as the adaptation service knows alerts."""
        ended_by_accept = alarm.cleared_at is not None and alarm.cleared_at == self.accepted_time
        return KnownAlert(
            alert_id=str(alarm.opened_at),
            rule=self.parent.manifest.detector,
            bundle="",
            opened_at=alarm.opened_at,
            published_us=alarm.opened_at,
            ended_at=alarm.cleared_at,
            reason=ClearReason.ACCEPTED if ended_by_accept else None,
        )

    @property
    def accepted_time(self) -> int | None:
        """Event time (us) from which the operator's *accept* holds."""
        return None if self.accepted is None else int(self.scenario.times[self.accepted[1] - 1])

    def take_over(self, adaptation: Adaptation) -> None:
        """Note an adaptation, and go on under its bundle where it has one."""
        self.adaptations.append(adaptation)
        if adaptation.bundle is not None:
            self.stream.swap(adaptation.bundle)


class Strategy(Protocol):
    """What is done about changes."""

    @property
    def name(self) -> str: ...

    @property
    def alarms(self) -> AlarmRules:
        """The worker's section [threshold] under it."""
        ...

    @property
    def takes_accept(self) -> bool:
        """Whether an operator can tell it that the new state is normal."""
        ...

    def judges(self, rule: RuleSpec) -> Sequence[Judge]:
        """Further judges of a rule."""
        ...

    def look(self, course: Course) -> None:
        """Called every hour; may let another bundle take over."""
        ...


@dataclass(frozen=True)
class Outcome:
    """What came of a scenario under a strategy.

    Attributes:
        bundles: (row from which it is in force, bundle), in order.
        accepted_at: row at which the operator accepted; None where it was never.
    """

    run: StreamRun
    bundles: tuple[tuple[int, Bundle], ...]
    drifts: tuple[Drift, ...]
    adaptations: tuple[Adaptation, ...]
    accepted_at: int | None

    def bundle_at(self, row: int) -> Bundle:
        """The bundle in force at a row."""
        return [bundle for start, bundle in self.bundles if start <= row][-1]


def run_course(scenario: Scenario, strategy: Strategy, parent: Bundle, out: Path, *, seed: int = 0) -> Outcome:
    """Run a scenario under a strategy.

    Args:
        parent: the bundle at the beginning.
        out: folder for the bundles that the strategy makes.
        seed: of trainings.
    """
    stream = MachineStream(parent, alarms=strategy.alarms, judges=strategy.judges)
    course = Course(scenario, parent, stream, out, seed)
    step = max(1, round(LOOK_EVERY_S / scenario.series.sampling_interval_s))
    for start in range(0, len(scenario.rows), step):
        rows = slice(start, start + step)
        emissions = stream.feed(scenario.rows[rows], scenario.times[rows])
        course.rows = stream.rows
        course.drifts += [emission.output for emission in emissions if isinstance(emission.output, Drift)]
        if strategy.takes_accept and course.accepted is None:
            _accept(course)
        strategy.look(course)
    bundles = [(0, parent)] + [(one.row, one.bundle) for one in course.adaptations if one.bundle is not None]
    return Outcome(
        stream.result(),
        tuple(bundles),
        tuple(course.drifts),
        tuple(course.adaptations),
        None if course.accepted is None else course.accepted[1],
    )


def _accept(course: Course) -> None:
    """The operator calls the new state normal, where the scenario says so, and an alarm or a drift has stood for long enough."""
    change = course.scenario.change
    if change is None or change.accept_after_s is None or course.rows <= change.row:
        return
    changed, alarm_since = int(course.scenario.times[change.row]), course.stream.open_since
    drift = course.open_drift
    latest = course.time - change.accept_after_s * 1e6
    stood_since = None if alarm_since is None else max(alarm_since, changed)
    is_told = drift is not None and max(int(course.scenario.times[drift.row]), changed) <= latest
    if is_told or (stood_since is not None and stood_since <= latest):
        drift_since = None if drift is None else drift.since
        course.accepted = (course.row_at(beginning_of(alert_us=stood_since, drift_us=drift_since)), course.rows)
        course.stream.command("accept", course.time)
