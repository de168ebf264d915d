"""What a run's alerts were worth against the labels of its series: the numbers at the end of `demo`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from wheeltapper.schemas.events import AlertEvent

if TYPE_CHECKING:
    from wheeltapper.training.datasets.series import LabelledSegment, SensorSeries

MICROS_PER_DAY = 86_400_000_000


@dataclass(frozen=True)
class RuleSummary:
    """One rule's alerts against the labels.

    Attributes:
        alerts: opened. false_alarms: those that touch no labelled event.
        events, events_found: labelled events, and those that some alert touches.
        median_delay_s: from an event's first row to the first alert of it; None where none was found.
        channel_hits: found events whose first alert blames a labelled channel first; channel_events: those with labels.
    """

    rule: str
    alerts: int
    false_alarms: int
    false_alarms_per_day: float
    events: int
    events_found: int
    median_delay_s: float | None
    channel_hits: int
    channel_events: int


def summarise(series: SensorSeries, events: Iterable[AlertEvent]) -> list[RuleSummary]:
    """Judge each rule's alerts; an alert lasts from its opening to its clearing, or to the end of the data."""
    by_rule: dict[str, dict[str, list[AlertEvent]]] = {}
    for event in events:
        by_rule.setdefault(event.rule, {}).setdefault(event.alert_id, []).append(event)
    return [_judge(series, rule, list(alerts.values())) for rule, alerts in sorted(by_rule.items())]


def _judge(series: SensorSeries, rule: str, alerts: Sequence[Sequence[AlertEvent]]) -> RuleSummary:
    times = series.test_ts
    days = max(float(times[-1] - times[0]) / MICROS_PER_DAY, 1e-9)
    spans = []
    for steps in alerts:
        cleared = [step.time for step in steps if step.event == "cleared"]
        spans.append((steps[0].opened_at, cleared[0] if cleared else int(times[-1]), steps[0]))
    touched: set[str] = set()
    delays: list[float] = []
    hits = with_channels = 0
    for segment in series.segments:
        start, end = int(times[segment.start]), int(times[segment.stop - 1])
        inside = [span for span in spans if span[0] <= end and span[1] >= start]
        if not inside:
            continue
        touched.update(span[2].alert_id for span in inside)
        first = min(inside, key=lambda span: span[0])
        delays.append(max(0.0, (first[0] - start) / 1e6))
        if segment.channels:
            with_channels += 1
            hits += _blames(first[2], segment, series)
    return RuleSummary(
        rule=rule,
        alerts=len(spans),
        false_alarms=len(spans) - len(touched),
        false_alarms_per_day=(len(spans) - len(touched)) / days,
        events=len(series.segments),
        events_found=len(delays),
        median_delay_s=float(np.median(delays)) if delays else None,
        channel_hits=hits,
        channel_events=with_channels,
    )


def _blames(alert: AlertEvent, segment: LabelledSegment, series: SensorSeries) -> bool:
    labelled = {series.channels[column] for column in segment.channels}
    return bool(alert.channels) and alert.channels[0].channel in labelled
