"""kill -9 of the worker under load: what comes out in the end is what an uninterrupted run gives."""

from __future__ import annotations

import time

import numpy as np
import pytest

from tests.helpers.plant import make_plant, messages_of
from tests.integration.worker_tools import (
    PATIENCE_S,
    Feed,
    Rig,
    assert_alerts,
    assert_committed_to_the_end,
    assert_scores,
    side_by_side,
)

pytestmark = [pytest.mark.broker, pytest.mark.chaos, pytest.mark.slow]


@pytest.mark.real_broker
@pytest.mark.parametrize("kills", [1, pytest.param(4, marks=pytest.mark.nightly)])
def test_killed_and_restarted_it_loses_and_invents_nothing(rigs: list[Rig], kills: int) -> None:
    side_by_side(rigs, lambda rig: kill_again_and_again(rig, kills))


def kill_again_and_again(rig: Rig, kills: int) -> None:
    # given rows that wait and rows that keep coming
    plant = make_plant(machines=8, rows=800 + 400 * kills)
    waiting, coming = plant.until(800), plant.since(800)
    rig.produce(messages_of(waiting, largest_block=8))
    moments = np.random.default_rng(4).uniform(0.0, 1.0, kills)
    with Feed(rig, messages_of(coming, seed=5, largest_block=8), seconds=kills * 10):
        # when the worker is killed again and again, soon after it took over
        for moment in moments:
            with rig.start() as worker:
                worker.wait_for("partitions taken over", PATIENCE_S)
                time.sleep(moment)
                worker.kill()
    # and one is stopped, on a real Kafka while it still waits for the broker to miss the killed one: the embedded broker
    # loses the whole group by that (docs/deploy.md)
    with rig.start() as worker:
        worker.wait_for("working" if rig.broker.kind == "kafka" else "partitions taken over", PATIENCE_S)
        assert worker.terminate() == 0, worker.log()
    # and the last one runs to the end
    rig.run()
    # then the alerts are those of the reference; with transactions nobody saw one twice
    expected = rig.expect(plant)
    assert_alerts(rig, expected, exactly_once=rig.transactional)
    assert_scores(rig, expected, exactly_once=rig.transactional)
    assert_committed_to_the_end(rig)
