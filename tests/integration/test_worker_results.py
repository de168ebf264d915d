"""What a worker makes of a plant's rows, by each runner on each broker: the same as the pipeline alone and as the reference."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.helpers.plant import make_plant, messages_of, mixed_in, poison
from tests.integration.kafka_tools import Broker, consume_all
from tests.integration.worker_tools import (
    RUNNERS,
    STOPS_WITHIN_S,
    Rig,
    assert_alerts,
    assert_committed_to_the_end,
    assert_scores,
    await_counts,
    free_port,
    http_get,
    make_rig,
)
from wheeltapper.schemas.events import DeadLetterHeader, DeadLetterReason

pytestmark = pytest.mark.broker


@pytest.fixture(params=RUNNERS)
def rig(request: pytest.FixtureRequest, broker: Broker, topics_prefix: str, tmp_path: Path) -> Rig:
    return make_rig(broker, request.param, topics_prefix, tmp_path)


@pytest.mark.each_once
def test_any_mix_of_messages_gives_what_the_reference_gives(rig: Rig) -> None:
    # given rows of several machines in three encodings and blocks of 1 to 40 rows, and poison among them
    plant = make_plant()
    first = plant.until(250)
    bad = poison(plant.machines["press-00"])
    rig.produce(mixed_in(messages_of(first), bad))
    # when a worker runs until it has seen them all, and is stopped as a supervisor would
    port = free_port()
    with rig.start(options=("--http-port", str(port))) as worker:
        counts = {
            "wheeltapper_messages_total": rig.produced - len(bad),
            "wheeltapper_dead_letters_total": len(bad),
            "wheeltapper_rows_total": first.rows,
        }
        # then each was handled or is a dead letter
        await_counts(worker, port, counts)
        assert http_get(port, "/readyz") == (200, "ready\n")
        asked = time.monotonic()
        assert worker.terminate() == 0, worker.log()
        assert time.monotonic() - asked < STOPS_WITHIN_S
    # and offsets are committed to the end
    _assert_dead_letters(rig, len(bad))
    assert_committed_to_the_end(rig)
    # and what came out is what the reference says, each once
    assert_alerts(rig, rig.expect(first), exactly_once=True)
    assert_scores(rig, rig.expect(first), exactly_once=True)

    # when the other rows come and a worker starts again, until it is idle
    rig.produce(messages_of(plant.since(250), seed=5))
    rig.run()
    # then windows and open alerts went on as if nothing had been
    assert_committed_to_the_end(rig)
    assert_alerts(rig, rig.expect(plant), exactly_once=True)
    assert_scores(rig, rig.expect(plant), exactly_once=True)


def _assert_dead_letters(rig: Rig, count: int) -> None:
    letters = rig.records("dead-letters")
    assert len(letters) == count
    originals = {(record.partition, record.offset): record for record in consume_all(rig.broker, rig.sensors)}
    for letter in letters:
        headers = {name: value.decode() for name, value in letter.headers.items()}
        assert headers[DeadLetterHeader.TOPIC] == rig.sensors
        assert headers[DeadLetterHeader.REASON] in set(DeadLetterReason)
        assert headers[DeadLetterHeader.DETAIL]
        place = (int(headers[DeadLetterHeader.PARTITION]), int(headers[DeadLetterHeader.OFFSET]))
        original = originals.pop(place)
        assert (letter.key, letter.value) == (original.key, original.value)
