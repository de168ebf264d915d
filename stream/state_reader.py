"""Reads what the `state` topic holds of one partition, to its end."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence

import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from schemas.errors import InputError
from stream.settings import Settings, confluent_config
from stream.state import PROGRESS, snapshot_offset

log = structlog.get_logger(__name__)


class StateReader:
    """Restores partitions. Opens a client for each restore: rebalances are rare, idle clients are not free."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._topic = settings.topics.full_name("state")

    def committed(self, topic: str, partitions: Sequence[int]) -> dict[int, int | None]:
        """The group's committed offset of each partition; None where it has none."""
        if not partitions:
            return {}
        consumer = Consumer({**confluent_config(self._settings.kafka), "group.id": self._settings.kafka.group})
        try:
            asked = [TopicPartition(topic, partition) for partition in partitions]
            answers = consumer.committed(asked, timeout=self._settings.state.restore_timeout_s)
            for answer in answers:
                if answer.error:
                    raise KafkaException(answer.error)
            return {answer.partition: answer.offset if answer.offset >= 0 else None for answer in answers}
        finally:
            consumer.close()

    def read(self, partition: int, prefix: bytes) -> dict[bytes, bytes]:
        """Newest record of every key that starts with `prefix`, by the key's rest.

        Of two snapshots of one machine that with the higher input offset counts: a worker that lost its partition
        without noticing may have written an older one later.

        Raises:
            TimeoutError: the end was not reached in `state.restore_timeout_s`.
            InputError: the topic lacks the partition.
        """
        config = {
            **confluent_config(self._settings.kafka),
            "group.id": f"wheeltapper-restore-{uuid.uuid4()}",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
        }
        consumer = Consumer(config)
        newest: dict[bytes, bytes] = {}
        started = time.monotonic()
        try:
            consumer.assign([TopicPartition(self._topic, partition, OFFSET_BEGINNING)])
            while True:
                if time.monotonic() - started > self._settings.state.restore_timeout_s:
                    raise TimeoutError(
                        f"topic {self._topic} partition {partition}: its end was not reached in "
                        f"{self._settings.state.restore_timeout_s:g} s; raise state.restore_timeout_s or compact the topic"
                    )
                for message in consumer.consume(10_000, timeout=0.2):
                    error = message.error()
                    if error is not None:
                        if error.code() == KafkaError._PARTITION_EOF:
                            log.info(
                                "state restored",
                                partition=partition,
                                records=len(newest),
                                seconds=round(time.monotonic() - started, 2),
                            )
                            return newest
                        if error.code() in (
                            KafkaError._UNKNOWN_PARTITION,
                            KafkaError._UNKNOWN_TOPIC,
                            KafkaError.UNKNOWN_TOPIC_OR_PART,
                        ):
                            raise InputError(
                                f"topic {self._topic} has no partition {partition}; it needs as many as the input topic: "
                                "create it with 'wheeltapper topics create --partitions N'"
                            )
                        if not error.retriable() and error.fatal():
                            raise KafkaException(error)
                        continue
                    key, value = message.key() or b"", message.value()
                    if not key.startswith(prefix) or value is None:
                        continue
                    rest = key[len(prefix) :]
                    known = newest.get(rest)
                    if known is None or rest == PROGRESS or snapshot_offset(value) >= snapshot_offset(known):
                        newest[rest] = value
        finally:
            consumer.close()
