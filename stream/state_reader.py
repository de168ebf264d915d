"""Reads what the `state` topic holds of one partition, to its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from wheeltapper.schemas.errors import InputError
from wheeltapper.stream.control.log import writes_of
from wheeltapper.stream.core.counters import count
from wheeltapper.stream.input_life import FoundInput
from wheeltapper.stream.input_watch import UNSUPPORTED, InputAsker
from wheeltapper.stream.kafka_client import client_config
from wheeltapper.stream.kafka_errors import refusal
from wheeltapper.stream.sealing import SealError, sealer_of
from wheeltapper.stream.settings import KafkaSettings, Settings
from wheeltapper.stream.state import CONTROL, PROGRESS, read_progress, snapshot_offset
from wheeltapper.stream.state_parts import PartReader
from wheeltapper.stream.topic_end import ASK_TIMEOUT_S, messages_to_end, retry_until

log = structlog.get_logger(__name__)

_T = TypeVar("_T")

MOST_TOLD = 20
"""Lines of one reason: a topic may hold hundreds of thousands of records."""


class StateReader:
    """Restores partitions. Opens a client for each restore: rebalances are rare, idle clients are not free."""

    def __init__(self, settings: Settings, stop: Callable[[], bool] = lambda: False) -> None:
        """
        Args:
            stop: asked while waiting; once it is true, a broker that does not answer is not waited for.
        """
        self._settings = settings
        self._topic = settings.topics.full_name("state")
        self._stop = stop
        self._sealer = sealer_of(settings.state)
        self.refused: dict[str, int] = {}
        """Counts records that were not used, by reason."""
        self.sets: dict[int, dict[bytes, tuple[int, int]]] = {}
        """Of the last `read`: partition -> `PartReader.sets`."""
        self.left_over: dict[int, list[bytes]] = {}
        """Of the last `read`: partition -> keys of parts that no record means."""
        self.counts: dict[str, int | None] = {}
        """Topic -> number of its partitions, as `found` saw it last."""

    def committed(self, topic: str, partitions: Sequence[int]) -> dict[int, int | None]:
        """The group's committed offset of each partition; None where it has none.

        Raises:
            TimeoutError: the broker did not tell in `state.restore_timeout_s`.
            KafkaException: it refuses to.
        """
        if not partitions:
            return {}
        kafka = self._settings.kafka
        consumer = Consumer(client_config(kafka, **{"group.id": kafka.group}))
        asked = [TopicPartition(topic, partition) for partition in partitions]

        def ask() -> list[TopicPartition]:
            answers = consumer.committed(asked, timeout=ASK_TIMEOUT_S)
            for answer in answers:
                if answer.error:
                    raise KafkaException(answer.error)
            return answers

        try:
            answers = self._restored(ask)
            return {answer.partition: answer.offset if answer.offset >= 0 else None for answer in answers}
        finally:
            consumer.close()

    def found(self, topic: str, partitions: Sequence[int]) -> dict[int, FoundInput]:
        """What the topic is now; without partitions that are not there, and of a broker that does not tell without any.

        The state topic is given the partitions that it lacks beside these.

        Raises:
            TimeoutError: the broker did not tell in `state.restore_timeout_s`.
            KafkaException: it refuses to.
            InputError: the state topic lacks partitions, and is not given them.
        """
        if not partitions:
            return {}
        asker = InputAsker(self._settings.kafka)
        self._grow(asker, max(partitions) + 1)
        positions = {(topic, number): 0 for number in partitions}
        try:
            look = self._restored(lambda: asker.look([topic], positions))
        except KafkaException as error:
            if error.args[0].code() in UNSUPPORTED:
                return {}
            raise
        self.counts = dict(look.counts)
        return {number: found for (_, number), found in look.found.items()}

    def grow(self, partitions: int) -> None:
        """Give the state topic so many partitions, where it has fewer.

        Raises:
            InputError: it is not given them.
        """
        self._grow(InputAsker(self._settings.kafka), partitions)

    def _grow(self, asker: InputAsker, partitions: int) -> None:
        try:
            there = self._restored(lambda: asker.partitions_of(self._topic))
        except KafkaException as error:
            if error.args[0].code() in UNSUPPORTED:
                return
            raise
        if there is not None and there < partitions:
            asker.grow(self._topic, partitions)
            log.warning(
                "the state topic was given partitions, one beside each of the input's",
                topic=self._topic,
                before=there,
                now=partitions,
            )

    def input_ends(self, topic: str, partitions: Collection[int]) -> dict[int, int]:
        """Offset of the next message of each input partition, as a fetch reports it.

        Raises:
            TimeoutError: the broker did not tell in `state.restore_timeout_s`.
            KafkaException: it refuses to.
        """
        ends: dict[int, int] = {}
        if not partitions:
            return ends
        deadline = time.monotonic() + self._settings.state.restore_timeout_s
        consumer = Consumer(reading_config(self._settings.kafka, "read_uncommitted"))
        try:
            starts = [TopicPartition(topic, number, self._end_told(consumer, topic, number)) for number in partitions]

            def look_up(_waited_s: float) -> None:
                self._check(deadline, f"the ends of topic {topic} partitions {sorted(waiting)} are not known")

            def is_end(end: Message) -> bool:
                ends[end.partition()] = end.offset()
                return True

            def judge(error: KafkaError, _partition: int) -> None:
                if error.fatal() or refusal(KafkaException(error)):
                    raise KafkaException(error)

            consumer.assign(starts)
            waiting = set(partitions)
            for _ in messages_to_end(consumer, waiting, on_turn=look_up, on_error=judge, is_end=is_end):
                pass
        finally:
            consumer.close()
        return ends

    def _end_told(self, consumer: Consumer, topic: str, number: int) -> int:
        """The end of a partition that the broker tells: too low on some brokers, never too high."""

        def ask() -> int:
            answer = consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=ASK_TIMEOUT_S)
            if answer is None:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
            return int(answer[1])

        return self._restored(ask)

    def _restored(self, ask: Callable[[], _T]) -> _T:
        """The answer, for which as long is waited as for the state itself."""
        deadline = time.monotonic() + self._settings.state.restore_timeout_s
        return retry_until(ask, lambda error: self._check(deadline, error.str()))

    def _check(self, deadline: float, waiting_for: str) -> None:
        if self._stop():
            raise TimeoutError(f"told to stop while restoring ({waiting_for})")
        if time.monotonic() > deadline:
            raise TimeoutError(
                f"state was not restored in {self._settings.state.restore_timeout_s:g} s ({waiting_for}); "
                "raise state.restore_timeout_s or compact the topic"
            )

    def read(self, committed: Mapping[int, int], prefix: bytes) -> dict[int, dict[bytes, bytes]]:
        """Newest record of every key that starts with `prefix`, by partition and the key's rest.

        Of two snapshots of one machine that with the higher input offset counts: a worker that lost its partition
        without noticing may have written an older one later.

        Args:
            committed: partition -> the group's committed offset. The state that belongs to a commit is there when the
                commit is, but a transaction that a killed worker left open may hide it: then its end is waited for.

        Raises:
            TimeoutError: the end was not reached in `state.restore_timeout_s`.
            InputError: the topic lacks a partition.
        """
        newest: dict[int, dict[bytes, bytes]] = {partition: {} for partition in committed}
        parts = {partition: PartReader() for partition in committed}
        self.sets = {partition: reader.sets for partition, reader in parts.items()}
        self.left_over = {partition: [] for partition in committed}
        waiting = set(committed)
        if not waiting:
            return newest
        consumer = Consumer(reading_config(self._settings.kafka, "read_committed"))
        deadline = time.monotonic() + self._settings.state.restore_timeout_s
        try:
            # Unasked, the client looks for the leaders 0.5 s later.
            self._restored(lambda: consumer.list_topics(self._topic, timeout=ASK_TIMEOUT_S))
            consumer.assign([TopicPartition(self._topic, partition, OFFSET_BEGINNING) for partition in waiting])

            def look_up(_waited_s: float) -> None:
                self._check(deadline, f"topic {self._topic} partitions {sorted(waiting)} were not read to their end")

            def is_end(end: Message) -> bool:
                progress = newest[end.partition()].get(PROGRESS, b"")
                return read_progress(progress) >= committed[end.partition()] or self._is_end(consumer, end)

            for message in messages_to_end(consumer, waiting, on_turn=look_up, on_error=self._judge, is_end=is_end):
                number, key = message.partition(), message.key() or b""
                if key.startswith(prefix):
                    whole = self.whole(parts[number], key, key[len(prefix) :], message.value(), number)
                    if whole is not None:
                        keep_newest(newest[number], *whole)
        finally:
            consumer.close()
        self.left_over = {number: reader.left_over() for number, reader in parts.items()}
        return newest

    def whole(
        self, parts: PartReader, key: bytes, rest: bytes, value: bytes | None, number: int
    ) -> tuple[bytes, bytes | None] | None:
        """Key and value of a record of ours that is sealed as it must be, and whole; None of others."""
        try:
            return parts.take(rest, None if value is None else self._sealer.open(key, number, value))
        except SealError as error:
            count(self.refused, "seal")
            if self.refused["seal"] <= MOST_TOLD:
                log.error(
                    "a record of the state is not used: whoever wrote it does not have our key (state.seal_key)",
                    partition=number,
                    key=key,
                    reason=str(error),
                )
        except ValueError as error:
            count(self.refused, "parts")
            if self.refused["parts"] <= MOST_TOLD:
                log.warning("a record of the state in parts is not used", partition=number, key=key, reason=str(error))
        return None

    def _is_end(self, consumer: Consumer, end: Message) -> bool:
        """False where records follow that an open transaction keeps from us."""
        highest = consumer.get_watermark_offsets(TopicPartition(self._topic, end.partition()), cached=True)[1]
        if highest <= end.offset():
            return True
        log.info("state is behind an open transaction, waiting for its end", partition=end.partition())
        return False

    def _judge(self, error: KafkaError, partition: int) -> None:
        """Raise what waiting does not mend."""
        if error.code() in (
            KafkaError._UNKNOWN_PARTITION,
            KafkaError._UNKNOWN_TOPIC,
            KafkaError.UNKNOWN_TOPIC_OR_PART,
        ):
            raise InputError(
                f"topic {self._topic} has no partition {partition}; it needs as many as the input topic: create it with "
                "'wheeltapper topics create --partitions N'"
            )
        if error.fatal() or refusal(KafkaException(error)):
            raise KafkaException(error)


def keep_newest(known: dict[bytes, bytes], rest: bytes, value: bytes | None) -> None:
    """Take a record in among those that are known, by the rest of their keys, unless it is older."""
    if value is None:
        known.pop(rest, None)
    elif rest not in known or rest == PROGRESS or _age(rest, value) >= _age(rest, known[rest]):
        known[rest] = value


def reading_config(kafka: KafkaSettings, isolation: str) -> dict[str, Any]:
    """Of a client that reads partitions to their ends."""
    return client_config(
        kafka,
        **{
            "group.id": kafka.group,  # named only: nothing is joined or committed
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": isolation,
            "auto.offset.reset": "earliest",
            # An empty partition answers only after this: it is most of what a restore takes.
            "fetch.wait.max.ms": 50,
        },
    )


def _age(rest: bytes, value: bytes) -> int:
    """Rises with every record of the same key, whoever wrote it."""
    return writes_of(value) if rest == CONTROL else snapshot_offset(value)
