"""Takes messages from Kafka, for both runners: by librdkafka, whose threads fetch and unpack beside Python's work.

What the client cannot read is read around, and becomes a flaw of its batch.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from itertools import groupby
from typing import TYPE_CHECKING, Any

import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from wheeltapper.stream.core.running import Call, running
from wheeltapper.stream.kafka_client import client_config
from wheeltapper.stream.kafka_errors import refusal
from wheeltapper.stream.kafka_headers import BadHeaders, bad_header, headers_of
from wheeltapper.stream.pace import MOST_BYTES
from wheeltapper.stream.records import Flaw, Headers, PartitionBatch
from wheeltapper.stream.runners.stopping import IdleClock
from wheeltapper.stream.settings import Settings

if TYPE_CHECKING:
    from wheeltapper.stream.partition import PartitionKey

log = structlog.get_logger(__name__)

# What is fetched and kept ahead of the work, beside what the client's queue takes in one fetch more. Records are unpacked when they
# come: compressed ones may be hundreds of times as large.
FETCH_BYTES = 512 * 1024
FETCH_BYTES_OF_PARTITION = 128 * 1024
QUEUE_KBYTES = 16 * 1024

# A broker that has less than this waits for more, as long as `worker.linger_ms` says: small answers cost the client, the broker
# and the worker's turn as much as large ones.
FEW_BYTES = 64 * 1024

# Taken out of the client's queue at a time, until so many bytes are together.
MESSAGES_AT_ONCE = 64

# A batch of fewer messages is looked after once more: the partitions of one fetch come one after the other.
FEW_MESSAGES = 500
SETTLE_S = 0.001

# A topic that is made anew has no rows for longer than this: the client backs off for 0.5 s from a partition that is not there.
PAUSE_S = 0.25

# How long the broker may take to say where a partition ends: it is asked only where a machine seems to be silent.
END_TIMEOUT_S = 3.0

# Of frames of records: librdkafka stays before one for ever.
UNREADABLE = {
    KafkaError._BAD_COMPRESSION, KafkaError._BAD_MSG, KafkaError._NOT_IMPLEMENTED, KafkaError._UNDERFLOW,
    KafkaError._CRIT_SYS_RESOURCE, KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_MSG, KafkaError.INVALID_MSG_SIZE,
}  # fmt: skip
# Such frames are logged at most so often; each is a dead letter.
NOTICE_S = 60.0


def consumer_of(settings: Settings) -> Consumer:
    """A client of the worker's group that commits nothing by itself and tells of each partition's end."""
    kafka = settings.kafka
    return Consumer(
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
                # So soon are partitions that were added noticed, and read.
                "topic.metadata.refresh.interval.ms": round(settings.input.check_interval_s * 1000),
                "fetch.error.backoff.ms": 500,  # PAUSE_S stands on it
                "receive.message.max.bytes": 200_000_000,
                "fetch.min.bytes": FEW_BYTES if settings.worker.linger_ms else 1,
                "fetch.wait.max.ms": settings.worker.linger_ms or 500,
                "fetch.max.bytes": FETCH_BYTES,
                "fetch.message.max.bytes": FETCH_BYTES_OF_PARTITION,
                "message.max.bytes": FETCH_BYTES,  # fetch.max.bytes is no less; the broker sends larger ones all the same
                "queued.max.messages.kbytes": QUEUE_KBYTES,
            },
        )
    )


class RowReader:
    """Messages of assigned partitions, as batches, and where the partitions end.

    Not to be called from two threads at a time; `is_at_end` may be asked from any.
    """

    def __init__(self, settings: Settings, topics: Collection[str], consumer: Consumer) -> None:
        """
        Args:
            topics: full names.
            consumer: of `consumer_of`; whoever made it subscribes and commits.
        """
        self._settings = settings
        self._topics = tuple(topics)
        self._consumer = consumer
        self._told_unreadable = -NOTICE_S
        self._waiting: list[Message] = []
        """Came while others were handled."""
        self._starts: Mapping[PartitionKey, int | None] = {}
        self._assignments = 0
        """Counts how often partitions came or went."""
        self._next: dict[PartitionKey, int] = {}
        """Partition -> offset behind the last message that was taken."""
        self._came: dict[PartitionKey, float] = {}
        """Partition -> monotonic time (s) when messages of it were last taken."""
        self.came_after_pause = False
        """True where what was read last may be of another topic than what was read before: librdkafka goes on in a topic that was made
        anew where it was in the old one, without a word."""
        self.idle = IdleClock()
        self.polled_at = time.monotonic()
        """When the client last heard from this worker; it leaves its group where that is too long ago."""

    def assign(self, starts: Mapping[PartitionKey, int | None]) -> None:
        """Read these partitions and no others from now on.

        Args:
            starts: offsets of their first messages; None: of all that there are.
        """
        self._assignments += 1
        self._starts = dict(starts)
        self._waiting.clear()
        self._consumer.assign(
            [
                TopicPartition(*partition, OFFSET_BEGINNING if offset is None else offset)
                for partition, offset in starts.items()
            ]
        )
        self._next.clear()
        self._came.clear()
        self.idle.assign(starts)

    def renew(self) -> None:
        """Go on with a new client that is assigned nothing yet, where this one is in no group.

        librdkafka keeps to the highest leader epoch that it has seen, and reads nothing of a broker that was restored from an older
        copy.
        """
        self.close()
        self._consumer = consumer_of(self._settings)

    def forget(self) -> None:
        """The partitions go to other workers: what came of them meanwhile is theirs to handle."""
        self._assignments += 1
        self._starts = {}
        self._waiting.clear()
        self._next.clear()
        self.idle.assign(())

    def close(self) -> None:
        """Leave the group, if the client is in one, and end the client."""
        with running(Call("kafka", "close")):
            self._consumer.close()

    def read(self, wait_s: float) -> list[PartitionBatch]:
        """What has been fetched, as far as it may be handled together.

        Args:
            wait_s: how long to wait where there is nothing.

        Raises:
            KafkaException: the broker refuses, or the client has failed for good.
        """
        # consume() waits until its count or time limit is reached: taking only available messages keeps latency low.
        self.polled_at = time.monotonic()
        messages, self._waiting = self._waiting, []
        before = self._assignments
        first = self._consumer.poll(0 if messages else wait_s)
        if not messages:
            before = self._assignments  # a message that comes alone comes after what the group told
        if first is not None:
            messages.append(first)
            messages += self._available(messages)
            if len(messages) < FEW_MESSAGES and self._settings.worker.linger_ms:
                time.sleep(SETTLE_S)
                messages += self._available(messages)
        if before != self._assignments:
            # Partitions came or went in one of the calls: messages from before may lie behind where reading starts now.
            if self._starts:
                self.assign(self._starts)
            return []
        return self._batches(messages) if messages else []

    def answer_group(self) -> None:
        """Let the group know that work goes on; to be called between steps, each of which handles at least one message."""
        self.polled_at = time.monotonic()
        message = self._consumer.poll(0)
        if message is not None:
            self._waiting.append(message)

    def is_behind(self) -> bool:
        """Whether more messages wait than are taken at a time, as far as the last fetches told; asks no broker."""
        waiting = 0
        for partition, offset in self._next.items():
            end = self._consumer.get_watermark_offsets(TopicPartition(*partition), cached=True)[1]
            waiting += max(0, end - offset)
            if waiting > self._settings.worker.max_batch_messages:
                return True
        return False

    def note_ends(self, ends: dict[PartitionKey, int], partitions: Collection[PartitionKey]) -> None:
        """Note where partitions end, for metrics, as the last fetches told: asks no broker."""
        for key in partitions:
            end = self._consumer.get_watermark_offsets(TopicPartition(*key), cached=True)[1]
            if end >= 0:
                ends[key] = end

    def is_read_to_end(self, partition: PartitionKey) -> bool:
        """Asked of the broker: no machine counts as silent while its rows wait, or while the broker is away."""
        end = self.idle.end_of(partition)
        if end is None:
            return False
        try:
            watermarks = self._consumer.get_watermark_offsets(TopicPartition(*partition), timeout=END_TIMEOUT_S)
        except KafkaException:
            return False
        return watermarks is not None and watermarks[1] <= end

    def _available(self, messages: list[Message]) -> list[Message]:
        """What the client has fetched, as far as it may be handled together with these."""
        found: list[Message] = []
        left, left_bytes = self._settings.worker.max_batch_messages - len(messages), MOST_BYTES
        while left > 0 and left_bytes > 0:
            asked = min(left, MESSAGES_AT_ONCE)
            taken: list[Message] = self._consumer.consume(asked, timeout=0)
            found += taken
            if len(taken) < asked:
                break
            left -= len(taken)
            left_bytes -= sum(map(len, taken))
        return found

    def _batches(self, messages: list[Message]) -> list[PartitionBatch]:
        headers = headers_of(messages)
        # Not compared: an error that is compared with None raises another.
        sound = all(error is None for error in map(Message.error, messages)) and BadHeaders not in map(type, headers)
        found = self._sound(messages, headers) if sound else self._with_care(messages, headers)
        now = time.monotonic()
        self.came_after_pause = False
        for batch in found:
            key = (batch.topic, batch.partition)
            self._next[key] = batch.offsets[-1] + 1
            self.came_after_pause = self.came_after_pause or now - self._came.get(key, -PAUSE_S) > PAUSE_S
            self._came[key] = now
        return found

    def _sound(self, messages: list[Message], headers: list[Any]) -> list[PartitionBatch]:
        """Messages without an error and with legible headers, as nearly all are: column by column, as each comes in runs of a partition."""
        partitions = list(map(Message.partition, messages))
        # Nearly always there is one topic: then no message need be asked for its own.
        several = len(self._topics) > 1
        places = list(zip(map(Message.topic, messages), partitions, strict=True)) if several else partitions
        offsets, keys = list(map(Message.offset, messages)), list(map(Message.key, messages))
        values = list(map(Message.value, messages))
        stamps = [stamp for _, stamp in map(Message.timestamp, messages)]
        batches: dict[PartitionKey, PartitionBatch] = {}
        start = 0
        for _, run in groupby(places):
            stop = start + len(list(run))
            key = (messages[start].topic(), partitions[start])
            batch = batches.get(key)
            if batch is None:
                batch = batches[key] = PartitionBatch(*key)
                self.idle.message(key)
            batch.offsets += offsets[start:stop]
            batch.keys += keys[start:stop]
            batch.values += values[start:stop]
            batch.headers += headers[start:stop]
            batch.timestamps_ms += stamps[start:stop]
            start = stop
        return list(batches.values())

    def _with_care(
        self, messages: list[Message], headers: Iterable[Headers | BadHeaders | None]
    ) -> list[PartitionBatch]:
        """Messages one by one: some are what the client has to say, or cannot be read."""
        batches: dict[PartitionKey, PartitionBatch] = {}
        read_around: set[PartitionKey] = set()
        for message, found in zip(messages, headers, strict=True):
            key = (message.topic(), message.partition())
            if key in read_around:
                continue  # comes again
            error = message.error()
            if error is not None:
                if error.code() in UNREADABLE and message.offset() >= 0:
                    self._read_around(message, batches)
                    read_around.add(key)
                else:
                    self._note(error, message)
                continue
            batch = batches.get(key)
            if batch is None:
                batch = batches[key] = PartitionBatch(*key)
                self.idle.message(key)
            batch.offsets.append(message.offset())
            batch.keys.append(message.key())
            batch.values.append(message.value())
            if isinstance(found, BadHeaders):
                batch.flaws[message.offset()] = Flaw(bad_header(found.name), message.offset())
                found = found.headers
            batch.headers.append(found)
            batch.timestamps_ms.append(message.timestamp()[1])
        return list(batches.values())

    def _read_around(self, message: Message, batches: dict[PartitionKey, PartitionBatch]) -> None:
        """What librdkafka cannot unpack is read without it, and then read over: it would try the same again for ever."""
        from wheeltapper.stream.runners.raw_frames import read_frame  # brings aiokafka, which is seldom needed

        topic, partition, offset = message.topic(), message.partition(), message.offset()
        batch = batches.get((topic, partition))
        found, following = read_frame(
            self._settings.kafka, topic, partition, offset, self._settings.worker.max_batch_messages
        )
        if time.monotonic() - self._told_unreadable >= NOTICE_S:
            self._told_unreadable = time.monotonic()
            log.warning(
                "a frame of records could not be unpacked by the client and is read around",
                topic=topic,
                partition=partition,
                offset=offset,
                read_on_from=following,
                error=message.error().str(),
            )
        if len(found):
            batches[topic, partition] = found if batch is None else batch.followed_by(found)
            self.idle.message((topic, partition))
        self._consumer.seek(TopicPartition(topic, partition, following))

    def _note(self, error: KafkaError, message: Message) -> None:
        if error.code() == KafkaError._PARTITION_EOF:
            self.idle.end((message.topic(), message.partition()), message.offset())
        elif refusal(KafkaException(error)) or error.fatal():
            raise KafkaException(error)
        else:
            log.info("kafka reports an error", error=str(error))
