"""A million messages that nobody meant to send, among those of good machines."""

from __future__ import annotations

import itertools
import time

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from tests.helpers.memory import peak
from tests.helpers.plant import make_plant, messages_of
from tests.integration.worker_tools import Rig, assert_alerts, free_port, http_get, metrics, side_by_side, wait_until
from tests.scale.fuzzing import fuzzed
from tests.scale.samples import ends
from wheeltapper.schemas.events import DeadLetterHeader, DeadLetterReason

pytestmark = [pytest.mark.broker, pytest.mark.kafka, pytest.mark.nightly]

FULL = 1_000_000
MOST_MB = 768
"""512 beside the state of machines (docs/stream.md), and the state of those thousands that the fuzz makes up."""
SAME_COUNTS = tuple(f"wheeltapper_{name}_total" for name in ("messages", "dead_letters", "rows", "windows", "alerts"))


def refused(rig: Rig) -> dict[tuple[int, int], str]:
    """Partition and offset of every message that is a dead letter, or has rows that are; and why."""
    consumer = Consumer(
        rig.broker.client(
            **{
                "group.id": "tests",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "isolation.level": "read_committed",
            }
        )
    )
    topic, found = f"{rig.prefix}dead-letters", {}
    try:
        waiting = set(consumer.list_topics(topic, timeout=15).topics[topic].partitions)
        consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in waiting])
        while waiting:
            for message in consumer.consume(5_000, timeout=1.0):
                if message.error():
                    waiting.discard(message.partition())
                    continue
                headers = dict(message.headers() or ())
                place = int(headers[DeadLetterHeader.PARTITION]), int(headers[DeadLetterHeader.OFFSET])
                found[place] = headers[DeadLetterHeader.REASON].decode()
    finally:
        consumer.close()
    return found


@pytest.mark.timeout(7_200)
def test_every_message_is_accounted_for_and_good_machines_lose_nothing(rigs: list[Rig], scale: float) -> None:
    number = max(5_000, round(FULL * scale))
    # Both runners read the same, record by record: by its key and time each lies in the same partition, and is as far from the future.
    same = {"partitioner": "consistent", "timestamp_ms": round(time.time() * 1e3)}
    found: dict[str, tuple[dict[tuple[int, int], str], dict[str, float]]] = {}

    def scenario(rig: Rig) -> None:
        # given messages of good machines, and many more of nonsense between them
        plant = make_plant(machines=6, rows=400)
        good = messages_of(plant, largest_block=8)
        every = number // len(good)
        nonsense = fuzzed(number, seed=7)
        feed = ([*itertools.islice(nonsense, every), message] for message in good)
        port = free_port()
        with rig.start(options=("--http-port", str(port))) as worker:
            # when a worker reads them
            rig.produce(itertools.chain(itertools.chain.from_iterable(feed), nonsense), **same)
            wait_until(lambda: rig.committed() == ends(rig), "it had read everything", worker, 3_600)
            handled, most = metrics(port), peak(worker.process.pid)
            ready = http_get(port, "/readyz")[0]
            assert worker.terminate() == 0, worker.log()[-4000:]
        # then each of them was handled, or is a dead letter; both is only one whose time others refuted afterwards
        letters = refused(rig)
        print(
            f"{rig.runner}: {rig.produced} messages, {handled['wheeltapper_messages_total']:.0f} handled, {len(letters)} dead letters, "
            f"{handled['wheeltapper_rows_total']:.0f} rows, peak {most:.0f} MB"
        )
        assert ready == 200
        whole = sum(reason != DeadLetterReason.TIME_AHEAD for reason in letters.values())
        assert whole <= rig.produced - handled["wheeltapper_messages_total"] <= len(letters)
        assert most < MOST_MB
        # and the alerts of the good machines are those of a run without them
        expected = rig.expect(plant)
        assert_alerts(rig, expected, exactly_once=rig.transactional, machines=set(plant.machines))
        found[rig.runner] = letters, {name: handled.get(name, 0.0) for name in SAME_COUNTS}

    side_by_side(rigs, scenario)
    # and both runners, whose batches are other ones, come to the same
    first, second = found.values()
    assert first[1] == second[1]
    assert first[0] == second[0], f"only one has {sorted(set(first[0].items()) ^ set(second[0].items()))[:10]}"
