"""Topics under a running worker: those that it writes are deleted or made anew, its input expires before it has read it."""

from __future__ import annotations

import re
import signal
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource

from tests.helpers.plant import Plant, make_plant, messages_of
from tests.integration.kafka_tools import Broker, KafkaNode, create_topic, topic_settings
from tests.integration.worker_tools import (
    ASKS_OFTEN,
    PATIENCE_S,
    RUNNERS,
    Rig,
    assert_alerts,
    assert_like,
    await_rows,
    free_port,
    http_get,
    make_rig,
    metrics,
    side_by_side,
    wait_until,
)
from wheeltapper.schemas.codec import decode_sensor_block
from wheeltapper.schemas.sensor_block import SensorBlock
from wheeltapper.schemas.topics import TOPICS

pytestmark = [pytest.mark.broker, pytest.mark.chaos, pytest.mark.kafka, pytest.mark.slow]


def delete(rig: Rig, *names: str) -> None:
    """Delete topics of the project, as an operator would."""
    topics = [f"{rig.prefix}{name}" for name in names]
    admin = AdminClient(rig.broker.client())  # answers come only while it lives
    for future in admin.delete_topics(topics, operation_timeout=60).values():
        future.result()


def events_of(messages: list[dict[str, object]]) -> list[tuple[object, object, object]]:
    return sorted((each["alert_id"], each["event"], each["time"]) for each in messages)  # type: ignore[type-var]


def test_topics_that_a_worker_writes_are_deleted_under_it(kafka_rigs: list[Rig]) -> None:
    side_by_side(kafka_rigs, delete_outputs)


def delete_outputs(rig: Rig) -> None:
    # given a worker that has handled and committed the first rows
    plant = make_plant(machines=6, rows=600)
    first, second, third = plant.until(200), plant.since(200).until(200), plant.since(400)
    port = free_port()
    rig.produce(messages_of(first, largest_block=8))
    with rig.start(environment=ASKS_OFTEN, options=("--http-port", str(port))) as worker:
        wait_until(lambda: rig.committed() == rig.ends(), "the first rows were committed", worker)
        before = rig.messages("alerts")
        # when topics are deleted that it writes, and rows follow
        delete(rig, "alerts", "scores")
        rig.produce(messages_of(second, largest_block=8))
        # then one runner goes on, the other leaves that to its supervisor; either says which topic it is
        if rig.runner == "faust":
            assert worker.wait() == 1
        else:
            wait_until(lambda: rig.committed() == rig.ends(), "the next rows were committed", worker)
            assert "topics that were deleted under this worker are made anew" in worker.log()
            assert worker.terminate() == 0
        assert re.search(rf"topics? .*{rig.prefix}(alerts|scores)", worker.log())
    if rig.runner == "faust":
        rig.run(environment=ASKS_OFTEN)
    # and topics are as they should be, not as the broker makes them
    for name in ("alerts", "scores"):
        settings = topic_settings(rig.broker, f"{rig.prefix}{name}")
        assert TOPICS[name].kafka_config().items() <= settings.items()
    # when the state itself is made anew under a worker that runs, which is then killed
    with rig.start(environment=ASKS_OFTEN, options=("--http-port", str(port))) as worker:
        worker.wait_for("partitions taken over", PATIENCE_S)
        delete(rig, "state")
        create_topic(rig.broker, f"{rig.prefix}state", 4, **TOPICS["state"].kafka_config())
        wait_until(
            lambda: 'wheeltapper_remade_topics_total{topic="state"} 1.0' in http_get(port, "/metrics")[1],
            "the new topic was noticed",
            worker,
        )
        wait_until(lambda: len(rig.records("state")) >= len(plant.machines), "all state was written again", worker)
        worker.kill()
    # then nobody can tell from what comes of the last rows
    rig.produce(messages_of(third, largest_block=8))
    log = rig.run(environment=ASKS_OFTEN).log()
    assert "state-lost" not in log
    expected, after = rig.expect(plant), rig.messages("alerts")
    wanted = events_of(expected.alerts)
    if rig.transactional:
        assert events_of(before + after) == wanted
    assert set(events_of(before + after)) == set(wanted)
    by_name = {(each["alert_id"], each["event"], each["time"]): each for each in expected.alerts}
    for each in after:
        assert_like(
            {key: value for key, value in each.items() if key != "input"},
            {
                key: value
                for key, value in by_name[each["alert_id"], each["event"], each["time"]].items()
                if key != "input"
            },
        )


@pytest.mark.nightly
def test_input_that_expires_before_a_running_worker_has_read_it(
    topics_prefix: str, tmp_path: Path, own_kafka: KafkaNode
) -> None:
    # given a Kafka that looks at retention often
    own_kafka.add_settings("log.retention.check.interval.ms=500")
    broker = Broker(own_kafka.start(), "kafka", supports_transactions=True)
    side_by_side(
        [make_rig(broker, runner, f"{runner}-{topics_prefix}", tmp_path / runner, partitions=1) for runner in RUNNERS],
        expire_under,
    )


def expire_under(rig: Rig) -> None:
    # given a worker that has handled the first rows, and then stands still while others come
    plant = make_plant(machines=6, rows=600)
    first, lost, rest = plant.until(200), plant.since(200).until(200), plant.since(400)
    port = free_port()
    rig.produce(messages_of(first, largest_block=1))
    with rig.start(environment=ASKS_OFTEN, options=("--http-port", str(port))) as worker:
        await_rows(worker, port, first.rows)
        wait_until(lambda: rig.committed() == rig.ends(), "the first rows were committed", worker)
        worker.process.send_signal(signal.SIGSTOP)
        rig.produce(messages_of(lost, largest_block=1))
        rows = rows_by_offset(rig)
        # when the topic's retention is shrunk meanwhile, so that they expire, and set back
        retain(rig, 1)
        ends = rig.ends()
        wait_until(lambda: firsts(rig) == ends, "the rows had expired", worker, tell=lambda: firsts(rig))
        retain(rig, 7 * 24 * 3_600_000)
        worker.process.send_signal(signal.SIGCONT)
        rig.produce(messages_of(rest, largest_block=1))
        # then the worker goes on, and says which are gone
        wait_until(lambda: rig.committed() == rig.ends(), "everything was committed", worker)
        wait_until(lambda: metrics(port)["wheeltapper_expired_messages_total"] >= 1, "it was told", worker)
        counted = metrics(port)
        assert worker.terminate() == 0, worker.log()[-4000:]
    # and it has handled all others: what the client had fetched before is among them
    gone = gone_offsets(worker.log())
    assert counted["wheeltapper_expired_messages_total"] == len(gone)
    assert counted["wheeltapper_rows_total"] >= plant.rows - len(gone)
    left = without(plant, [rows[each] for each in gone])
    expected = rig.expect(left)
    assert_alerts(rig, expected, exactly_once=rig.transactional)


def rows_by_offset(rig: Rig) -> dict[tuple[int, int], tuple[str, int]]:
    """(partition, offset) -> (machine, time): of messages of one row each."""
    found = {}
    for record in rig.records("sensors"):
        block = decode_sensor_block(record.value, record.headers.get("content-type"))
        found[record.partition, record.offset] = (block.machine, int(block.ts[0]))
    return found


def retain(rig: Rig, milliseconds: int) -> None:
    entry = ConfigEntry("retention.ms", str(milliseconds), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, rig.sensors, incremental_configs=[entry])
    admin = AdminClient(rig.broker.client())
    admin.incremental_alter_configs([resource])[resource].result()


def firsts(rig: Rig) -> dict[int, int]:
    """Partition -> offset of its first message, of the partitions that ever had one."""
    client = Consumer(rig.broker.client(**{"group.id": "tests"}))
    try:
        found = {
            number: client.get_watermark_offsets(TopicPartition(rig.sensors, number), timeout=30)[0]
            for number in client.list_topics(rig.sensors, timeout=30).topics[rig.sensors].partitions
        }
    finally:
        client.close()
    return {number: offset for number, offset in found.items() if offset}


def gone_offsets(log: str) -> set[tuple[int, int]]:
    """(partition, offset) of messages that the log says are gone."""
    gone = set()
    for line in log.splitlines():
        found = re.search(r"offsets (\d+) to (\d+).*partitions=\[(\d+)\]", line)
        if found:
            start, stop, number = map(int, found.groups())
            gone |= {(number, offset) for offset in range(start, stop)}
    return gone


def without(plant: Plant, rows: list[tuple[str, int]]) -> Plant:
    """The plant but for these rows, (machine, time)."""
    gone: dict[str, list[int]] = defaultdict(list)
    for machine, time_us in rows:
        gone[machine].append(time_us)
    machines = {}
    for name, block in plant.machines.items():
        kept = ~np.isin(block.ts, gone[name])
        machines[name] = SensorBlock(name, block.ts[kept], block.channels, block.values[kept])
    return Plant(machines)
