"""The broker stands still, runs out of disk, finds its logs torn: workers of both runners go on by themselves and lose nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.plant import make_plant, messages_of
from tests.integration.kafka_tools import Broker, KafkaNode
from tests.integration.worker_tools import (
    ASKS_OFTEN,
    PATIENCE_S,
    RUNNERS,
    Feed,
    Rig,
    assert_alerts,
    assert_committed_to_the_end,
    assert_scores,
    free_port,
    http_get,
    make_rig,
    metrics,
    wait_until,
)

pytestmark = [pytest.mark.broker, pytest.mark.chaos, pytest.mark.kafka, pytest.mark.nightly, pytest.mark.slow]


def rigs_on(node: KafkaNode, prefix: str, folder: Path) -> list[Rig]:
    """Both runners on a Kafka of its own, each with its topics and its group."""
    broker = Broker(node.start(), "kafka", supports_transactions=True)
    return [make_rig(broker, runner, f"{runner}-{prefix}", folder / runner, partitions=2) for runner in RUNNERS]


def survive(rigs: list[Rig], fault: Callable[[], None], *, rows: int = 900, seconds: float = 40.0) -> None:
    """Workers under load meet the fault; none of them ends, and in the end nobody can tell."""
    # given a worker of each runner, at work on rows that wait and on rows that keep coming
    plant = make_plant(machines=6, rows=rows)
    first, rest = plant.until(rows // 3), plant.since(rows // 3)
    ports = [free_port() for _ in rigs]
    for rig in rigs:
        rig.produce(messages_of(first, largest_block=8))
    feeds = [Feed(rig, messages_of(rest, seed=5, largest_block=8), seconds) for rig in rigs]
    with (
        rigs[0].start(environment=ASKS_OFTEN, options=("--http-port", str(ports[0]))) as one,
        rigs[1].start(environment=ASKS_OFTEN, options=("--http-port", str(ports[1]))) as other,
        feeds[0],
        feeds[1],
    ):
        workers = (one, other)
        for worker in workers:
            worker.wait_for("partitions taken over", PATIENCE_S)
        time.sleep(3)
        # when the fault comes
        fault()
        # and all rows have been sent in the end
        for feed in feeds:
            feed.wait(2 * PATIENCE_S)
        # then both have handled them, without having been started again, and are ready
        for rig, worker, port in zip(rigs, workers, ports, strict=True):
            ends = rig.ends()
            wait_until(lambda: rig.committed() == ends, f"{rig.runner} had committed everything", worker)  # noqa: B023
            assert metrics(port)["wheeltapper_rows_total"] >= plant.rows
            wait_until(lambda: http_get(port, "/readyz")[0] == 200, "it was ready again", worker)  # noqa: B023
            assert len(worker.log().splitlines()) < 60, "a fault is told, not counted"
        for worker in workers:
            assert worker.terminate() == 0, worker.log()[-4000:]
    # and alerts and scores are those of an undisturbed run
    for rig in rigs:
        assert_committed_to_the_end(rig)
        assert_alerts(rig, rig.expect(plant), exactly_once=rig.transactional)
        assert_scores(rig, rig.expect(plant), exactly_once=rig.transactional)


@pytest.mark.parametrize("seconds", [12.0, 30.0], ids=["session", "transaction"])
def test_a_broker_that_stands_still_for_longer_than_sessions_and_transactions_last(
    own_kafka: KafkaNode, topics_prefix: str, tmp_path: Path, seconds: float
) -> None:
    # sessions last 6 s, the broker's own in its cluster 9 s, transactions 20 s
    rigs = rigs_on(own_kafka, topics_prefix, tmp_path)
    survive(rigs, lambda: own_kafka.stand_still(seconds), seconds=20 + seconds)


def test_a_brokers_disk_that_is_full_for_a_while(own_kafka: KafkaNode, topics_prefix: str, tmp_path: Path) -> None:
    rigs = rigs_on(own_kafka, topics_prefix, tmp_path)

    def run_out_of_disk() -> None:
        own_kafka.fill_disk(bytes_left=4_000)
        time.sleep(5)
        own_kafka.start()  # there is room again

    survive(rigs, run_out_of_disk)


def test_logs_that_a_power_cut_left_torn_at_their_ends(
    own_kafka: KafkaNode, topics_prefix: str, tmp_path: Path
) -> None:
    rigs = rigs_on(own_kafka, topics_prefix, tmp_path)

    def cut_power() -> None:
        own_kafka.kill()
        torn = [tear(partition, number) for number, partition in enumerate(own_kafka.partitions())]
        assert sum(torn) > 20
        own_kafka.start()

    survive(rigs, cut_power)


def tear(partition: Path, number: int) -> bool:
    """Leave behind what a write that was cut short leaves: a part of a batch, or bytes of whatever the disk held before."""
    log = max(partition.glob("*.log"))
    held = log.read_bytes()
    if len(held) < 70:
        return False
    first_batch = 12 + int.from_bytes(held[8:12], "big")
    end = held[: first_batch // 2] if number % 2 else np.random.default_rng(number).bytes(300)
    with log.open("ab") as file:
        file.write(end)
    return True


def test_rows_that_the_broker_lost_after_they_were_handled(
    own_kafka: KafkaNode, topics_prefix: str, tmp_path: Path
) -> None:
    # given workers that have handled the first rows
    rigs = rigs_on(own_kafka, topics_prefix, tmp_path)
    plant = make_plant(machines=6, rows=500)
    ports = [free_port() for _ in rigs]
    for rig in rigs:
        rig.produce(messages_of(plant.until(300), largest_block=8))
    with (
        rigs[0].start(environment=ASKS_OFTEN, options=("--http-port", str(ports[0]))) as one,
        rigs[1].start(environment=ASKS_OFTEN, options=("--http-port", str(ports[1]))) as other,
    ):
        workers = (one, other)
        for rig, worker in zip(rigs, workers, strict=True):
            wait_until(lambda: rig.committed() == rig.ends(), "the first rows were committed", worker)  # noqa: B023
        # when Kafka loses its power, and with it the last rows that it had taken in but not yet written to the disk
        own_kafka.kill()
        for rig in rigs:
            for partition in own_kafka.partitions(rig.sensors):
                lose_last_batches(partition, 3)
        own_kafka.start()
        # then the workers say that offsets went back
        for worker, port in zip(workers, ports, strict=True):
            wait_until(
                lambda: 'wheeltapper_input_changes_total{event="went-back"}' in http_get(port, "/metrics")[1],  # noqa: B023
                "it was told",
                worker,
            )
        # and handle the rows that follow
        for rig in rigs:
            rig.produce(messages_of(plant.since(300), seed=5, largest_block=8))
        for rig, worker in zip(rigs, workers, strict=True):
            ends = rig.ends()
            wait_until(lambda: rig.committed() == ends, "everything was committed", worker)  # noqa: B023
            assert worker.terminate() == 0, worker.log()[-4000:]
    # and what comes of them is what would have come without the loss
    for rig in rigs:
        assert_alerts(rig, rig.expect(plant), exactly_once=False)
        assert_scores(rig, rig.expect(plant), exactly_once=False)


def lose_last_batches(partition: Path, number: int) -> None:
    """Cut the last batches off a partition's log."""
    log = max(partition.glob("*.log"))
    held = log.read_bytes()
    starts, place = [], 0
    while place + 12 <= len(held):
        size = int.from_bytes(held[place + 8 : place + 12], "big")
        if size == 0:
            break
        starts.append(place)
        place += 12 + size
    with log.open("r+b") as file:
        file.truncate(starts[-min(number, len(starts) - 1)])
