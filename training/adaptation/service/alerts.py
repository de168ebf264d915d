"""What is known of machines' alerts: which are open, which rows lie under one, which of them an operator judged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from wheeltapper.schemas.commands import AlarmCommand
from wheeltapper.schemas.events import AlertEvent, ClearReason
from wheeltapper.schemas.machine_names import matches

# Of one machine; the oldest are forgotten. Rows that are trained on are weeks old at most.
MOST_ALERTS = 5_000

NO_DATA = "no-data"


@dataclass(slots=True)
class KnownAlert:
    """One alert.

    Attributes:
        opened_at, ended_at: event time (us); `ended_at` is None while it is open.
        published_us: when its opening was published, by the clock.
        reason: why it ended.
        verdict: what an operator said of it, 'confirm' or 'reject'; empty: nothing.
    """

    alert_id: str
    rule: str
    bundle: str
    opened_at: int
    published_us: int
    ended_at: int | None = None
    reason: ClearReason | None = None
    verdict: str = ""

    @property
    def is_open(self) -> bool:
        return self.ended_at is None


class AlertBook:
    """Alerts by machine, from the topics `alerts` and `alarm-commands`."""

    def __init__(self) -> None:
        self._machines: dict[str, dict[str, KnownAlert]] = {}

    def take(self, event: AlertEvent, published_us: int) -> KnownAlert | None:
        """Note a step of an alert's life; the alert, or None where it is about silence, not about rows.

        Args:
            published_us: when the event was published, microseconds by the clock.
        """
        if event.rule == NO_DATA:
            return None
        alerts = self._machines.setdefault(event.machine, {})
        alert = alerts.get(event.alert_id)
        if alert is None:
            alert = alerts[event.alert_id] = KnownAlert(
                event.alert_id, event.rule, event.bundle, event.opened_at, published_us
            )
            while len(alerts) > MOST_ALERTS:
                del alerts[next(iter(alerts))]
        if event.event == "cleared":
            alert.ended_at, alert.reason = event.time, event.reason
        return alert

    def judge(self, command: AlarmCommand) -> None:
        """Note what an operator said: of the named alert, else of each rule's open or last one."""
        for machine in [name for name in self._machines if matches(command.machine, name)]:
            for alert in self._meant(machine, command):
                alert.verdict = command.action

    def judge_by_labels(self, machine: str, verdicts: Mapping[str, str]) -> None:
        """Note what labels say of a machine's alerts (id -> 'confirm' or 'reject'); what a command said of one stays."""
        for alert in self.of(machine):
            alert.verdict = alert.verdict or verdicts.get(alert.alert_id, "")

    def of(self, machine: str) -> Iterator[KnownAlert]:
        """All alerts of a machine, the oldest first."""
        yield from self._machines.get(machine, {}).values()

    def open_alert(self, machine: str, rule: str) -> KnownAlert | None:
        """The open alert of a machine's rule; of any of its rules where `rule` is empty."""
        return next((alert for alert in self.of(machine) if alert.is_open and rule in ("", alert.rule)), None)

    def accepted_by(self, command: AlarmCommand) -> Iterator[tuple[str, KnownAlert]]:
        """(machine, alert) that an *accept* ends: of each rule that is meant, the last alert opened before it."""
        for machine in [name for name in self._machines if matches(command.machine, name)]:
            last = {
                alert.rule: alert
                for alert in self.of(machine)
                if alert.published_us <= command.at
                and command.rule in ("", alert.rule)
                and command.alert_id in ("", alert.alert_id)
            }
            for alert in last.values():
                if alert.is_open or alert.reason is ClearReason.ACCEPTED:
                    yield machine, alert

    def _meant(self, machine: str, command: AlarmCommand) -> list[KnownAlert]:
        if command.alert_id:
            return [alert for alert in self.of(machine) if alert.alert_id == command.alert_id]
        last: dict[str, KnownAlert] = {}
        for alert in self.of(machine):
            if command.rule in ("", alert.rule):
                last[alert.rule] = alert
        return list(last.values())
