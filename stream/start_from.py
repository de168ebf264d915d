"""`worker --from`: reading the input again on purpose, or leaving some of it out, before any worker of the group starts.

The group's offset is set and the state told that a new life of each partition begins there: rows that were handled already are
handled again. A restart that follows goes on where the worker was, not here again.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from wheeltapper.schemas.clock import micros_from_iso
from wheeltapper.schemas.errors import InputError
from wheeltapper.stream.input_life import FoundInput, InputLife, known_input, next_life
from wheeltapper.stream.kafka_client import client_config
from wheeltapper.stream.kafka_errors import refusal
from wheeltapper.stream.partition import state_prefix
from wheeltapper.stream.publisher import Publisher
from wheeltapper.stream.records import Output
from wheeltapper.stream.settings import Settings
from wheeltapper.stream.state import PROGRESS, progress_record
from wheeltapper.stream.state_reader import StateReader

log = structlog.get_logger(__name__)

# A killed worker is a member of its group until its session has timed out; longer than that, there is another one.
PATIENCE_FACTOR = 2.5
RETRY_S = 0.5

# The broker sets no offset from outside while the group has members.
BUSY = {KafkaError.UNKNOWN_MEMBER_ID, KafkaError.ILLEGAL_GENERATION, KafkaError.REBALANCE_IN_PROGRESS}


@dataclass(frozen=True, slots=True)
class StartFrom:
    """Where to read from: one of the attributes says.

    Attributes:
        end: 'earliest' or 'latest'; '': neither.
        time_ms: of records' own timestamps, milliseconds UTC.
        offsets: by partition; of other partitions nothing changes.
    """

    end: str = ""
    time_ms: int | None = None
    offsets: tuple[tuple[int, int], ...] = ()


def parse_start(word: str) -> StartFrom:
    """'earliest', 'latest', a time in ISO 8601, or PARTITION:OFFSET[,PARTITION:OFFSET..].

    Raises:
        InputError: none of these.
    """
    if word in ("earliest", "latest"):
        return StartFrom(end=word)
    if re.fullmatch(r"\d+:\d+(,\d+:\d+)*", word):
        pairs = [pair.split(":") for pair in word.split(",")]
        return StartFrom(offsets=tuple((int(number), int(offset)) for number, offset in pairs))
    try:
        return StartFrom(time_ms=micros_from_iso(word) // 1000)
    except ValueError as error:
        raise InputError(
            f"--from {word}: expected earliest, latest, a time such as 2026-03-01T06:00:00Z, or PARTITION:OFFSET"
        ) from error


def read_from(settings: Settings, topics: Sequence[str], start: StartFrom) -> None:
    """Set where the group reads these input topics (full names) from.

    Raises:
        InputError: another worker of the group is at work, or a partition is not there.
        KafkaException, TimeoutError: the broker does not answer, or refuses.
    """
    reader = StateReader(settings)
    consumer = Consumer(
        client_config(settings.kafka, **{"group.id": settings.kafka.group, "enable.auto.commit": False})
    )
    publisher = Publisher(settings)
    try:
        for topic in topics:
            numbers = sorted(consumer.list_topics(topic, timeout=10.0).topics[topic].partitions)
            found = reader.found(topic, numbers)
            starts = _starts(consumer, reader, topic, numbers, found, start)
            before = reader.committed(topic, sorted(starts))
            _commit(consumer, settings, topic, starts)
            _begin(publisher, reader, settings, topic, starts, found)
            log.warning(
                "the input is read from where --from says: rows that were handled are handled again, rows before it are not",
                topic=topic,
                offsets=starts,
                before=before,
            )
    finally:
        publisher.abandon()
        consumer.close()


def _starts(
    consumer: Consumer,
    reader: StateReader,
    topic: str,
    numbers: Sequence[int],
    found: dict[int, FoundInput],
    start: StartFrom,
) -> dict[int, int]:
    """Partition -> the offset to read from."""
    firsts = {number: found.get(number, FoundInput()).first or 0 for number in numbers}
    if start.end == "earliest":
        return firsts
    ends = reader.input_ends(topic, numbers)
    if start.end == "latest":
        return ends
    if start.time_ms is not None:
        asked = [TopicPartition(topic, number, start.time_ms) for number in numbers]
        answers = {answer.partition: answer.offset for answer in consumer.offsets_for_times(asked, timeout=10.0)}
        return {
            number: ends[number] if answers[number] < 0 else max(answers[number], firsts[number]) for number in numbers
        }
    wrong = [f"{number}:{offset}" for number, offset in start.offsets if number not in ends]
    wrong += [
        f"{number}:{offset}"
        for number, offset in start.offsets
        if number in ends and not firsts[number] <= offset <= ends[number]
    ]
    if wrong:
        known = ", ".join(f"{number}:{firsts[number]} to {number}:{ends[number]}" for number in numbers)
        raise InputError(f"--from {','.join(wrong)}: topic {topic} holds {known}; name offsets in it")
    return dict(start.offsets)


def _commit(consumer: Consumer, settings: Settings, topic: str, starts: dict[int, int]) -> None:
    """Set the group's offsets, which the broker lets nobody do from outside while the group has members."""
    kafka = settings.kafka
    deadline = time.monotonic() + PATIENCE_FACTOR * kafka.session_timeout_ms / 1000
    while True:
        try:
            asked = [TopicPartition(topic, number, offset) for number, offset in starts.items()]
            for answer in consumer.commit(offsets=asked, asynchronous=False):
                if answer.error:
                    raise KafkaException(answer.error)
            return
        except KafkaException as error:
            if refusal(error) or time.monotonic() > deadline:
                if error.args[0].code() in BUSY:
                    raise InputError(
                        f"--from: group '{kafka.group}' has members: its offsets cannot be set while workers run; stop all of "
                        "them, and start the first one with --from"
                    ) from error
                raise
            time.sleep(RETRY_S)


def _begin(
    publisher: Publisher,
    reader: StateReader,
    settings: Settings,
    topic: str,
    starts: dict[int, int],
    found: dict[int, FoundInput],
) -> None:
    """Tell the state that each of these partitions begins a new life at its offset."""
    prefix = state_prefix(settings.kafka.group, topic)
    records = reader.read(starts, prefix)
    told: list[Output] = []
    for number, offset in starts.items():
        known = known_input(records[number].get(PROGRESS, b""))
        seen = found.get(number, FoundInput())
        life = InputLife() if known is None else known.life
        named = InputLife(life.number, seen.topic_id or life.topic_id, seen.cluster or life.cluster)
        record = progress_record(offset, number, 0, next_life(named, None), offset)
        told.append(Output(record.topic, prefix + (record.key or b""), record.value, partition=number))
    publisher.publish(told)
    publisher.flush()
