"""The direct runner: a confluent-kafka consume loop, with transactions where the broker has them.

A session lasts from subscribing to the first failure; a new one then starts from the last commit, so that a broker may
go away and come back at any time.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from wheeltapper.schemas.errors import InputError
from wheeltapper.stream.engine import Engine
from wheeltapper.stream.kafka_client import broker_answers, client_config
from wheeltapper.stream.kafka_errors import PublishError, refusal
from wheeltapper.stream.records import PartitionBatch
from wheeltapper.stream.runners.stopping import IdleClock
from wheeltapper.stream.settings import Settings

log = structlog.get_logger(__name__)

# How long one poll may wait for the first message: signals and commits are looked after in between.
POLL_S = 0.1

# A stream quiet for so long is snapshotted at once, so that a restart then has nothing to replay.
QUIET_S = 2.0

# After a failure; doubles up to the limit: a broker that is starting must not be hammered.
FIRST_BACKOFF_S, LONGEST_BACKOFF_S = 0.5, 10.0


class DirectRunner:
    """Runs one engine after the other until it is told to stop."""

    def __init__(
        self,
        settings: Settings,
        open_engine: Callable[[], Engine],
        *,
        stop: Callable[[], bool],
        until_idle_s: float | None = None,
    ) -> None:
        """
        Args:
            open_engine: gives a fresh engine with a started publisher; called for every session.
            stop: asked between batches.
            until_idle_s: end once the input has been read to its end and stayed quiet that long.
        """
        self._settings = settings
        self._open_engine = open_engine
        self._stop = stop
        self._until_idle_s = until_idle_s

    def run(self) -> None:
        """Work until stopped or idle.

        Raises:
            InputError: the broker refuses this client: credentials, rights, a topic that does not exist.
        """
        backoff_s = FIRST_BACKOFF_S
        while not self._stop():
            started = time.monotonic()
            engine: Engine | None = None
            session: _Session | None = None
            try:
                engine = self._open_engine()
                session = _Session(self._settings, engine)
                session.run(self._stop, self._until_idle_s)
                return
            except (KafkaException, PublishError, TimeoutError, _PartitionsLost) as error:
                if session is not None:
                    session.abandon()
                elif engine is not None:
                    engine.publisher.abandon()
                refused = refusal(error)
                if refused:
                    raise InputError(refused) from error
                if self._stop():
                    log.warning("stopped without a last commit; the next start repeats what follows", error=str(error))
                    return
                if time.monotonic() - started > 60:
                    backoff_s = FIRST_BACKOFF_S
                log.warning("starting again from the last commit", error=str(error), wait_s=backoff_s)
                self._pause(backoff_s)
                backoff_s = min(2 * backoff_s, LONGEST_BACKOFF_S)

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self._stop():
            time.sleep(POLL_S)


class _PartitionsLost(Exception):
    """The group went on without this worker: what it had not committed belongs to others now."""


class _Session:
    def __init__(self, settings: Settings, engine: Engine) -> None:
        kafka = settings.kafka
        self._settings = settings
        self._engine = engine
        self._idle = IdleClock()
        self._lost = False
        self._last_commit = time.monotonic()
        self._published = engine.publisher.published
        self._membership: object = None
        """The group's generation that gave the partitions: a later one must not vouch for what was read before."""
        self._consumer = Consumer(
            client_config(
                kafka,
                **{
                    "group.id": kafka.group,
                    "enable.auto.commit": False,
                    "enable.partition.eof": True,
                    "auto.offset.reset": "earliest",
                    "session.timeout.ms": kafka.session_timeout_ms,
                    "heartbeat.interval.ms": kafka.session_timeout_ms // 3,
                    "max.poll.interval.ms": kafka.max_poll_interval_ms,
                    "message.max.bytes": 100_000_000,
                    "receive.message.max.bytes": 200_000_000,
                },
            )
        )

    def run(self, stop: Callable[[], bool], until_idle_s: float | None) -> None:
        engine, settings = self._engine, self._settings.worker
        self._consumer.subscribe([engine.topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._gone)
        while not stop():
            wait_s = settings.alert_commit_interval_ms / 1000 if self._is_urgent else POLL_S
            batches = self._read(self._poll(wait_s))
            if self._lost:
                raise _PartitionsLost("partitions were given to another worker")
            if batches:
                engine.handle(batches)
            interval_ms = settings.alert_commit_interval_ms if self._is_urgent else settings.commit_interval_ms
            if (time.monotonic() - self._last_commit) * 1000 >= interval_ms:
                self._commit(everything=self._idle.idle_s() > QUIET_S)
            engine.progressed_at = time.monotonic()
            if (
                until_idle_s is not None
                and self._idle.idle_s() >= until_idle_s
                and broker_answers(self._settings.kafka)
            ):
                break
        self._commit(everything=True)
        self._consumer.close()

    @property
    def _is_urgent(self) -> bool:
        return self._engine.publisher.transactional and self._engine.alerts_pending

    def abandon(self) -> None:
        """Leave without a commit."""
        self._lost = (
            True  # closing revokes the partitions, and what a failure left half done must not be committed then
        )
        self._engine.publisher.abandon()
        with contextlib.suppress(KafkaException, RuntimeError):
            self._consumer.unsubscribe()
        with contextlib.suppress(KafkaException, RuntimeError):
            self._consumer.close()

    def _poll(self, wait_s: float) -> list[Message]:
        # consume() waits until its count is full or its time is up: taking what is there keeps the latency low.
        largest = self._settings.worker.max_batch_messages
        messages: list[Message] = self._consumer.consume(largest, timeout=0)
        if not messages:
            first = self._consumer.poll(wait_s)
            if first is not None:
                messages = [first, *self._consumer.consume(largest - 1, timeout=0)]
        return messages

    def _read(self, messages: list[Message]) -> list[PartitionBatch]:
        batches: dict[int, PartitionBatch] = {}
        for message in messages:
            error = message.error()
            if error is not None:
                self._note(error, message)
                continue
            partition = message.partition()
            batch = batches.get(partition)
            if batch is None:
                batch = batches[partition] = PartitionBatch(self._engine.topic, partition)
                self._idle.message(partition)
            batch.offsets.append(message.offset())
            batch.keys.append(message.key())
            batch.values.append(message.value())
            batch.headers.append(message.headers())
            batch.timestamps_ms.append(message.timestamp()[1])
        return list(batches.values())

    def _note(self, error: KafkaError, message: Message) -> None:
        if error.code() == KafkaError._PARTITION_EOF:
            self._idle.end(message.partition())
        elif refusal(KafkaException(error)) or error.fatal():
            raise KafkaException(error)
        else:
            log.info("kafka says", error=str(error))

    def _commit(self, *, everything: bool = False) -> None:
        engine = self._engine
        offsets = engine.prepare_commit(everything=everything)
        if engine.publisher.transactional:
            if offsets or engine.publisher.published != self._published:
                # With offsets, be they old ones: by them the broker sees whether this worker still has its part.
                offsets = {**engine.standing_offsets(), **offsets}
                positions = {TopicPartition(engine.topic, number): offset for number, offset in offsets.items()}
                engine.publisher.commit_transaction(positions, self._membership)
        elif offsets:
            commits = [TopicPartition(engine.topic, number, offset) for number, offset in offsets.items()]
            for result in self._consumer.commit(offsets=commits, asynchronous=False):
                if result.error:
                    raise KafkaException(result.error)
        engine.committed(offsets)
        self._published = engine.publisher.published
        self._last_commit = time.monotonic()

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        committed = self._engine.assign([tp.partition for tp in partitions])
        starts = [
            TopicPartition(tp.topic, tp.partition, OFFSET_BEGINNING if offset is None else offset)
            for tp in partitions
            for offset in (committed[tp.partition],)
        ]
        self._membership = consumer.consumer_group_metadata()
        consumer.assign(starts)
        self._idle.assign(tp.partition for tp in partitions)

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if self._lost:
            return
        self._commit(everything=True)
        self._engine.revoke(tp.partition for tp in partitions)
        self._idle.assign(())

    def _gone(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._lost = True
