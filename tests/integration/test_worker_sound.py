"""What a worker makes of microphones, by each runner on each broker: the same as the pipeline without Kafka."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.kafka_tools import Broker
from tests.integration.sound_tools import assert_clips, assert_sound, expect, hall, messages_of, sound_rig
from tests.integration.worker_tools import RUNNERS, Rig, assert_committed_to_the_end, await_counts, free_port, metrics
from tests.unit.stream.sounds import RATE, chunks_of, hum

pytestmark = pytest.mark.broker


@pytest.fixture(params=RUNNERS)
def rig(request: pytest.FixtureRequest, broker: Broker, topics_prefix: str, tmp_path: Path) -> Rig:
    return sound_rig(broker, request.param, topics_prefix, tmp_path)


@pytest.mark.each_once
def test_microphones_give_scores_alerts_and_clips(rig: Rig) -> None:
    # given five microphones at two rates and in three encodings, one of which dies, one whose minute comes in a message of
    # 3.8 MB, and a message that is none
    chunks = hall(5, 8.0)
    chunks += chunks_of(
        hum(60, loud=(40, 41), rate=2 * RATE), [120 * RATE], rate=2 * RATE, machine="fan-9", encoding="float32"
    )
    messages = messages_of(chunks)
    messages.insert(7, (b"fan-0", b"no sound", []))
    rig.produce(messages)
    # when a worker runs until it is idle
    port = free_port()
    with rig.start(options=["--http-port", str(port)]) as worker:
        samples = sum(len(chunk) for chunk in chunks)
        await_counts(
            worker, port, {"wheeltapper_sound_samples_total": samples, "wheeltapper_dead_microphones_total": 1}
        )
        assert metrics(port)["wheeltapper_sound_total"] > 0
        assert worker.terminate() == 0, worker.log()
    # then alerts and scores are those of the pipeline alone
    expected = expect(rig.bundle, chunks)
    assert_sound(rig, expected)
    assert len(expected.alerts) >= 5
    # and each alert leads to its sound
    assert assert_clips(rig) >= 5
    # and what could not be read is a dead letter
    assert len(rig.records("dead-letters")) == 1
    assert_committed_to_the_end(rig)
