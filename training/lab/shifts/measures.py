"""What is measured of a course: alarms, faults told and missed, drifts, what was learnt, and how good the bundles are."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wheeltapper.schemas.bundle import Bundle
from wheeltapper.stream.core.policies import AlarmPolicy
from wheeltapper.stream.core.thresholds import SECONDS_PER_DAY
from wheeltapper.training.judging.metrics.ranking import auc_roc
from wheeltapper.training.judging.stream_run import Alarm, run_as_stream
from wheeltapper.training.lab.shifts.course import Outcome
from wheeltapper.training.lab.shifts.faults import CLEARANCE_ROWS, Fault
from wheeltapper.training.lab.shifts.scenarios import Scenario

WORSE_BY = 0.02
"""A bundle is worse than its parent where its AUROC is lower by more."""
LEAST_GAP = 0.02
"""Below it there is no gap between unadapted and target-trained of which a share could be named."""
_END_HOURS = 6.0
_HOUR_US = 3600e6


@dataclass(frozen=True)
class Half:
    """Alarms of the stream before the change, or after it.

    Attributes:
        days: it lasts.
        alarms: that opened in it; false_alarms: those of them that met no fault.
        faults: sparse ones and those of the data set.
        met: faults during which an alarm was open; told: faults with an alarm that opened in them or shortly before.
        on: share of rows without a fault that have an alarm open.
    """

    days: float
    alarms: int
    false_alarms: int
    faults: int
    met: int
    told: int
    on: float

    @property
    def alarms_per_day(self) -> float:
        return self.alarms / self.days

    @property
    def false_per_day(self) -> float:
        return self.false_alarms / self.days


@dataclass(frozen=True)
class Measured:
    """A course in numbers; None stands for what the scenario does not define.

    Attributes:
        before, after: the two halves.
        false_drifts: drifts said to have started where the machine had not changed; on_fault: of a lasting fault.
        unchanged_days: how long the machine was unchanged.
        drift_found: whether a drift was said, or the operator accepted, after the change of a machine that drifts; delay_h:
            hours from the change to whichever came first. An accept is a confirmed change: it ends the drift judge's search.
        alarm_delay_h: hours from the change to the first alarm that opened after it, or was open.
        accepted: whether the operator accepted.
        fault_shows: the unadapted score shows the lasting fault at the end, and would be low without it.
        adapted_away: it shows, and no alarm is open at the end.
        auroc: of the examination, by the bundle in force when it begins; auroc_parent by the first one.
        swaps: bundles that took over; worse: those with a lower AUROC than the bundle before them; refused: tries without one.
        seconds: of each adaptation.
        steps: of the ladder that took over, in order.
    """

    before: Half
    after: Half
    false_drifts: int
    drifts_on_fault: int
    unchanged_days: float
    drift_found: bool | None
    drift_delay_h: float | None
    alarm_delay_h: float | None
    accepted: bool
    fault_shows: bool | None
    adapted_away: bool | None
    auroc: float | None
    auroc_parent: float | None
    swaps: int
    worse: int
    refused: int
    seconds: tuple[float, ...]
    steps: tuple[str, ...]


def measure(scenario: Scenario, outcome: Outcome) -> Measured:
    """See `Measured`."""
    change, row = scenario.change, scenario.change_row
    fault = change is not None and change.is_fault
    started = [drift for drift in outcome.drifts if drift.event == "started"]
    early = [drift for drift in started if change is None or drift.row <= change.row]
    late = [drift for drift in started if change is not None and drift.row > change.row]
    drifts = change is not None and not fault
    known_at = [drift.row for drift in late] + ([] if outcome.accepted_at is None else [outcome.accepted_at])
    aurocs = [exam_auroc(scenario, bundle) for _, bundle in outcome.bundles]
    shows = _fault_shows(scenario, outcome.bundles[0][1]) if fault else None
    end = scenario.times[min(row, len(scenario.times) - 1)] if change else scenario.times[-1]
    length = end - scenario.times[0]
    in_force = sum(start <= scenario.exam.start for start, _ in outcome.bundles) - 1
    return Measured(
        before=_half(scenario, outcome, 0, row),
        after=_half(scenario, outcome, row, len(scenario.rows)),
        false_drifts=len(early),
        drifts_on_fault=len(late) if fault else 0,
        unchanged_days=float(length) / (SECONDS_PER_DAY * 1e6),
        drift_found=bool(known_at) if drifts else None,
        drift_delay_h=_hours(scenario, row, min(known_at)) if drifts and known_at else None,
        alarm_delay_h=_alarm_delay(scenario, outcome.run.alarms, row) if change is not None else None,
        accepted=outcome.accepted_at is not None,
        fault_shows=shows,
        adapted_away=None if shows is None else shows and not _open_at_end(outcome.run.alarms),
        auroc=aurocs[in_force],
        auroc_parent=aurocs[0],
        swaps=len(outcome.bundles) - 1,
        worse=sum(
            child is not None and parent is not None and child < parent - WORSE_BY
            for parent, child in itertools.pairwise(aurocs)
        ),
        refused=sum(one.bundle is None for one in outcome.adaptations),
        seconds=tuple(one.seconds for one in outcome.adaptations),
        steps=tuple(one.step for one in outcome.adaptations if one.bundle is not None),
    )


def exam_auroc(scenario: Scenario, bundle: Bundle) -> float | None:
    """AUROC of a bundle's raw scores on the examination's rows; None where they are of one class."""
    exam = scenario.exam
    run = run_as_stream(bundle, exam.rows, exam.times, alarms=AlarmPolicy(method="fixed"))
    return auc_roc(exam.labels, run.by_row(run.raw))


def recovered_share(parent: Sequence[float], adapted: Sequence[float], target: Sequence[float]) -> float | None:
    """Share of the AUROC gap between unadapted and target-trained that is recovered: of the summed gaps of those series that
    have one; None where none has.
    """
    triples = [triple for triple in zip(parent, adapted, target, strict=True) if triple[2] - triple[0] > LEAST_GAP]
    if not triples:
        return None
    return sum(child - low for low, child, _ in triples) / sum(high - low for low, _, high in triples)


def _half(scenario: Scenario, outcome: Outcome, start: int, stop: int) -> Half:
    alarms = outcome.run.alarms
    faults = [fault for fault in scenario.faults if start <= fault.start < stop]
    labels = scenario.labels
    faulty = np.concatenate([[0], np.cumsum(labels)])
    opened = [alarm for alarm in alarms if start <= alarm.rows.opened < stop]
    on = np.zeros(len(labels), dtype=bool)
    for alarm in alarms:
        on[alarm.rows.start : alarm.rows.stop] = True
    normal = labels[start:stop] == 0
    return Half(
        days=float(scenario.times[stop - 1] - scenario.times[start]) / (SECONDS_PER_DAY * 1e6),
        alarms=len(opened),
        false_alarms=sum(int(faulty[alarm.rows.stop] == faulty[alarm.rows.start]) for alarm in opened),
        faults=len(faults),
        met=sum(any(_meets(alarm, fault) for alarm in alarms) for fault in faults),
        told=sum(any(_tells(alarm, fault) for alarm in alarms) for fault in faults),
        on=float(on[start:stop][normal].mean()) if normal.any() else 0.0,
    )


def _meets(alarm: Alarm, fault: Fault) -> bool:
    return alarm.rows.start < fault.stop and alarm.rows.stop > fault.start


def _tells(alarm: Alarm, fault: Fault) -> bool:
    """An alarm that has been open for two days tells nobody anything of a new fault."""
    return fault.start - CLEARANCE_ROWS <= alarm.rows.opened < fault.stop


def _hours(scenario: Scenario, start: int, stop: int) -> float:
    last = len(scenario.times) - 1
    return float(scenario.times[min(stop, last)] - scenario.times[min(start, last)]) / _HOUR_US


def _alarm_delay(scenario: Scenario, alarms: Sequence[Alarm], row: int) -> float | None:
    later = [max(alarm.rows.opened, row) for alarm in alarms if alarm.rows.stop > row]
    return _hours(scenario, row, min(later)) if later else None


def _open_at_end(alarms: Sequence[Alarm]) -> bool:
    return bool(alarms) and alarms[-1].cleared_at is None


def _fault_shows(scenario: Scenario, parent: Bundle) -> bool:
    """Whether the unadapted score is above the alarm level at the end, most of the time, and below it without the fault."""
    rows = max(round(_END_HOURS * 3600 / scenario.series.sampling_interval_s), 1)
    start = max(0, len(scenario.rows) - rows - 2 * parent.manifest.rows_before_scoring)
    medians = []
    for values in (scenario.rows, scenario.unchanged):
        run = run_as_stream(parent, values[start:], scenario.times[start:], alarms=AlarmPolicy(method="fixed"))
        medians.append(float(np.median(run.by_row(run.calibrated)[-rows:])))
    return medians[0] >= 1.0 > medians[1]
