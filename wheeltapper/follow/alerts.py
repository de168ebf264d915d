"""Reads the `alerts` topic in the order of event time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

from wheeltapper.follow.follower import Follower
from wheeltapper.follow.messages import Received, received
from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.events import AlertEvent
from wheeltapper.schemas.machine_names import matches
from wheeltapper.schemas.text import did_you_mean, first_names
from wheeltapper.schemas.topics import ALERTS
from wheeltapper.stream.settings import Settings


class AlertReader:
    """All alerts from the beginning, or from a moment on; then, if wanted, those to come."""

    def __init__(
        self, settings: Settings, *, since_ms: int | None = None, tell: Callable[[str], None] = lambda text: None
    ) -> None:
        """Arguments and errors as for `Follower`."""
        self._follower = Follower(settings, ALERTS, since_ms=since_ms, tell=tell)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._follower.close()

    def read_to_end(self) -> list[Received[AlertEvent]]:
        """Everything that is there now, ordered by event time; a machine's own order stays.

        Raises:
            InputError: the brokers went away on the way.
        """
        # An unreadable message has no event time: it stays behind the one before it.
        keyed: list[tuple[int, Received[AlertEvent]]] = []
        for record in self._follower.read_to_end():
            one = received(AlertEvent, record)
            previous = keyed[-1][0] if keyed else 0
            keyed.append((previous if one.message is None else one.message.time, one))
        return [one for _, one in sorted(keyed, key=lambda pair: pair[0])]

    def follow(self) -> Iterator[Received[AlertEvent] | None]:
        """Alerts as they come, without end; None now and then, so that a caller can look at other things."""
        for record in self._follower.follow():
            yield None if record is None else received(AlertEvent, record)


SHORTEST_ID = 6
"""Characters of the beginning of an alert's id that name it."""


def find_alert(
    settings: Settings, name: str, *, machines: str = "*", tell: Callable[[str], None]
) -> tuple[AlertEvent, AlertEvent]:
    """First and last event of an alert that a bundle raised.

    Args:
        name: its id, or the beginning of one that no other begins with; or a machine: its open alert, else its last.
        machines: name or pattern of the machines that matter.

    Raises:
        InputError: none, or several; or as `AlertReader`.
    """
    with AlertReader(settings, tell=tell) as reader:
        known = [one.message for one in reader.read_to_end() if one.message is not None]
    alerts: dict[str, list[AlertEvent]] = {}
    for event in known:
        if event.bundle and matches(machines, event.machine):
            alerts.setdefault(event.alert_id, []).append(event)
    if name in alerts:
        return alerts[name][0], alerts[name][-1]
    found = [events for ident, events in alerts.items() if len(name) >= SHORTEST_ID and ident.startswith(name)]
    if not found:
        mine = [events for events in alerts.values() if events[0].machine == name]
        found = [events for events in mine if events[-1].event != "cleared"] or mine[-1:]
    if len(found) > 1:
        rules = first_names(sorted({events[0].rule for events in found}))
        raise InputError(f"--alert '{name}': {len(found)} alerts are meant, of rules {rules}; give more of an id")
    if not found:
        hint = did_you_mean(name, {events[0].machine for events in alerts.values()})
        raise InputError(
            f"--alert '{name}': no alert's id begins so, and no machine with alerts is called so; 'wheeltapper alerts --json' "
            f"shows both{hint}"
        )
    return found[0][0], found[0][-1]
