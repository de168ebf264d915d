"""Reads the `alerts` topic as a subscriber does: committed messages only, no consumer group, nothing committed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from wheeltapper.kafka_admin import REACH_TIMEOUT_S, client_config, connect
from wheeltapper.schemas.codec import decode_message
from wheeltapper.schemas.errors import DecodeError, InputError
from wheeltapper.schemas.events import AlertEvent
from wheeltapper.stream.settings import Settings

# The end of the topic is a few fetches away; so long without a message means that the brokers are gone.
STALL_TIMEOUT_S = 30.0
_POLL_S = 0.2


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

    def __init__(self, settings: Settings, *, since_ms: int | None = None) -> None:
        """
        Args:
            since_ms: skip what was published earlier, milliseconds since 1970 UTC.

        Raises:
            InputError: the cluster does not answer, or has no such topic.
        """
        self._topic = settings.topics.full_name("alerts")
        self._since_ms = since_ms
        topic = connect(settings).list_topics(timeout=REACH_TIMEOUT_S).topics.get(self._topic)
        if topic is None:
            raise InputError(
                f"topic {self._topic} does not exist at {settings.kafka.brokers}, or the user may not see it; "
                "'wheeltapper topics create' makes it, --prefix or --config name another"
            )
        self._consumer = Consumer(
            client_config(
                settings,
                **{
                    "group.id": "wheeltapper-alerts",  # the client demands one; without subscribe and commit it is unused
                    "enable.auto.commit": False,
                    "enable.partition.eof": True,
                    "isolation.level": "read_committed",
                    "auto.offset.reset": "earliest",
                },
            )
        )
        self._partitions = sorted(topic.partitions)
        self._consumer.assign([TopicPartition(self._topic, number, start) for number, start in self._starts().items()])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._consumer.close()

    def read_to_end(self) -> list[ReceivedAlert]:
        """Everything that is there now, ordered by event time; a machine's own order stays.

        Raises:
            InputError: the brokers went away on the way.
        """
        # By the end that a fetch reports: the offsets that brokers tell otherwise are too low on some of them.
        unfinished = set(self._partitions)
        received: list[ReceivedAlert] = []
        last_progress = time.monotonic()
        while unfinished:
            messages = self._consumer.consume(1_000, timeout=_POLL_S)
            if messages:
                last_progress = time.monotonic()
            elif time.monotonic() - last_progress > STALL_TIMEOUT_S:
                raise InputError(
                    f"topic {self._topic}: nothing came for {STALL_TIMEOUT_S:.0f} s before its end; are the brokers up?"
                )
            for message in messages:
                if message.error() is not None:
                    self._check(message.error())
                    if message.error().code() == KafkaError._PARTITION_EOF:
                        unfinished.discard(message.partition())
                    continue
                received.extend(self._receive(message))
        # An unreadable message has no event time: it stays behind the one before it.
        keyed: list[tuple[int, ReceivedAlert]] = []
        for one in received:
            previous = keyed[-1][0] if keyed else 0
            keyed.append((previous if one.alert is None else one.alert.time, one))
        return [one for _, one in sorted(keyed, key=lambda pair: pair[0])]

    def follow(self) -> Iterator[ReceivedAlert | None]:
        """Alerts as they come, without end; None now and then, so that a caller can look at other things."""
        while True:
            messages = self._consumer.consume(1_000, timeout=_POLL_S)
            for message in messages:
                if message.error() is not None:
                    self._check(message.error())
                    continue
                yield from self._receive(message)
            yield None

    def _starts(self) -> dict[int, int]:
        if self._since_ms is None:
            return dict.fromkeys(self._partitions, OFFSET_BEGINNING)
        asked = [TopicPartition(self._topic, number, self._since_ms) for number in self._partitions]
        try:
            found = self._consumer.offsets_for_times(asked, timeout=REACH_TIMEOUT_S)
        except KafkaException as error:
            raise InputError(f"topic {self._topic}: the brokers do not tell offsets: {error.args[0].str()}") from error
        return {one.partition: one.offset for one in found}

    def _receive(self, message: Any) -> Iterator[ReceivedAlert]:
        published_ms = int(message.timestamp()[1])
        if self._since_ms is not None and published_ms < self._since_ms:
            return  # the embedded broker finds no offsets by time and starts at the beginning
        value = message.value() or b""
        where = f"{self._topic} [{message.partition()}] offset {message.offset()}"
        content_type = next((text for name, text in message.headers() or () if name == "content-type"), None)
        try:
            alert, problem = decode_message(AlertEvent, value, content_type), ""
        except DecodeError as error:
            alert, problem = None, str(error)
        yield ReceivedAlert(value, alert, problem, published_ms, where)

    def _check(self, error: KafkaError) -> None:
        if error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            raise InputError(f"topic {self._topic}: the user may not read it; give it READ on the topic")
        if error.fatal():
            raise KafkaException(error)
