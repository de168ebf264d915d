"""kill -9 of Kafka itself under load: the workers wait, go on by themselves, and lose nothing."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.helpers.plant import make_plant, messages_of
from tests.integration.kafka_tools import Broker, KafkaNode
from tests.integration.worker_tools import (
    PATIENCE_S,
    Feed,
    assert_alerts,
    assert_committed_to_the_end,
    assert_scores,
    free_port,
    make_rig,
    metrics,
    wait_until,
)

pytestmark = [pytest.mark.broker, pytest.mark.chaos, pytest.mark.kafka, pytest.mark.slow]
AWAY_S = 10.0


def test_both_runners_survive_and_lose_nothing(own_kafka: KafkaNode, topics_prefix: str, tmp_path: Path) -> None:
    # given a Kafka of its own, and a worker of each runner, each with its group, on the same input
    broker = Broker(own_kafka.start(), "kafka", supports_transactions=True)
    faust = make_rig(broker, "faust", f"faust-{topics_prefix}", tmp_path / "faust")
    direct = make_rig(broker, "direct", f"direct-{topics_prefix}", tmp_path / "direct", sensors=faust.sensors)
    rigs = (faust, direct)
    plant = make_plant(machines=8, rows=1500)
    faust.produce(messages_of(plant.until(500), largest_block=8))
    ports = (free_port(), free_port())
    config = tmp_path / "worker.toml"
    # An outage longer than the time after which a worker that makes no progress would end itself.
    config.write_text(f'[topics]\nsensors = "{faust.sensors}"\n[worker]\nstall_timeout_s = 8.0\n')
    with (
        faust.start(config=config, options=("--http-port", str(ports[0]))) as one,
        direct.start(config=config, options=("--http-port", str(ports[1]))) as other,
        Feed(faust, messages_of(plant.since(500), seed=5, largest_block=8), seconds=30) as feed,
    ):
        for worker in (one, other):
            worker.wait_for("partitions taken over", PATIENCE_S)
        time.sleep(2)
        # when Kafka loses its power while rows come, and has it back after a while
        own_kafka.kill()
        time.sleep(AWAY_S)
        assert own_kafka.start() == broker.address
        # and all rows have come in the end
        feed.wait()
        # then both workers have handled all of them, without having been started again
        for worker, port, rig in zip((one, other), ports, rigs, strict=True):
            ends = rig.ends()
            wait_until(lambda: rig.committed() == ends, f"{rig.runner} had committed everything", worker)  # noqa: B023
            assert metrics(port)["wheeltapper_rows_total"] >= plant.rows
            assert len(worker.log().splitlines()) < 40, "an outage is told, not counted"
        # and when they are told to stop while Kafka is away once more, they do
        own_kafka.kill()
        for worker in (one, other):
            worker.process.terminate()
        for worker in (one, other):
            assert worker.wait() == 0, worker.log()[-4000:]
    own_kafka.start()
    expected = faust.expect(plant)
    for rig in rigs:
        assert_committed_to_the_end(rig)
        assert_alerts(rig, expected, exactly_once=rig.transactional)
        assert_scores(rig, expected, exactly_once=rig.transactional)
