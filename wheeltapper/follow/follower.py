"""Reads a topic as a subscriber does: committed messages only, no consumer group, nothing committed.

Everything that subscribes goes through it: `alerts`, `label`, the demo, training from labels.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from wheeltapper.kafka_admin import REACH_TIMEOUT_S, connect, quiet_client_config
from wheeltapper.schemas.errors import InputError
from wheeltapper.stream.settings import Settings
from wheeltapper.stream.topic_end import MESSAGES_AT_A_TIME, POLL_S, messages_to_end

# The end is a few fetches away; so long without a message means that the brokers are gone.
STALL_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class TopicRecord:
    """One message.

    Attributes:
        content_type: its header of that name.
        published_ms: when it was written, milliseconds since 1970 UTC (the record's timestamp).
        where: 'topic [partition] offset', for messages to a person.
    """

    value: bytes
    content_type: bytes | None
    published_ms: int
    where: str


class Follower:
    """One topic from its beginning, or from a moment on; a context manager, which closes its client."""

    def __init__(
        self,
        settings: Settings,
        name: str,
        *,
        since_ms: int | None = None,
        keep: Callable[[bytes], bool] = lambda key: True,
    ) -> None:
        """
        Args:
            name: of the topic, without prefix.
            since_ms: leave out what was published earlier, milliseconds since 1970 UTC.
            keep: by a message's key, whether it is wanted.

        Raises:
            InputError: the cluster does not answer, refuses, or has no such topic.
        """
        self._topic = settings.topics.full_name(name)
        self._since_ms = since_ms
        self._keep = keep
        # Of all topics: asked for by name, a missing one would be created by brokers that do so.
        found = connect(settings).list_topics(timeout=REACH_TIMEOUT_S).topics.get(self._topic)
        if found is None:
            raise InputError(
                f"topic {self._topic} does not exist at {settings.kafka.brokers}, or the user may not see it; "
                "'wheeltapper topics create' makes it, --prefix or --config name another"
            )
        self._partitions = sorted(found.partitions)
        self._consumer = Consumer(
            quiet_client_config(
                settings,
                **{
                    "group.id": "wheeltapper-follower",  # the client demands one; without subscribe and commit it is unused
                    "enable.auto.commit": False,
                    "enable.partition.eof": True,
                    "isolation.level": "read_committed",
                    "auto.offset.reset": "earliest",
                },
            )
        )
        try:
            self._consumer.assign(self._starts())
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the client."""
        self._consumer.close()

    def read_to_end(self) -> Iterator[TopicRecord]:
        """Everything that is there now, in order within a partition.

        Raises:
            InputError: no right to read it, or the brokers went away on the way.
        """
        progressed = time.monotonic()

        def wait() -> None:
            if time.monotonic() - progressed > STALL_TIMEOUT_S:
                raise InputError(
                    f"topic {self._topic}: nothing came for {STALL_TIMEOUT_S:.0f} s before its end; are the brokers up?"
                )

        unfinished = set(self._partitions)
        for message in messages_to_end(self._consumer, unfinished, on_wait=wait, on_error=self._check):
            progressed = time.monotonic()
            if self._is_wanted(message):
                yield self._record(message)

    def follow(self) -> Iterator[TopicRecord | None]:
        """Messages as they come, without end; None now and then, so that a caller can look at other things.

        Raises:
            InputError: no right to read it.
        """
        while True:
            for message in self._consumer.consume(MESSAGES_AT_A_TIME, timeout=POLL_S):
                if message.error() is not None:
                    if message.error().code() != KafkaError._PARTITION_EOF:
                        self._check(message.error(), message.partition())
                elif self._is_wanted(message):
                    yield self._record(message)
            yield None

    def _starts(self) -> list[TopicPartition]:
        if self._since_ms is None:
            return [TopicPartition(self._topic, number, OFFSET_BEGINNING) for number in self._partitions]
        asked = [TopicPartition(self._topic, number, self._since_ms) for number in self._partitions]
        try:
            return list(self._consumer.offsets_for_times(asked, timeout=REACH_TIMEOUT_S))
        except KafkaException as error:
            raise InputError(f"topic {self._topic}: the brokers do not tell offsets: {error.args[0].str()}") from error

    def _is_wanted(self, message: Any) -> bool:
        # The embedded broker finds no offsets by time and starts at the beginning.
        late_enough = self._since_ms is None or message.timestamp()[1] >= self._since_ms
        return late_enough and self._keep(message.key() or b"")

    def _record(self, message: Any) -> TopicRecord:
        content_type = next((text for name, text in message.headers() or () if name == "content-type"), None)
        where = f"{self._topic} [{message.partition()}] offset {message.offset()}"
        return TopicRecord(message.value() or b"", content_type, int(message.timestamp()[1]), where)

    def _check(self, error: KafkaError, partition: int) -> None:
        """Raise what waiting does not mend."""
        if error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            raise InputError(f"topic {self._topic}: the user may not read it; give it READ on the topic")
        if error.fatal():
            raise KafkaException(error)


def read_records(
    settings: Settings, name: str, *, since_ms: int | None = None, keep: Callable[[bytes], bool] = lambda key: True
) -> list[TopicRecord]:
    """All committed messages of a topic, in order within a partition; arguments and errors as for `Follower`."""
    with Follower(settings, name, since_ms=since_ms, keep=keep) as follower:
        return list(follower.read_to_end())
