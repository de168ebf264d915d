"""NO_DATA: a machine that falls silent opens an alert by the wall clock, and clears it when it speaks again.

Silence is counted only while the machine's partition has been read to its end: a worker that is behind, or a broker that is
away, silences no machine. The alert's id follows from the machine and the event time of its last row, so that a repeated alert
keeps its id.
"""

from __future__ import annotations

from wheeltapper.schemas.clock import MAX_MICROS
from wheeltapper.schemas.events import AlertEvent, ClearReason
from wheeltapper.stream.core.alert_life import alert_id, severity_of
from wheeltapper.stream.outgoing import short
from wheeltapper.stream.settings import NoDataSettings

RULE = "no-data"


def allowed_silence_s(settings: NoDataSettings, interval_us: int) -> float:
    """Seconds after which a machine with this sampling interval counts as silent."""
    return max(settings.at_least_s, settings.after_intervals * interval_us / 1e6)


def start_of_silence(machine: str, last_time: int, silent_s: float, allowed_s: float) -> AlertEvent:
    """The 'opened' of a machine whose last row has event time `last_time` (us); the score is silence over allowed silence."""
    score = short(silent_s / allowed_s)
    return _event(machine, "opened", last_time, last_time + round(allowed_s * 1e6), score, None)


def end_of_silence(machine: str, last_time: int, time: int, reason: ClearReason) -> AlertEvent:
    """The 'cleared': a row of event time `time` (us) came, or nobody waits for one any more."""
    return _event(machine, "cleared", last_time, max(time, last_time), 0.0, reason)


def _event(machine: str, event: str, last_time: int, time: int, score: float, reason: ClearReason | None) -> AlertEvent:
    return AlertEvent(
        alert_id=alert_id(machine, RULE, "", last_time),
        machine=machine,
        event="opened" if event == "opened" else "cleared",
        opened_at=last_time,
        time=min(time, MAX_MICROS),
        severity=severity_of(1.0),
        score=score,
        peak_score=max(score, 1.0),
        threshold=1.0,
        rule=RULE,
        detector=RULE,
        bundle="",
        quality=0.0,
        channels=(),
        reason=reason,
    )
