"""A worker whose outputs are larger than its topics take, and whose input no client can read, on a Kafka with its default limits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import orjson
import pytest

from tests.helpers.raw_frames import RawRecord, frame_of, send_frames
from tests.integration.kafka_tools import Broker, Record, consume_all, create_topic, limit_messages, topic_settings
from tests.integration.processes import WorkerProcess
from tests.integration.worker_tools import (
    RUNNERS,
    Rig,
    assert_committed_to_the_end,
    make_rig,
    side_by_side,
    wait_until,
)
from wheeltapper.control_messages import send
from wheeltapper.follow.follower import read_records
from wheeltapper.schemas.adaptation import AdaptationEvent, AdaptationStep
from wheeltapper.schemas.codec import CONTENT_TYPES, encode_sensor_block
from wheeltapper.schemas.sensor_block import SensorBlock
from wheeltapper.stream.settings import load_settings

pytestmark = pytest.mark.broker

START, MINUTE = 1_700_000_000_000_000, 60_000_000
ARROW = [("content-type", CONTENT_TYPES["arrow"].encode())]
MOST_ROWS = 65_536


@pytest.fixture
def rigs(real_kafka: str, topics_prefix: str, tmp_path: Path) -> list[Rig]:
    broker = Broker(real_kafka, "kafka", supports_transactions=True)
    return [
        make_rig(broker, runner, f"{runner}-{topics_prefix}", tmp_path / runner, partitions=1) for runner in RUNNERS
    ]


def block_of(machine: str, first: int, rows: int) -> tuple[bytes, bytes, list[tuple[str, bytes]]]:
    """Rows first .. first + rows of a machine, one a minute, in one message."""
    times = START + MINUTE * np.arange(first, first + rows, dtype=np.int64)
    values = np.random.default_rng(first).normal(0, 0.1, (rows, 4)).astype(np.float32)
    block = SensorBlock(machine, times, ("a", "b", "c", "d"), values)
    return machine.encode(), encode_sensor_block(block, "arrow"), ARROW


def scored(rig: Rig, machine: str) -> list[int]:
    """Times of its scores, in the order in which they were published."""
    return [time for block in rig.messages("scores") if block["machine"] == machine for time in block["time"]]


def due(rig: Rig, rows: int) -> list[int]:
    window, stride = rig.recipe.window, rig.recipe.stride
    return [START + MINUTE * row for row in range(window - 1, rows, stride)]


def memory_mb(worker: WorkerProcess) -> float:
    """The most that the process has had in memory."""
    status = Path(f"/proc/{worker.process.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


def read_everything(rig: Rig, worker: WorkerProcess) -> None:
    wait_until(lambda: rig.committed() == rig.ends(), "it had read everything", worker)


@pytest.mark.kafka
def test_outputs_fit_their_topics_whatever_these_take(rigs: list[Rig]) -> None:
    def scenario(rig: Rig) -> None:
        # given a cluster with its default limits, and a dead-letters topic of 100 kB
        assert topic_settings(rig.broker, f"{rig.prefix}scores")["max.message.bytes"] == "1048588"
        limit_messages(rig.broker, f"{rig.prefix}dead-letters", 100_000)
        # when a message of the most rows comes, and one that cannot be read and is large in key, headers and value
        headers = [(f"h{number}", b"x" * 1_000) for number in range(300)]
        rig.produce([block_of("press-1", 0, MOST_ROWS), (b"k" * 60_000, b"{" * 500_000, headers)])
        with rig.start() as worker:
            read_everything(rig, worker)
            # then every window has its score, in order, in messages that fit
            assert scored(rig, "press-1") == due(rig, MOST_ROWS)
            (letter,) = rig.records("dead-letters")
            assert letter.headers["wheeltapper-original-size"] == b"500000"
            assert letter.headers["wheeltapper-original-key-size"] == b"60000"
            assert int(letter.headers["wheeltapper-headers-left-out"]) > 250
            assert 90_000 < size_of(letter) <= 100_000

            # when the topic of scores takes far less while the worker runs: less than a compressed part of what comes of these rows
            limit_messages(rig.broker, f"{rig.prefix}scores", 5_000)
            rig.produce(
                [block_of("press-1", MOST_ROWS, 10_000), *(block_of(f"press-{n}", 0, 500) for n in range(2, 40))]
            )
            if rig.runner == "faust":  # it leaves the restart to its supervisor
                assert worker.wait() == 1, worker.log()
            else:
                read_everything(rig, worker)
            assert "topics take smaller messages than when this worker asked" in worker.log()
        if rig.runner == "faust":
            rig.run()
        # then it goes on within the new limit, and no score is missing
        assert set(scored(rig, "press-1")) == set(due(rig, MOST_ROWS + 10_000))
        assert all(set(scored(rig, f"press-{n}")) == set(due(rig, 500)) for n in range(2, 40))
        assert_committed_to_the_end(rig)

    side_by_side(rigs, scenario)


@pytest.mark.kafka
def test_bytes_that_no_client_can_read_stop_no_partition(rigs: list[Rig]) -> None:
    # given rows, among them a record with a header name that is no UTF-8, and frames of which a few kB unpack to 300 MB
    # and to nothing at all
    good: list[RawRecord] = [
        (key, value, [(name.encode(), text) for name, text in headers])
        for key, value, headers in (block_of("press-1", 10 * number, 10) for number in range(20))
    ]
    bad_name: RawRecord = (b"\xff\xfe", good[3][1], [(b"caf\xe9", b"\x00\xff"), (b"trace", b"7"), (b"a\x00b", None)])
    bomb = frame_of([(b"a", b"1", []), (b"press-1", bytes(300_000_000), []), (b"c", b"3", [])], "zstd")
    frames = [
        frame_of([bad_name], "gzip"), frame_of(good[:5], "zstd"), bomb, frame_of([*good[5:8], bad_name, *good[8:12]], "lz4"),
        bomb, bomb, frame_of(good[12:], "snappy"), bomb,
    ]  # fmt: skip
    first_of_bombs = [6, 17, 20, 31]

    def scenario(rig: Rig) -> None:
        send_frames(rig.broker.address, rig.sensors, 0, frames)
        # when a worker reads them
        with rig.start() as worker:
            wait_until(lambda: rig.committed() == {0: 34}, "it had read everything", worker)
            if rig.runner == "faust":  # librdkafka unpacks up to its own limit of 200 MB before it says so
                assert memory_mb(worker) < 400
            assert worker.terminate() == 0, worker.log()
        # then every window of the rows has its score, once
        assert scored(rig, "press-1") == due(rig, 200)
        # and what could not be read is a dead letter, with what could be kept of it
        letters = rig.records("dead-letters")
        by_reason = {
            reason: [letter for letter in letters if letter.headers["wheeltapper-reason"] == reason]
            for reason in (b"bad-header", b"bad-frame")
        }
        assert len(letters) == 6
        for letter in by_reason[b"bad-header"]:
            assert (letter.key, letter.value) == (bad_name[0], bad_name[1])
            assert letter.headers["caf\\xe9"] == b"\x00\xff"
            assert letter.headers["trace"] == b"7"
        assert [int(letter.headers["wheeltapper-offset"]) for letter in by_reason[b"bad-frame"]] == first_of_bombs
        assert [
            int(letter.headers["wheeltapper-last-offset"]) - 2 for letter in by_reason[b"bad-frame"]
        ] == first_of_bombs
        assert all((letter.value or b"")[61:] == bomb[61:] for letter in by_reason[b"bad-frame"])

        # and a worker that starts anew finds nothing more to say
        rig.run()
        assert len(rig.records("dead-letters")) == 6

        # and readers of other topics do not stumble over such a name either
        send_frames(rig.broker.address, f"{rig.prefix}alerts", 0, [frame_of([bad_name] * 50)])
        settings = load_settings(kafka={"brokers": rig.broker.address}, topics={"prefix": rig.prefix})
        found = read_records(settings, "alerts")[-50:]
        assert [record.key for record in found] == [bad_name[0]] * 50
        assert {record.content_type for record in found} == {None}

    side_by_side(rigs, scenario)


def test_what_commands_publish_fits_its_topic_too(embedded_broker: str, topics_prefix: str) -> None:
    # given a topic of adaptations that takes 20 kB
    broker = Broker(embedded_broker, "tansu", supports_transactions=False)
    create_topic(broker, f"{topics_prefix}adaptations", 1, max_message_bytes="20000")
    settings = load_settings(kafka={"brokers": embedded_broker}, topics={"prefix": topics_prefix})
    event = AdaptationEvent(
        adaptation_id="a", machine="press-1", rule="r", event=AdaptationStep.REJECTED, at=START, reason="no gain",
        evidence=orjson.dumps({"figures": list(range(20_000))}).decode(),
    )  # fmt: skip
    # when an event with the evidence of a large gate is published
    send(settings, (event.machine, event))
    # then it is there without it, and says so
    (record,) = consume_all(broker, f"{topics_prefix}adaptations")
    told = AdaptationEvent.model_validate_json(record.value or b"")
    assert (told.evidence, told.reason) == ("", "no gain")
    assert record.headers["wheeltapper-left-out"] == b"evidence of %d characters" % len(event.evidence)


def size_of(record: Record) -> int:
    """Bytes of key, value and headers."""
    headers = sum(len(name) + len(text or b"") for name, text in record.headers.items())
    return len(record.key or b"") + len(record.value or b"") + headers
