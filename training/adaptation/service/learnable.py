"""Which rows of a machine may be learnt, and whether a person must speak first.

A fault that lasts must not become the normal: rows under an alert and in maintenance are not learnt, and an adaptation waits while an
alert is open or where few channels alone have moved far, until an operator accepts the change.
"""

from __future__ import annotations

from wheeltapper.schemas.commands import AlarmCommand
from wheeltapper.schemas.machine_names import matches
from wheeltapper.training.adaptation.service.alerts import AlertBook
from wheeltapper.training.adaptation.service.life import Life
from wheeltapper.training.adaptation.service.presumed_normal import Span, spans_under_alerts


class LearnableRows:
    """What alerts and maintenance say of an adaptation's rows."""

    def __init__(self, alerts: AlertBook) -> None:
        self._alerts = alerts
        self._maintenance: list[tuple[str, Span]] = []

    def note_maintenance(self, command: AlarmCommand) -> None:
        """Take in a span of maintenance; one without a start or an end says nothing."""
        if command.start is not None and command.until is not None:
            self._maintenance.append((command.machine, (command.start, command.until - 1)))

    def doubt(self, life: Life) -> str:
        """Why an adaptation must wait, as the beginning of a sentence; empty where it need not."""
        if life.accepted_us is not None:
            return ""
        if life.local:
            return "a few channels alone moved far: it may be a fault that lasts; it goes on when"
        if self._is_under_alert(life):
            return "an alert is open: it may be a fault that lasts; it goes on when the alert has ended or"
        return ""

    def excluded(self, life: Life, margin_us: int) -> list[Span]:
        """Spans of event time whose rows must not be learned.

        Args:
            margin_us: length of the parent's window.
        """
        accepted = spans_under_alerts(
            self._alerts.of(life.machine), accepted=life.accepted_us is not None, margin_us=margin_us
        )
        maintenance = [span for pattern, span in self._maintenance if matches(pattern, life.machine)]
        return [*accepted, *maintenance, (-(2**63), life.since - 1)]

    def _is_under_alert(self, life: Life) -> bool:
        if self._alerts.open_alert(life.machine, life.rule) is not None:
            return True
        # The topic `alerts` may be behind the topic `drift`.
        ended = (
            alert.ended_at is not None and alert.ended_at >= life.asked_at
            for alert in self._alerts.of(life.machine)
            if alert.rule == life.rule
        )
        return life.alert_open and not any(ended)
