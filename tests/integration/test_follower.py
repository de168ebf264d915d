"""One reader of topics: where it begins, where it ends, and that nothing of it stays behind."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.integration.kafka_tools import Broker, create_topics, produce
from wheeltapper.follow.follower import Follower, read_records
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
        deadline = time.monotonic() + 60
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
