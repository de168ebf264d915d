"""One reader of topics: where it begins, where it ends, and that nothing of it stays behind."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer

from tests.integration.kafka_tools import Broker, KafkaNode, await_brokers, create_topics, produce
from wheeltapper.follow.follower import Follower, TopicRecord, read_records
from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.topics import ALERTS
from wheeltapper.stream.settings import Settings, load_settings

pytestmark = pytest.mark.broker


@pytest.fixture
def settings(embedded_broker: str, topics_prefix: str) -> Settings:
    broker = Broker(embedded_broker, "tansu", supports_transactions=False)
    create_topics(broker, topics_prefix, partitions=2)
    records = [(key, value, (("content-type", b"text/plain"),)) for key, value in ((b"a", b"1"), (b"b", b"2"))]
    produce(broker, f"{topics_prefix}alerts", records)
    return load_settings(None, kafka={"brokers": embedded_broker}, topics={"prefix": topics_prefix})


def open_things() -> tuple[int, int]:
    """Native threads and descriptors of this process."""
    return len(list(Path("/proc/self/task").iterdir())), len(os.listdir("/proc/self/fd"))


def test_it_reads_to_the_end_and_says_where_everything_was(settings: Settings, topics_prefix: str) -> None:
    # given two messages, when they are read: then both are there, with their header, time and place
    records = sorted(read_records(settings, ALERTS), key=lambda record: record.value)
    assert [(record.value, record.content_type) for record in records] == [(b"1", b"text/plain"), (b"2", b"text/plain")]
    assert all(record.where.startswith(f"{topics_prefix}alerts [") for record in records)
    assert all(abs(record.published_ms / 1000 - time.time()) < 120 for record in records)
    # and by key only what is wanted
    assert [record.value for record in read_records(settings, ALERTS, keep=lambda key: key == b"b")] == [b"2"]
    # and nothing that was published before a moment
    assert read_records(settings, ALERTS, since_ms=round(time.time() * 1000) + 60_000) == []


def test_what_comes_is_followed_from_where_reading_ended(
    settings: Settings, embedded_broker: str, topics_prefix: str
) -> None:
    # given a follower that has read what is there
    with Follower(settings, ALERTS) as follower:
        assert len(list(follower.read_to_end())) == 2
        messages = follower.follow()
        assert next(messages) is None
        # when a message comes: then it is that one alone
        produce(
            Broker(embedded_broker, "tansu", supports_transactions=False), f"{topics_prefix}alerts", [(b"a", b"3", ())]
        )
        deadline = time.monotonic() + 120
        found = None
        while found is None:
            assert time.monotonic() < deadline
            found = next(messages)
        assert found.value == b"3"


def test_thirty_followers_leave_nothing_behind(settings: Settings) -> None:
    # given a few that have come and gone
    for _ in range(3):
        read_records(settings, ALERTS)
    before = open_things()
    # when thirty more do: then neither threads nor descriptors have grown
    for _ in range(30):
        assert len(read_records(settings, ALERTS)) == 2
    after = open_things()
    assert after[0] <= before[0] + 2
    assert after[1] <= before[1] + 4


def test_a_topic_that_does_not_exist_is_one_line(settings: Settings) -> None:
    elsewhere = settings.model_copy(update={"topics": settings.topics.model_copy(update={"prefix": "nowhere."})})
    with pytest.raises(InputError, match=r"topic nowhere\.alerts does not exist"):
        Follower(elsewhere, ALERTS)


HOUR_MS = 3_600_000


def settings_of(broker: Broker, prefix: str) -> Settings:
    return load_settings(None, kafka={"brokers": broker.address}, topics={"prefix": prefix})


def publish(broker: Broker, prefix: str, *values: bytes) -> None:
    """All of one machine: they lie in one partition, in this order."""
    produce(broker, f"{prefix}alerts", [(b"pump", value, ()) for value in values])


def values_of(messages: Iterator[TopicRecord | None], count: int, timeout_s: float = 120.0) -> list[bytes]:
    """The next `count` values of a follower."""
    deadline = time.monotonic() + timeout_s
    values: list[bytes] = []
    while len(values) < count:
        assert time.monotonic() < deadline, f"{values} in {timeout_s:g} s, expected {count}"
        record = next(messages)
        values += [] if record is None else [record.value]
    return values


@pytest.mark.parametrize("beginning", ["since now", "only new"])
def test_what_is_published_once_a_follower_is_there_comes_and_nothing_of_before(
    broker: Broker, topics_prefix: str, beginning: str
) -> None:
    # given a topic with old messages, and a producer that has sent some of them: its next one is there within milliseconds
    create_topics(broker, topics_prefix, partitions=2)
    settings = settings_of(broker, topics_prefix)
    two_hours_ago = round(time.time() * 1000) - 2 * HOUR_MS
    producer = Producer(broker.client())

    def publish_now(value: bytes, **options: int) -> None:
        producer.produce(f"{topics_prefix}alerts", value, b"pump", **options)
        assert producer.flush(30) == 0

    for number in range(20):
        publish_now(b"old %d" % number, timestamp=two_hours_ago)
    for number in range(8):
        # when a message is published as soon as a follower of what is new is there
        now_ms = round(time.time() * 1000)
        new = {"only_new": True} if beginning == "only new" else {"since_ms": now_ms}
        with Follower(settings, ALERTS, **new) as follower:  # type: ignore[arg-type]
            publish_now(b"new %d" % number)
            # then it is the first that comes
            assert values_of(follower.follow(), 1) == [b"new %d" % number]
        time.sleep(0.005)  # the next moment is another millisecond


def test_it_begins_at_an_offset_and_goes_on_where_another_has_ended(broker: Broker, topics_prefix: str) -> None:
    # given five messages in one partition
    create_topics(broker, topics_prefix, partitions=2)
    publish(broker, topics_prefix, b"0", b"1", b"2", b"3", b"4")
    settings = settings_of(broker, topics_prefix)
    place = read_records(settings, ALERTS)[3]
    # when a follower begins at the fourth: then it is the first that comes, from here to the end
    with Follower(settings, ALERTS, offsets={place.partition: place.offset}) as follower:
        assert [record.value for record in follower.read_to_end()] == [b"3", b"4"]
    # and a partition that is not there is refused by its number
    with pytest.raises(InputError, match=rf"topic {topics_prefix}alerts has no partition 2: it has 2"):
        Follower(settings, ALERTS, offsets={2: 0})


def test_two_beginnings_are_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="four beginnings"):
        Follower(Settings(), ALERTS, since_ms=0, only_new=True)


@pytest.mark.kafka
@pytest.mark.chaos
def test_a_broker_that_goes_away_is_told_of_and_waited_for(own_kafka: KafkaNode, topics_prefix: str) -> None:
    # given a follower that has read what was there
    broker = Broker(own_kafka.start(), "kafka", supports_transactions=True)
    await_brokers(broker)
    create_topics(broker, topics_prefix, partitions=1)
    publish(broker, topics_prefix, b"before")
    said: list[str] = []
    with Follower(settings_of(broker, topics_prefix), ALERTS, tell=said.append) as follower:
        messages = follower.follow()
        assert values_of(messages, 1) == [b"before"]
        # when the broker dies: then the follower says so, once
        own_kafka.kill()
        deadline = time.monotonic() + 120
        while not said:
            assert time.monotonic() < deadline
            next(messages)
        # and when it is there again, then messages come as before
        own_kafka.start()
        await_brokers(broker)
        publish(broker, topics_prefix, b"after")
        assert values_of(messages, 1, timeout_s=120) == [b"after"]
    assert said == [f"no broker can be reached at {broker.address}, waiting for one"]
