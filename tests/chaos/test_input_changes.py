"""The input is not what it was, under a worker that runs or between two: by both runners on a real Kafka."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, NewPartitions

from tests.helpers.plant import make_plant, messages_of
from tests.integration.kafka_tools import Broker, KafkaNode, await_brokers, consume_all
from tests.integration.worker_tools import (
    ASKS_OFTEN,
    PATIENCE_S,
    RUNNERS,
    STOPS_WITHIN_S,
    Rig,
    assert_alerts,
    assert_committed_to_the_end,
    assert_scores,
    await_rows,
    free_port,
    http_get,
    make_rig,
    metrics,
    side_by_side,
    wait_until,
)

pytestmark = [pytest.mark.broker, pytest.mark.chaos, pytest.mark.kafka, pytest.mark.slow]


def told(port: int, event: str) -> bool:
    return f'wheeltapper_input_changes_total{{event="{event}"}}' in http_get(port, "/metrics")[1]


def test_a_topic_made_anew_under_a_running_worker_goes_on_where_the_old_one_ended(kafka_rigs: list[Rig]) -> None:
    side_by_side(kafka_rigs, make_anew)


def make_anew(rig: Rig) -> None:
    # given a worker that has handled the first rows
    plant = make_plant(machines=6, rows=500)
    port = free_port()
    rig.produce(messages_of(plant.until(300), largest_block=8))
    with rig.start(environment=ASKS_OFTEN, options=("--http-port", str(port))) as worker:
        await_rows(worker, port, plant.until(300).rows)
        wait_until(lambda: rig.committed() == rig.ends(), "all was committed", worker)
        # when the topic is deleted and made again, and soon holds more messages than the old one ever did
        rig.make_sensors_anew()
        rig.produce(messages_of(plant.since(300), largest_block=1))
        # then the rest of the rows is handled
        wait_until(lambda: rig.committed() == rig.ends(), "all of the new topic was committed", worker)
        assert told(port, "made-anew")
        assert http_get(port, "/readyz")[0] == 200
        assert worker.terminate() == 0, worker.log()[-4000:]
    assert worker.log().count("was deleted and made anew") == 1
    # and alerts and scores are those of one topic that nobody touched
    expected = rig.expect(plant)
    assert_alerts(rig, expected, exactly_once=rig.transactional)
    if rig.transactional:
        assert_scores(rig, expected, exactly_once=True)


@pytest.mark.nightly
def test_messages_that_expire_and_partitions_that_are_added_are_told_and_read(kafka_rigs: list[Rig]) -> None:
    side_by_side(kafka_rigs, expire_and_add)


def expire_and_add(rig: Rig) -> None:
    # given a worker that has handled the first rows and was stopped; then messages that expire before it is back
    plant = make_plant(machines=6, rows=400)
    first, lost, rest = plant.until(100), plant.since(100).until(100), plant.since(200)
    rig.produce(messages_of(first, largest_block=8))
    rig.run(environment=ASKS_OFTEN)
    rig.produce(messages_of(lost, largest_block=8))
    rig.empty("sensors")
    rig.produce(messages_of(rest.until(100), largest_block=8))
    port = free_port()
    with rig.start(environment=ASKS_OFTEN, options=("--http-port", str(port))) as worker:
        # when it is started again, then it handles what is left, and counts what is not
        await_rows(worker, port, rest.until(100).rows)
        wait_until(lambda: metrics(port)["wheeltapper_expired_messages_total"] >= 1, "expiry was counted", worker)
        assert told(port, "expired")
        # and when the topic is given more partitions, then their rows are handled too, without anybody doing anything
        admin = AdminClient(rig.broker.client())
        admin.create_partitions([NewPartitions(rig.sensors, 7)])[rig.sensors].result()
        wait_until(lambda: told(port, "partitions-added"), "the new partitions were noticed", worker)
        rig.produce(messages_of(rest.since(100), largest_block=8))
        await_rows(worker, port, rest.rows)
        assert len(admin.list_topics(timeout=30).topics[f"{rig.prefix}state"].partitions) == 7
        assert worker.terminate() == 0, worker.log()[-4000:]
    # and a later start needs no help either
    rig.run(environment=ASKS_OFTEN)
    assert rig.committed() == {number: end for number, end in rig.ends().items() if end}


@pytest.mark.one_runner
@pytest.mark.parametrize("runner", RUNNERS)
def test_the_input_is_read_again_on_purpose(real_kafka: str, topics_prefix: str, tmp_path: Path, runner: str) -> None:
    broker = Broker(real_kafka, "kafka", supports_transactions=True)
    read_again(make_rig(broker, runner, topics_prefix, tmp_path))


def alerts_and_scores(rig: Rig) -> Counter[tuple[str, str, int]]:
    """How often each was published: (alert id, event, time), and (machine, 'score', time)."""
    found = Counter((alert["alert_id"], alert["event"], alert["time"]) for alert in rig.messages("alerts"))
    for block in rig.messages("scores"):
        found.update((block["machine"], "score", time) for time in block["time"])
    return found


def read_again(rig: Rig) -> None:
    # given a worker that has handled everything, while it runs: then nobody else may set its offsets
    plant = make_plant(machines=4, rows=200)
    rig.produce(messages_of(plant, largest_block=8))
    with rig.start() as worker:
        worker.wait_for("partitions taken over", PATIENCE_S)
        with rig.start(options=("--from", "earliest")) as other:
            assert other.wait() == 2
            assert f"group '{rig.group}' has members" in other.log()
        wait_until(lambda: rig.committed() == rig.ends(), "all was committed", worker)
        assert worker.terminate() == 0, worker.log()[-4000:]
    before = alerts_and_scores(rig)
    # when it has been stopped, and the next is told to begin at the first message
    rig.run(options=("--from", "earliest"))
    # then every alert and every score is there once more, under the same ids; what was open at the end ended before
    again = alerts_and_scores(rig) - before
    assert before - again == Counter()
    assert {event for _, event, _ in again - before} <= {"cleared"}
    # and the one after that goes on where it ended
    rig.run()
    assert alerts_and_scores(rig) == before + again
    assert {number: offset for number, offset in rig.committed().items() if offset} == rig.ends()


def supervise(rig: Rig) -> None:
    """A worker until it is idle, started again where it ends with a fault: the broker gives out producers' ids once more."""
    for _ in range(4):
        with rig.start(environment=ASKS_OFTEN, until_idle_s=1.0) as worker:
            if worker.wait() == 0:
                return
    raise AssertionError(worker.log()[-4000:])


@pytest.mark.nightly
def test_a_broker_restored_from_an_older_copy_is_read_on(
    own_kafka: KafkaNode, topics_prefix: str, tmp_path: Path
) -> None:
    # given both runners at work, and a copy of Kafka's data from before the last rows
    broker = Broker(own_kafka.start(), "kafka", supports_transactions=True)
    rigs = [
        make_rig(broker, runner, f"{runner}-{topics_prefix}", tmp_path / runner, partitions=2) for runner in RUNNERS
    ]
    plant = make_plant(machines=4, rows=400)
    ports = [free_port() for _ in rigs]
    early, gone, late = plant.until(200), plant.since(200).until(100), plant.since(200)
    for rig in rigs:
        rig.produce(messages_of(early, largest_block=4))
        rig.run()
    own_kafka.stop()
    shutil.copytree(tmp_path / "kafka", tmp_path / "copy")
    own_kafka.start()
    await_brokers(broker)
    with (
        rigs[0].start(environment=ASKS_OFTEN, options=("--http-port", str(ports[0]))) as one,
        rigs[1].start(environment=ASKS_OFTEN, options=("--http-port", str(ports[1]))) as other,
    ):
        workers = (one, other)
        for rig, worker, port in zip(rigs, workers, ports, strict=True):
            rig.produce(messages_of(gone, largest_block=4))
            await_rows(worker, port, gone.rows)
        # when the copy takes the place of what was there, and the last rows are sent again with those that follow
        own_kafka.stop()
        shutil.rmtree(tmp_path / "kafka")
        shutil.move(tmp_path / "copy", tmp_path / "kafka")
        own_kafka.start()
        await_brokers(broker)
        for rig, worker in zip(rigs, workers, strict=True):
            rig.produce(messages_of(late, seed=9, largest_block=4))
            # then each handles them, or ends by itself with a line that says why, and the next one does
            deadline = time.monotonic() + PATIENCE_S
            while worker.process.poll() is None and rig.committed() != rig.ends():
                assert time.monotonic() < deadline, worker.log()[-4000:]
                time.sleep(0.5)
    for rig in rigs:
        supervise(rig)
        assert_committed_to_the_end(rig)
        expected = rig.expect(plant)
        found = {(alert["alert_id"], alert["event"], alert["time"]) for alert in rig.messages("alerts")}
        assert {(alert["alert_id"], alert["event"], alert["time"]) for alert in expected.alerts} <= found


@pytest.mark.nightly
def test_a_broker_that_stops_answering_holds_up_no_stop(
    own_kafka: KafkaNode, topics_prefix: str, tmp_path: Path
) -> None:
    # given both runners at work under load
    broker = Broker(own_kafka.start(), "kafka", supports_transactions=True)
    rigs = [make_rig(broker, runner, f"{runner}-{topics_prefix}", tmp_path / runner) for runner in RUNNERS]
    ports = [free_port() for _ in rigs]
    plant = make_plant(machines=6, rows=600)
    ready = {"WHEELTAPPER_WORKER__READY_TIMEOUT_S": "5"}
    with (
        rigs[0].start(environment=ready, options=("--http-port", str(ports[0]))) as one,
        rigs[1].start(environment=ready, options=("--http-port", str(ports[1]))) as other,
    ):
        for rig, worker in zip(rigs, (one, other), strict=True):
            worker.wait_for("partitions taken over", PATIENCE_S)
            rig.produce(messages_of(plant, largest_block=2))
        # when the broker is there, but does not do anything any more
        process = int((tmp_path / "kafka" / "pid").read_text())
        os.kill(process, signal.SIGSTOP)
        try:
            for worker, port in zip((one, other), ports, strict=True):
                wait_until(lambda: http_get(port, "/readyz")[0] == 503, "it was not ready any more", worker)  # noqa: B023
            # and the workers are told to stop
            started = time.monotonic()
            for worker in (one, other):
                worker.process.terminate()
            # then they do, within ten seconds
            for worker in (one, other):
                assert worker.wait() == 0, worker.log()[-4000:]
            assert time.monotonic() - started < STOPS_WITHIN_S, [worker.log()[-1500:] for worker in (one, other)]
        finally:
            os.kill(process, signal.SIGCONT)
    # and the next ones lose nothing
    for rig in rigs:
        rig.run()
        assert_committed_to_the_end(rig)
        assert_alerts(rig, rig.expect(plant), exactly_once=rig.transactional)
        assert consume_all(broker, f"{rig.prefix}dead-letters") == []
