"""Reads the `alerts` topic: what the messages say, and which of them are no alerts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from wheeltapper.follow.follower import Follower, TopicRecord
from wheeltapper.schemas.codec import decode_message
from wheeltapper.schemas.errors import DecodeError
from wheeltapper.schemas.events import AlertEvent
from wheeltapper.schemas.topics import ALERTS
from wheeltapper.stream.settings import Settings


@dataclass(frozen=True, slots=True)
class ReceivedAlert:
    """One message of the topic.

    Attributes:
        value: the bytes as they came.
        alert: what they say; None where they are no alert, and then `problem` says why.
        published_ms: when it was written, milliseconds since 1970 UTC (the record's timestamp).
        where: 'topic [partition] offset', for messages to a person.
    """

    value: bytes
    alert: AlertEvent | None
    problem: str
    published_ms: int
    where: str


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

    def read_to_end(self) -> list[ReceivedAlert]:
        """Everything that is there now, ordered by event time; a machine's own order stays.

        Raises:
            InputError: the brokers went away on the way.
        """
        # An unreadable message has no event time: it stays behind the one before it.
        keyed: list[tuple[int, ReceivedAlert]] = []
        for record in self._follower.read_to_end():
            one = _received(record)
            previous = keyed[-1][0] if keyed else 0
            keyed.append((previous if one.alert is None else one.alert.time, one))
        return [one for _, one in sorted(keyed, key=lambda pair: pair[0])]

    def follow(self) -> Iterator[ReceivedAlert | None]:
        """Alerts as they come, without end; None now and then, so that a caller can look at other things."""
        for record in self._follower.follow():
            yield None if record is None else _received(record)


def _received(record: TopicRecord) -> ReceivedAlert:
    try:
        alert, problem = decode_message(AlertEvent, record.value, record.content_type), ""
    except DecodeError as error:
        alert, problem = None, str(error)
    return ReceivedAlert(record.value, alert, problem, record.published_ms, record.where)
