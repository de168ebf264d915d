"""How much a worker takes at a time, on a real Kafka: small messages that unfold to much, and batches that take long."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.covering import covering
from tests.helpers.memory import forget_peak, peak, resident
from tests.helpers.plant import Message
from tests.integration.kafka_tools import Broker
from tests.integration.worker_tools import RUNNERS, Rig, free_port, make_rig, metrics, wait_until
from tests.unit.stream.bundles import Recipe, write_bundle
from tests.unit.stream.unfolding import CHANNELS, small_message
from wheeltapper.schemas.bundle import open_bundle
from wheeltapper.schemas.codec import CONTENT_TYPES, encode_sensor_block
from wheeltapper.schemas.sensor_block import SensorBlock

pytestmark = [pytest.mark.broker, pytest.mark.kafka]

MOST_MB = 512
"""What a worker may take beside the state of its machines: docs/stream.md."""
START, SECOND = 1_700_000_000_000_000, 1_000_000


@pytest.fixture(params=RUNNERS)
def rig(request: pytest.FixtureRequest, real_kafka: str, topics_prefix: str, tmp_path: Path) -> Rig:
    broker = Broker(real_kafka, "kafka", supports_transactions=True)
    return make_rig(broker, request.param, topics_prefix, tmp_path, partitions=1)


def block_of_zeros() -> Message:
    """JSON of nearly a megabyte, which compresses to nearly nothing."""
    times = START + SECOND * np.arange(1_500)
    block = SensorBlock("press-2", times, tuple(CHANNELS), np.zeros((1_500, len(CHANNELS)), np.float32))
    return b"press-2", encode_sensor_block(block, "json"), [("content-type", CONTENT_TYPES["json"].encode())]


@pytest.mark.slow
@covering(strength=1, indirect=["rig"], rig=RUNNERS, kind=["arrow", "records"])
def test_small_messages_that_unfold_to_megabytes_pass_under_the_limit(rig: Rig, kind: str) -> None:
    # given a worker that waits for rows
    rig.bundle = write_bundle(rig.folder, Recipe(channels=tuple(CHANNELS), window=8, stride=64))
    port = free_port()
    with rig.start(environment={"WHEELTAPPER_WORKER__HTTP_PORT": str(port)}) as worker:
        worker.wait_for("partitions taken over")
        time.sleep(1.0)
        process = worker.process.pid
        before = resident(process)
        forget_peak(process)
        # when far more than that comes as some megabytes: of compressed columns, or of records that the producer compressed
        if kind == "arrow":
            headers: list[tuple[str, bytes]] = [("content-type", CONTENT_TYPES["arrow"].encode())]
            messages: list[Message] = [(b"press-1", small_message(number), headers) for number in range(160)]
            rig.produce(messages)
        else:
            rig.produce([block_of_zeros()] * 300, compression="zstd")
        # then all is handled, under the limit
        wait_until(lambda: metrics(port).get("wheeltapper_messages_total", 0) >= rig.produced, "all messages", worker)
        print(f"{rig.runner}, {kind}: {before:.0f} MB before, peak {peak(process):.0f} MB")
        # librdkafka unpacks a fetch whole: a few of them are in memory at a time.
        assert peak(process) - before < MOST_MB * 5 / 8
        assert peak(process) < MOST_MB
        assert worker.terminate() == 0


@pytest.mark.nightly
@pytest.mark.parametrize("rows_of_message", [1, 100_000])
def test_a_batch_longer_than_poll_interval_and_stall_limit_is_done_once(rig: Rig, rows_of_message: int) -> None:
    # given a graph so slow that a batch takes twice as long as a worker may be without progress, or without a poll
    recipe = Recipe(channels=("a", "b", "c", "d"), window=4, toil=60)
    rig.bundle = write_bundle(rig.folder, recipe)
    graph = open_bundle(rig.bundle).open_graph()
    graph.warm_up()
    rows = min(round(25 / graph.seconds_per_window), 60_000)
    block = SensorBlock(
        "press-1", START + SECOND * np.arange(rows), recipe.channels, np.full((rows, 4), 0.4, np.float32)
    )
    parts = (slice(start, start + rows_of_message) for start in range(0, rows, rows_of_message))
    rig.produce(
        [
            (
                b"press-1",
                encode_sensor_block(SensorBlock("press-1", block.ts[part], block.channels, block.values[part]), "json"),
                [],
            )
            for part in parts
        ]
    )
    limits = {"WHEELTAPPER_WORKER__STALL_TIMEOUT_S": "10", "WHEELTAPPER_KAFKA__MAX_POLL_INTERVAL_MS": "10000"}
    # when a worker handles it
    began = time.monotonic()
    worker = rig.run(environment=limits)
    # then it does so in one go, and once
    assert time.monotonic() - began > 10
    scores = rig.messages("scores")
    assert sum(len(score["time"]) for score in scores) == rows - recipe.window + 1
    assert "failed" not in worker.log()
    assert worker.log().count("partitions taken over") == 1
    assert rig.committed() == {0: rig.produced}
