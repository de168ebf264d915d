"""Reads a topic once, from its beginning, or from a moment on, to its end."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from wheeltapper.kafka_admin import REACH_TIMEOUT_S, client_config
from wheeltapper.schemas.errors import InputError
from wheeltapper.stream.settings import Settings

# The end is a few fetches away; so long without a message means that the brokers are gone.
STALL_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class TopicRecord:
    """One message.

    Attributes:
        content_type: its header of that name.
        where: 'topic [partition] offset', for messages to a person.
    """

    value: bytes
    content_type: bytes | None
    where: str


def read_topic(settings: Settings, name: str) -> list[bytes]:
    """Values of all committed messages, in order within a partition.

    Raises:
        InputError: no such topic, no right to read it, or the brokers went away.
    """
    return [record.value for record in read_records(settings, name)]


def read_records(
    settings: Settings,
    name: str,
    *,
    since_ms: int | None = None,
    keep: Callable[[bytes], bool] = lambda key: True,
) -> list[TopicRecord]:
    """All committed messages, in order within a partition.

    Args:
        since_ms: leave out what was published earlier, milliseconds since 1970 UTC.
        keep: by a message's key, whether it is wanted; a message without a key is.

    Raises:
        InputError: no such topic, no right to read it, or the brokers went away.
    """
    topic = settings.topics.full_name(name)
    options = {
        "group.id": "wheeltapper-reader",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "isolation.level": "read_committed",
    }
    consumer = Consumer(client_config(settings, **options))
    try:
        unfinished = set(_partitions(consumer, topic, settings))
        consumer.assign(_starts(consumer, topic, unfinished, since_ms))
        records: list[TopicRecord] = []
        progressed = time.monotonic()
        while unfinished:
            if time.monotonic() - progressed > STALL_TIMEOUT_S:
                raise InputError(
                    f"topic {topic}: nothing came for {STALL_TIMEOUT_S:.0f} s before its end; are the brokers up?"
                )
            for message in consumer.consume(1_000, timeout=0.2):
                progressed = time.monotonic()
                error = message.error()
                if error is None:
                    # The embedded broker finds no offsets by time and starts at the beginning.
                    if (since_ms is None or message.timestamp()[1] >= since_ms) and keep(message.key() or b""):
                        records.append(_record(message))
                elif error.code() == KafkaError._PARTITION_EOF:
                    unfinished.discard(message.partition())
                elif error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                    raise InputError(f"topic {topic}: the user may not read it; give it READ on the topic")
                else:
                    raise KafkaException(error)
        return records
    finally:
        consumer.close()


def _partitions(consumer: Consumer, topic: str, settings: Settings) -> list[int]:
    try:
        # Of all topics: asked for by name, a missing one would be created by brokers that do so.
        found = consumer.list_topics(timeout=REACH_TIMEOUT_S).topics.get(topic)
    except KafkaException as error:
        raise InputError(f"topic {topic}: the brokers do not tell of it: {error.args[0].str()}") from error
    if found is None:
        raise InputError(
            f"topic {topic} does not exist at {settings.kafka.brokers}, or the user may not see it; "
            "'wheeltapper topics create' makes it, --prefix or --config name another"
        )
    return list(found.partitions)


def _starts(consumer: Consumer, topic: str, partitions: set[int], since_ms: int | None) -> list[TopicPartition]:
    if since_ms is None:
        return [TopicPartition(topic, number, OFFSET_BEGINNING) for number in partitions]
    asked = [TopicPartition(topic, number, since_ms) for number in partitions]
    try:
        return list(consumer.offsets_for_times(asked, timeout=REACH_TIMEOUT_S))
    except KafkaException as error:
        raise InputError(f"topic {topic}: the brokers do not tell offsets: {error.args[0].str()}") from error


def _record(message: Any) -> TopicRecord:
    content_type = next((text for name, text in message.headers() or () if name == "content-type"), None)
    where = f"{message.topic()} [{message.partition()}] offset {message.offset()}"
    return TopicRecord(message.value() or b"", content_type, where)
