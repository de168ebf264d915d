"""Workers that share the machines: one more, one less, one killed, one that was away without noticing."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests.helpers.plant import make_plant, messages_of
from tests.integration.kafka_tools import Broker
from tests.integration.worker_tools import (
    PATIENCE_S,
    RUNNERS,
    Feed,
    Rig,
    assert_alerts,
    assert_committed_to_the_end,
    assert_scores,
    make_rig,
)

pytestmark = [pytest.mark.integration, pytest.mark.chaos]
TAKEN_OVER = "partitions taken over"


@pytest.fixture(params=RUNNERS)
def rig(request: pytest.FixtureRequest, broker: Broker, topics_prefix: str, tmp_path: Path) -> Rig:
    return make_rig(broker, request.param, topics_prefix, tmp_path)


def test_starting_stopping_and_killing_one_changes_nothing(rig: Rig) -> None:
    # given a worker under load
    plant = make_plant(machines=8, rows=3000)
    rig.produce(messages_of(plant.until(1000), largest_block=8))
    with Feed(rig, messages_of(plant.since(1000), seed=5, largest_block=8), seconds=40), rig.start() as first:
        first.wait_for(TAKEN_OVER, PATIENCE_S)
        # when a second joins, the first is stopped, a third joins and the second is killed
        with rig.start() as second:
            second.wait_for(TAKEN_OVER, PATIENCE_S)
            assert first.terminate() == 0, first.log()[-4000:]
            with rig.start() as third:
                third.wait_for(TAKEN_OVER, PATIENCE_S)
                second.kill()
                time.sleep(1)
                third.kill()
    rig.run()
    # then nobody can tell from what came out
    expected = rig.expect(plant)
    assert_alerts(rig, expected, exactly_once=rig.transactional)
    assert_scores(rig, expected, exactly_once=rig.transactional)
    assert_committed_to_the_end(rig)


@pytest.mark.kafka
@pytest.mark.parametrize("runner", RUNNERS)
def test_one_that_was_away_without_noticing_does_no_harm(
    real_kafka: str, topics_prefix: str, tmp_path: Path, runner: str
) -> None:
    # given a worker that snapshots seldom, so that most of its commits do not move its offsets, and has many rows to do
    rig = make_rig(Broker(real_kafka, "kafka", supports_transactions=True), runner, topics_prefix, tmp_path)
    config = tmp_path / "slow.toml"
    config.write_text("[state]\nsnapshot_windows = 1_000_000\nsnapshot_interval_s = 3600.0\n")
    plant = make_plant(machines=8, rows=3000)
    rig.produce(messages_of(plant, largest_block=1))
    with rig.start(config=config) as first:
        first.wait_for(TAKEN_OVER, PATIENCE_S)
        # when it stands still for longer than its session, another takes over, and it wakes up with rows in its hands
        first.process.send_signal(signal.SIGSTOP)
        with rig.start() as second:
            second.wait_for(TAKEN_OVER, PATIENCE_S)
            first.process.send_signal(signal.SIGCONT)
            time.sleep(3)
            assert second.terminate() == 0, second.log()[-4000:]
        assert first.terminate() == 0, first.log()[-4000:]
    rig.run()
    # then nothing was lost, and with transactions nothing came twice
    expected = rig.expect(plant)
    assert_alerts(rig, expected, exactly_once=rig.transactional)
    assert_scores(rig, expected, exactly_once=rig.transactional)
    assert_committed_to_the_end(rig)
