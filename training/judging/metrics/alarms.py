"""Metrics of alarms: which faults they find, how late, and how many alarms are false.

The alarms themselves come from a run of the stream's own code (`wheeltapper.training.judging.stream_run`), or from
`wheeltapper.stream.core.alert_life.alert_spans` where there are scores alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from wheeltapper.stream.core.alert_life import runs
from wheeltapper.stream.core.thresholds import SECONDS_PER_DAY

# An alarm that opened no more rows before a segment tells of it.
TOLD_ROWS = 30


class AlarmRows(NamedTuple):
    """Rows of one alarm.

    Attributes:
        start: the row that it dates from: the first at or above the raise level of the run that opened it.
        opened: the row with which it opened; later than `start` where several windows in a row are asked for.
        stop: the row behind the last one at or above the clear level.
    """

    start: int
    opened: int
    stop: int


@dataclass(frozen=True)
class AlarmMetrics:
    """Alarms of one series against its labelled segments.

    Attributes:
        events: labelled segments; found: those during which an alarm was on.
        recall: found / events; None without events.
        delay_s: median over the found segments of the seconds from the segment's first row to the first row with an
            open alarm (0 where one was open already); None where nothing was found.
        alarms, false_alarms: alarms in all, and those that touch no labelled segment.
        false_alarms_per_day: false alarms by the days that the series lasts.
        told: segments in which an alarm opened, or at most `TOLD_ROWS` rows before, by all segments: an alarm that has been on
            for days finds a fault and tells nobody. None without events.
        on: share of the rows outside of segments with an alarm on; None where there are no such rows.
    """

    events: int
    found: int
    recall: float | None
    delay_s: float | None
    alarms: int
    false_alarms: int
    false_alarms_per_day: float
    told: float | None
    on: float | None


def alarm_metrics(labels: np.ndarray, alarms: Sequence[AlarmRows], sampling_interval_s: float) -> AlarmMetrics:
    """Judge alarms, in order, against [T] labels; see `AlarmMetrics`."""
    segments = runs(labels)
    delays = []
    for start, stop in segments:
        opened = [alarm.opened for alarm in alarms if alarm.start < stop and alarm.stop > start]
        if opened:
            delays.append(max(0, min(opened) - start) * sampling_interval_s)
    told = sum(1 for start, stop in segments if any(start - TOLD_ROWS <= alarm.opened < stop for alarm in alarms))
    covered = np.zeros(len(labels), dtype=bool)
    for alarm in alarms:
        covered[alarm.start : alarm.stop] = True
    normal = np.asarray(labels) == 0
    before = np.concatenate([[0], np.cumsum(labels != 0)])
    false_alarms = sum(1 for alarm in alarms if before[alarm.stop] == before[alarm.start])
    days = len(labels) * sampling_interval_s / SECONDS_PER_DAY
    return AlarmMetrics(
        events=len(segments),
        found=len(delays),
        recall=len(delays) / len(segments) if segments else None,
        delay_s=float(np.median(delays)) if delays else None,
        alarms=len(alarms),
        false_alarms=false_alarms,
        false_alarms_per_day=false_alarms / days if days else 0.0,
        told=told / len(segments) if segments else None,
        on=float(covered[normal].mean()) if normal.any() else None,
    )
