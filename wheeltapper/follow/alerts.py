"""Reads the `alerts` topic in the order of event time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

from wheeltapper.follow.follower import Follower
from wheeltapper.follow.messages import Received, received
from wheeltapper.schemas.events import AlertEvent
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
