"""One adaptation worker works at a time: the member of the group that has the partition of `alarm-commands`.

Others of the group wait, and one of them goes on where it ended. Offsets of `drift` and `alarm-commands` are committed here;
the messages themselves are read elsewhere, from the beginning, as much of the past must be known.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Self

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.topics import ALARM_COMMANDS
from wheeltapper.stream.kafka_client import client_config
from wheeltapper.stream.kafka_errors import refusal
from wheeltapper.stream.settings import Settings
from wheeltapper.stream.topic_end import ASK_TIMEOUT_S, retry_until
from wheeltapper.training.adaptation.service.life import InputPosition

log = structlog.get_logger(__name__)

ANSWER_TIMEOUT_S = 30.0
# A commit that did not go out is made again with the next; so long without one is worth a line in the log.
COMMIT_NOTICE_S = 60.0


class SeatLostError(Exception):
    """Another adaptation worker of the group works by now."""


class Seat:
    """Membership of the group; closes its client at the end of `with`."""

    def __init__(self, settings: Settings, group: str) -> None:
        """
        Raises:
            KafkaException: settings that make no client.
        """
        self._topic = settings.topics.full_name(ALARM_COMMANDS)
        self._group = group
        self._mine = False
        self._lost = False
        self._committed: dict[tuple[str, int], int] = {}
        self._consumer = Consumer(
            client_config(
                settings.kafka,
                **{
                    "group.id": group,
                    "enable.auto.commit": False,
                    "auto.offset.reset": "earliest",
                    # A second member must not take the partition away from the first, not even for a moment.
                    "partition.assignment.strategy": "cooperative-sticky",
                    "session.timeout.ms": settings.kafka.session_timeout_ms,
                    "max.poll.interval.ms": settings.kafka.max_poll_interval_ms,
                },
            )
        )
        self._consumer.subscribe(
            [self._topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._revoked
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._consumer.close()

    def take(self, stop: Callable[[], bool]) -> bool:
        """Wait until it is ours; False where `stop` became true before.

        Raises:
            InputError: the broker refuses the group.
        """
        told = time.monotonic()
        while not self._mine and not stop():
            self._poll(0.2)
            if time.monotonic() - told > 15.0:
                told = time.monotonic()
                log.info("waiting for the group: another adapt-worker may be at work", group=self._group)
        return self._mine

    def keep(self) -> None:
        """To be called often: says that this worker lives.

        Raises:
            SeatLostError: another worker has it.
        """
        self._poll(0.0)
        if self._lost or not self._mine:
            raise SeatLostError(f"group {self._group}: another adapt-worker has taken over, or this one was too slow")

    def committed(self, topic: str, partitions: Iterable[int]) -> dict[int, int]:
        """The group's offset of each partition, 0 where it has none.

        Raises:
            InputError: the broker does not tell.
        """
        asked = [TopicPartition(topic, number) for number in partitions]
        deadline = time.monotonic() + ANSWER_TIMEOUT_S

        def check(error: KafkaError) -> None:
            if time.monotonic() > deadline:
                raise InputError(
                    f"group {self._group}: the broker does not tell its offsets ({error.str()}); is it up?"
                )

        answers = retry_until(lambda: self._consumer.committed(asked, timeout=ASK_TIMEOUT_S), check)
        return {answer.partition: max(answer.offset, 0) for answer in answers}

    def commit(self, read: Mapping[tuple[str, int], int], held: Iterable[InputPosition]) -> None:
        """Commit how far the topics were read, short of requests that have no outcome yet.

        Args:
            read: (topic, partition) -> offset of the next message.
        """
        lowest = dict(read)
        for hold in held:
            place = (hold.topic, hold.partition)
            lowest[place] = min(lowest.get(place, hold.offset), hold.offset)
        moved = {place: offset for place, offset in lowest.items() if self._committed.get(place) != offset}
        if not moved:
            return
        try:
            positions = [TopicPartition(topic, partition, offset) for (topic, partition), offset in moved.items()]
            self._consumer.commit(offsets=positions, asynchronous=False)
        except KafkaException as error:
            # What is not committed is read again after a restart, and known from the topic `adaptations`.
            log.warning("offsets were not committed", group=self._group, error=error.args[0].str())
            return
        self._committed.update(moved)

    def _poll(self, timeout_s: float) -> None:
        message = self._consumer.poll(timeout_s)
        if message is not None and message.error() is not None:
            advice = refusal(KafkaException(message.error()))
            if advice:
                raise InputError(advice)

    def _assigned(self, consumer: Any, partitions: list[TopicPartition]) -> None:
        if partitions:
            self._mine = True
            consumer.incremental_assign(partitions)
            consumer.pause(partitions)

    def _revoked(self, consumer: Any, partitions: list[TopicPartition]) -> None:
        if partitions:
            self._lost = self._mine
            consumer.incremental_unassign(partitions)
