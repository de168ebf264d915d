"""kill -9 of a worker that listens to microphones: what comes out in the end is what an uninterrupted run gives."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from tests.integration.kafka_tools import Broker
from tests.integration.sound_tools import assert_clips, assert_sound, expect, hall, messages_of, sound_rig
from tests.integration.worker_tools import (
    PATIENCE_S,
    RUNNERS,
    Feed,
    Rig,
    assert_committed_to_the_end,
    side_by_side,
)

pytestmark = [pytest.mark.broker, pytest.mark.chaos, pytest.mark.slow]


@pytest.mark.real_broker
@pytest.mark.parametrize("kills", [1, pytest.param(4, marks=pytest.mark.nightly)])
def test_killed_and_restarted_it_loses_and_invents_no_sound(
    broker: Broker, topics_prefix: str, tmp_path: Path, kills: int
) -> None:
    rigs = [sound_rig(broker, runner, f"{runner}-{topics_prefix}", tmp_path / runner) for runner in RUNNERS]
    side_by_side(rigs, lambda rig: kill_again_and_again(rig, kills))


def kill_again_and_again(rig: Rig, kills: int) -> None:
    # given sound that waits and sound that keeps coming, snapshots that are taken often, and commits that lag behind
    chunks = hall(3 + kills, 12.0)
    half = len(chunks) // 2
    rig.produce(messages_of(chunks[:half]))
    often = {"WHEELTAPPER_STATE__SNAPSHOT_INTERVAL_S": "1.0", "WHEELTAPPER_WORKER__COMMIT_INTERVAL_MS": "200"}
    moments = np.random.default_rng(4).uniform(0.0, 1.5, kills)
    with Feed(rig, messages_of(chunks[half:]), seconds=kills * 8):
        # when the worker is killed again and again, soon after it took over
        for moment in moments:
            with rig.start(environment=often) as worker:
                worker.wait_for("partitions taken over", PATIENCE_S)
                time.sleep(moment)
                worker.kill()
    # and one is stopped, on a real Kafka while it still waits for the broker to miss the killed one
    with rig.start(environment=often) as worker:
        worker.wait_for("working" if rig.broker.kind == "kafka" else "partitions taken over", PATIENCE_S)
        assert worker.terminate() == 0, worker.log()
    # and the last one runs to the end
    rig.run(environment=often)
    # then alerts, their ids, scores and clips are those of an undisturbed run
    assert_sound(rig, expect(rig.bundle, chunks))
    assert_clips(rig)
    assert_committed_to_the_end(rig)
