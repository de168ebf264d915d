"""Which machines have drifted, and what an operator's *accept* is about: an open drift, or what has stood in an alert."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from wheeltapper.schemas.adaptation import DriftEvent
from wheeltapper.schemas.commands import AlarmCommand
from wheeltapper.schemas.machine_names import matches
from wheeltapper.training.adaptation.service.alerts import AlertBook, KnownAlert
from wheeltapper.training.adaptation.service.life import RowSource
from wheeltapper.training.adaptation.service.readiness import beginning_of


@dataclass(frozen=True, slots=True)
class AcceptedChange:
    """A change that an operator has accepted.

    Attributes:
        bundle: that serves. since: event time (us) of the change; seen_at: of the newest row that is known of.
        source: where the rows since then lie.
    """

    machine: str
    rule: str
    bundle: str
    since: int
    seen_at: int
    source: RowSource


class DriftBook:
    """Drifts that no adaptation has answered yet, from the topic `drift`."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, str], DriftEvent] = {}
        self._ended: dict[tuple[str, str], tuple[DriftEvent, int]] = {}
        """(machine, rule) -> the last drift that has ended, and when that was read, by the clock."""

    def take(self, event: DriftEvent, now_us: int) -> None:
        """Note a step of a drift."""
        place = (event.machine, event.rule)
        if event.event == "started":
            self._open[place] = event
        elif place in self._open:
            self._ended[place] = (self._open.pop(place), now_us)

    def answered(self, machine: str, rule: str) -> None:
        """A bundle was made of it."""
        self._open.pop((machine, rule), None)

    def accepted_by(self, command: AlarmCommand, alerts: AlertBook) -> Iterator[AcceptedChange]:
        """The changes that an *accept* calls normal, each from its beginning, see `beginning_of`.

        A worker ends a drift with the *accept*, and that may be read first: a drift that ended after the command was given
        is still meant.
        """
        drifts = {place: drift for place, (drift, at) in self._ended.items() if command.at <= at} | self._open
        meant = {
            place: drift
            for place, drift in drifts.items()
            if matches(command.machine, place[0]) and command.rule in ("", place[1]) and not command.alert_id
        }
        stood = {(machine, alert.rule): alert for machine, alert in alerts.accepted_by(command)}
        for place, alert in stood.items():
            drift = drifts.get(place)
            if drift is not None and drift.since == beginning_of(alert_us=alert.opened_at, drift_us=drift.since):
                yield _of_drift(drift)
            else:
                yield _of_alert(place, alert)
        for place, drift in meant.items():
            if place not in stood:
                yield _of_drift(drift)


def _of_drift(drift: DriftEvent) -> AcceptedChange:
    source = RowSource(drift.topic, drift.partition, drift.first_offset)
    return AcceptedChange(drift.machine, drift.rule, drift.bundle, drift.since, drift.time, source)


def _of_alert(place: tuple[str, str], alert: KnownAlert) -> AcceptedChange:
    source = RowSource(published_us=alert.published_us)
    return AcceptedChange(*place, alert.bundle, alert.opened_at, alert.opened_at, source)
