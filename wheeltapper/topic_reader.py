"""Reads a topic once, from its beginning to its end."""

from __future__ import annotations

import time

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from schemas.errors import InputError
from stream.settings import Settings
from wheeltapper.kafka_admin import client_config

# The end is a few fetches away; so long without a message means that the brokers are gone.
STALL_TIMEOUT_S = 30.0


def read_topic(settings: Settings, name: str) -> list[bytes]:
    """Values of all committed messages, in order within a partition.

    Raises:
        InputError: no such topic, or the brokers went away.
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
        unfinished = set(consumer.list_topics(topic, timeout=10.0).topics[topic].partitions)
        consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in unfinished])
        values: list[bytes] = []
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
                    values.append(message.value() or b"")
                elif error.code() == KafkaError._PARTITION_EOF:
                    unfinished.discard(message.partition())
                else:
                    raise KafkaException(error)
        return values
    finally:
        consumer.close()
