"""`wheeltapper replay` to both brokers: what arrives is the data set, in order, whatever the encoding."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition

from tests.helpers.forked import Command
from tests.integration.kafka_tools import Broker, consume_all, create_topic
from tests.integration.processes import run_command, run_here
from wheeltapper.schemas.clock import micros_from_iso
from wheeltapper.schemas.codec import CONTENT_TYPES, decode_sensor_block
from wheeltapper.schemas.sensor_block import SensorBlock
from wheeltapper.training.datasets.registry import load_series

pytestmark = pytest.mark.broker
ENTITY = "pump-1"


def replay(broker: Broker, prefix: str, *words: str) -> subprocess.CompletedProcess[str]:
    common = ("replay", "simulated", "--entity", ENTITY, "--brokers", broker.address, "--prefix", prefix)
    return run_command(*common, *words, timeout_s=120)


def blocks(broker: Broker, topic: str) -> list[SensorBlock]:
    """Every block of a topic in order of its offsets; each machine is in one partition."""
    found = []
    for record in consume_all(broker, topic):
        assert record.value is not None
        assert record.key is not None
        block = decode_sensor_block(record.value, record.headers["content-type"])
        assert block.machine == record.key.decode()
        found.append(block)
    return found


@pytest.mark.one_broker
@pytest.mark.parametrize(("encoding", "rows"), [("json", 1), ("json", 50), ("avro", 7), ("arrow", 64)])
def test_rows_arrive_whole_and_in_order(broker: Broker, topics_prefix: str, encoding: str, rows: int) -> None:
    # given a cluster without topics
    # when 1000 rows are replayed
    done = replay(
        broker,
        topics_prefix,
        "--speed",
        "0",
        "--limit",
        "1000",
        "--encoding",
        encoding,
        "--rows-per-message",
        str(rows),
    )
    # then the sensors topic is made, and holds exactly these rows
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    messages = -(-1000 // rows)
    assert f"sent 1000 rows in {messages} messages ({encoding}) to {topics_prefix}sensors as {ENTITY}" in done.stdout
    assert "rows/s" in done.stdout
    arrived = blocks(broker, f"{topics_prefix}sensors")
    assert len(arrived) == messages
    series = load_series("simulated", None, ENTITY)
    np.testing.assert_array_equal(np.concatenate([block.values for block in arrived]), series.test[:1000])
    np.testing.assert_array_equal(np.concatenate([block.ts for block in arrived]), series.test_ts[:1000])
    assert {block.channels for block in arrived} == {series.channels}
    headers = {record.headers["content-type"] for record in consume_all(broker, f"{topics_prefix}sensors")}
    assert headers == {CONTENT_TYPES[encoding].encode()}  # type: ignore[index]


@pytest.mark.one_broker
def test_machine_part_and_start_are_as_told(broker: Broker, topics_prefix: str) -> None:
    done = replay(
        broker, topics_prefix, "--speed", "0", "--limit", "20", "--part", "train", "--machine", "P-7",
        "--start", "2030-01-01T00:00:00Z",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    arrived = blocks(broker, f"{topics_prefix}sensors")
    assert {block.machine for block in arrived} == {"P-7"}
    assert arrived[0].ts[0] == micros_from_iso("2030-01-01T00:00:00Z")
    assert arrived[-1].ts[0] - arrived[0].ts[0] == 19 * 60_000_000
    np.testing.assert_array_equal(arrived[0].values[0], load_series("simulated", None, ENTITY).train[0])


@pytest.mark.one_broker
def test_speed_is_times_real_time(broker: Broker, topics_prefix: str) -> None:
    # Rows are a minute apart: at 1200 times real time the 61st is due 3 s after the first.
    started = time.monotonic()
    done = replay(broker, topics_prefix, "--speed", "1200", "--limit", "61")
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - started > 3.0
    stamps = [record.timestamp_ms for record in consume_all(broker, f"{topics_prefix}sensors")]
    assert 2.7 < (stamps[-1] - stamps[0]) / 1000 < 4.0


@pytest.mark.one_broker
def test_an_own_topic_is_used_but_not_made(broker: Broker, topics_prefix: str) -> None:
    own = f"{topics_prefix}plant"
    done = replay(broker, topics_prefix, "--speed", "0", "--limit", "5", "--topic", own)
    assert done.returncode == 2
    assert f"topic {own} does not exist" in done.stderr
    create_topic(broker, own, 1)
    done = replay(broker, topics_prefix, "--speed", "0", "--limit", "5", "--topic", own)
    assert done.returncode == 0, done.stderr
    assert len(blocks(broker, own)) == 5


@pytest.mark.one_broker
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_cleanly_and_what_was_sent_has_arrived(
    broker: Broker, topics_prefix: str, number: signal.Signals
) -> None:
    # given a replay in the middle of its work
    words = ["replay", "simulated", "--entity", ENTITY, "--brokers", broker.address]
    process = Command(
        [*words, "--prefix", topics_prefix, "--speed", "3000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    topic = f"{topics_prefix}sensors"
    deadline = time.monotonic() + 120
    try:
        while _arrived(broker, topic) < 20:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        # when it is told to stop
        process.send_signal(number)
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    # then it says how far it came, and that is what arrived
    assert process.returncode == 130
    assert err == ""
    assert out.startswith("stopped: ")
    assert len(blocks(broker, topic)) == int(out.split()[1])


def _arrived(broker: Broker, topic: str) -> int:
    """Messages in a topic that may not be there yet."""
    consumer = Consumer(broker.client(**{"group.id": "tests"}))
    try:
        # Of all topics: asked for by name, a broker may create it.
        found = consumer.list_topics(timeout=60).topics.get(topic)
        numbers = [] if found is None else list(found.partitions)
        marks = [consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=60) for number in numbers]
        return sum(high - low for low, high in marks)
    except KafkaException:
        return 0  # just made: a partition has no leader yet
    finally:
        consumer.close()


def test_a_message_that_the_topic_does_not_take_is_said(broker: Broker, topics_prefix: str) -> None:
    if broker.kind == "tansu":
        pytest.skip("the embedded broker takes messages of any size")
    small = f"{topics_prefix}small"
    create_topic(broker, small, 1, max_message_bytes="2000")
    done = replay(broker, topics_prefix, "--speed", "0", "--topic", small, "--rows-per-message", "200")
    assert done.returncode == 2
    assert "fewer --rows-per-message" in done.stderr
    assert done.stderr.count("\n") == 1


def test_no_broker_is_said_within_seconds() -> None:
    started = time.monotonic()
    done = run_command("replay", "simulated", "--entity", ENTITY, "--brokers", "127.0.0.1:1", timeout_s=120)
    assert done.returncode == 2
    assert time.monotonic() - started < 60
    assert "no Kafka at 127.0.0.1:1" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--speed", "-1"), "--speed -1: expected 0"),
        (("--speed", "nan"), "--speed nan: expected 0"),
        (("--rows-per-message", "0"), "--rows-per-message 0: expected 1 to"),
        (("--limit", "0"), "--limit 0: expected 1 row or more"),
        (("--machine", " "), "--machine is empty"),
        (("--start", "soon"), "start is 'soon', expected 'now' or an ISO 8601 time"),
        (("--entity", "pump-9"), "no entity 'pump-9'"),
    ],
)
def test_wrong_words_are_said_before_any_broker_is_asked(
    words: tuple[str, ...], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    done = run_here(capfd, "replay", "simulated", "--entity", ENTITY, "--brokers", "127.0.0.1:1", *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_data_folder_that_is_not_there(tmp_path: Path) -> None:
    done = run_command("replay", "smd", "--data", str(tmp_path / "smd"), "--brokers", "127.0.0.1:1")
    assert done.returncode == 2
    assert "does not exist" in done.stderr
