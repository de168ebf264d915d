"""What an operator would see: alarms at a fixed level, which faults they meet, how late, and how many are false.

An alarm begins with the first row whose calibrated score reaches the raise level, and ends once the score has stayed
below the clear level for some rows: the rule by which the stream opens and clears alerts, with the same defaults.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wheeltapper.training.datasets.labels import runs

RAISE_LEVEL = 1.0
CLEAR_RATIO = 0.8
CLEAR_ROWS = 10
SECONDS_PER_DAY = 86_400.0


@dataclass(frozen=True)
class AlarmMetrics:
    """Alarms of one series against its labelled segments.

    Attributes:
        events: labelled segments; found: those during which an alarm was on.
        recall: found / events; None without events.
        delay_s: median over the found segments of the seconds from the segment's first row to the first row with an
            alarm on (0 where one was on already); None where nothing was found.
        alarms, false_alarms: alarms in all, and those that touch no labelled segment.
        false_alarms_per_day: false alarms by the days that the series lasts.
    """

    events: int
    found: int
    recall: float | None
    delay_s: float | None
    alarms: int
    false_alarms: int
    false_alarms_per_day: float


def alarm_spans(
    scores: np.ndarray,
    *,
    raise_level: float = RAISE_LEVEL,
    clear_ratio: float = CLEAR_RATIO,
    clear_rows: int = CLEAR_ROWS,
) -> list[tuple[int, int]]:
    """Alarms of [T] calibrated scores as (first row, row after the last one that was at or above the clear level)."""
    quiet = np.asarray(scores) < clear_ratio * raise_level
    # Rows after which an open alarm has cleared: the last of `clear_rows` quiet ones.
    clearing = [(start + clear_rows - 1, start) for start, stop in runs(quiet) if stop - start >= clear_rows]
    raising = np.flatnonzero(np.asarray(scores) >= raise_level)
    spans: list[tuple[int, int]] = []
    position = 0
    cleared_at = np.array([row for row, _ in clearing], dtype=np.int64)
    while position < len(raising):
        start = int(raising[position])
        index = int(np.searchsorted(cleared_at, start))
        if index == len(clearing):
            loud = np.flatnonzero(~quiet[start:])
            spans.append((start, start + int(loud[-1]) + 1))
            break
        cleared, quiet_from = clearing[index]
        spans.append((start, quiet_from))
        position = int(np.searchsorted(raising, cleared, side="right"))
    return spans


def alarm_metrics(labels: np.ndarray, scores: np.ndarray, sampling_interval_s: float) -> AlarmMetrics:
    """Judge [T] calibrated scores (1.0 is the alarm level) against [T] labels; see `AlarmMetrics`."""
    spans = alarm_spans(scores)
    segments = runs(labels)
    on = np.zeros(len(labels), dtype=bool)
    for start, stop in spans:
        on[start:stop] = True
    delays = []
    for start, stop in segments:
        during = np.flatnonzero(on[start:stop])
        if len(during):
            delays.append(int(during[0]) * sampling_interval_s)
    before = np.concatenate([[0], np.cumsum(labels != 0)])
    false_alarms = sum(1 for start, stop in spans if before[stop] == before[start])
    days = len(labels) * sampling_interval_s / SECONDS_PER_DAY
    return AlarmMetrics(
        events=len(segments),
        found=len(delays),
        recall=len(delays) / len(segments) if segments else None,
        delay_s=float(np.median(delays)) if delays else None,
        alarms=len(spans),
        false_alarms=false_alarms,
        false_alarms_per_day=false_alarms / days if days else 0.0,
    )
