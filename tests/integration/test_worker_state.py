"""What a worker finds in the `state` topic when it takes over partitions, on real brokers."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from confluent_kafka import Producer

from tests.helpers.plant import INTERVAL_US, START_US, make_plant, messages_of
from tests.integration.kafka_tools import Broker, create_topics, produce
from tests.integration.worker_tools import assert_alerts, assert_scores, make_rig
from wheeltapper.stream.settings import Settings, load_settings
from wheeltapper.stream.state import CHECK, HEAD, MAGIC, PROGRESS, progress_record
from wheeltapper.stream.state_reader import StateReader
from wheeltapper.stream.topic_end import POLL_S
from wheeltapper.stream.transactions import broker_has_transactions

pytestmark = pytest.mark.broker
KEYS = b"group/topic/"


@pytest.fixture
def settings(broker: Broker, topics_prefix: str) -> Settings:
    create_topics(broker, topics_prefix, partitions=2)
    return load_settings(
        None, kafka={"brokers": broker.address}, topics={"prefix": topics_prefix}, state={"restore_timeout_s": 60}
    )


def snapshot(offset: int) -> bytes:
    """As much of one as the reader looks at."""
    return CHECK.pack(MAGIC, 0) + HEAD.pack(offset, 0)


def test_the_newest_record_of_every_key_counts_and_tombstones_end_one(
    settings: Settings, broker: Broker, topics_prefix: str
) -> None:
    # given records of two groups, an older snapshot that came later, and a tombstone
    records = [
        (KEYS + b"a", snapshot(3), ()),
        (KEYS + b"b", snapshot(4), ()),
        (b"other/topic/a", snapshot(9), ()),
        (KEYS + b"a", snapshot(2), ()),
        (KEYS + b"b", None, ()),
        (KEYS + PROGRESS, progress_record(5, 0).value, ()),
        (KEYS + PROGRESS, progress_record(4, 0).value, ()),
    ]
    produce(broker, f"{topics_prefix}state", records)
    # when both partitions are read
    found = StateReader(settings).read({0: 0, 1: 0}, KEYS)
    # then the highest offset wins, the tombstone stands, and the last word about progress
    assert found[0] | found[1] == {b"a": snapshot(3), PROGRESS: progress_record(4, 0).value}


@pytest.mark.one_broker
def test_the_end_of_input_is_the_one_that_a_fetch_reports(
    settings: Settings, broker: Broker, topics_prefix: str
) -> None:
    # given records that came in batches, and a partition without any
    topic = f"{topics_prefix}sensors"
    for _ in range(3):
        produce(broker, topic, [(b"a", b"row", ()) for _ in range(7)])
    ends = StateReader(settings).input_ends(topic, {0, 1})
    # then the end lies behind the last of them
    assert sorted(ends.values()) == [0, 21]
    # and nothing is asked where nothing is wanted
    assert StateReader(settings).input_ends("no-such-topic", set()) == {}


def test_a_restore_ends_when_told_to_and_at_its_limit_also_while_records_come(
    settings: Settings, broker: Broker, topics_prefix: str
) -> None:
    # given more state than one look at the topic brings
    records = [(KEYS + b"a", snapshot(number), ()) for number in range(5_000)]
    produce(broker, f"{topics_prefix}state", records)
    # when the worker is told to stop, or the limit is over: then records that are there are not read on
    with pytest.raises(TimeoutError, match="told to stop while restoring"):
        StateReader(settings, stop=lambda: True).read({0: 0, 1: 0}, KEYS)
    hasty = settings.model_copy(update={"state": settings.state.model_copy(update={"restore_timeout_s": 1e-6})})
    with pytest.raises(TimeoutError, match=r"state was not restored in 1e-06 s .* raise state.restore_timeout_s"):
        StateReader(hasty).read({0: 0, 1: 0}, KEYS)
    # and with time enough, all are
    found = StateReader(settings).read({0: 0, 1: 0}, KEYS)
    assert found[0] | found[1] == {b"a": snapshot(4_999)}


def test_a_restore_takes_no_longer_than_the_brokers_answers(settings: Settings) -> None:
    # given partitions without state
    took = []
    # when they are restored several times, as load of others may hold up one
    for _ in range(10):
        started = time.monotonic()
        StateReader(settings).read({0: 0, 1: 0}, KEYS)
        took.append(time.monotonic() - started)
    # then an answer is taken when it is there, not when the time to wait for one is over
    assert min(took) < POLL_S


def time_of(row: int) -> int:
    """Event time of a row of the plant, as messages have it."""
    return START_US + INTERVAL_US * row


@pytest.fixture
def left_open(real_kafka: str, topics_prefix: str) -> tuple[Settings, Producer]:
    """Settings of a worker, and the producer of a transaction in its `state` topic that a killed worker left open."""
    broker = Broker(real_kafka, "kafka", supports_transactions=True)
    create_topics(broker, topics_prefix, partitions=1)
    dead = Producer(broker.client(**{"transactional.id": f"{topics_prefix}dead"}))
    dead.init_transactions(30)
    dead.begin_transaction()
    dead.produce(f"{topics_prefix}state", b"never committed", KEYS + b"a")
    assert dead.flush(30) == 0
    return load_settings(None, kafka={"brokers": real_kafka}, topics={"prefix": topics_prefix}), dead


@pytest.mark.kafka
def test_transactions_are_found_beside_one_that_was_left_open(left_open: tuple[Settings, Producer]) -> None:
    # given a killed worker's open transaction, when the next worker looks, then the broker has transactions
    assert broker_has_transactions(left_open[0])


@pytest.mark.kafka
def test_state_behind_a_dead_workers_transaction_is_waited_for(
    left_open: tuple[Settings, Producer], real_kafka: str, topics_prefix: str
) -> None:
    # given a killed worker's open transaction, and behind it what its successor wrote with its commit of offset 7
    settings, dead = left_open
    broker = Broker(real_kafka, "kafka", supports_transactions=True)
    successor = [(KEYS + b"a", snapshot(6), ()), (KEYS + PROGRESS, progress_record(7, 0).value, ())]
    produce(broker, f"{topics_prefix}state", successor, transaction=f"{topics_prefix}successor")
    # when the next one takes over, and the broker ends the transaction a little later
    ended = threading.Event()

    def end() -> None:
        time.sleep(1.5)
        ended.set()
        dead.abort_transaction(30)

    ending = threading.Thread(target=end)
    ending.start()
    found = StateReader(settings).read({0: 7}, KEYS)
    # then it has waited, and has the successor's state
    assert ended.is_set()
    ending.join(30)
    assert found[0][b"a"] == snapshot(6)


@pytest.mark.kafka
def test_an_input_topic_made_anew_with_older_times_begins_again(
    real_kafka: str, topics_prefix: str, tmp_path: Path
) -> None:
    # given a worker that has been through rows of every machine, to a moment in which no alert is open
    rig = make_rig(Broker(real_kafka, "kafka", supports_transactions=True), "direct", topics_prefix, tmp_path)
    before = make_plant(machines=4, rows=300)
    alerts = rig.expect(before).alerts
    rows = next(
        row
        for row in range(200, 300)
        if sum({"opened": 1, "cleared": -1}.get(alert["event"], 0) for alert in alerts if alert["time"] < time_of(row))
        == 0
    )
    rig.produce(messages_of(before.until(rows), largest_block=8))
    rig.run()
    # when the input topic is deleted and made again, and rows of earlier times come in two parts, half of the machines in each
    rig.make_sensors_anew()
    for topic in ("alerts", "localizations", "scores"):
        rig.empty(topic)
    plant = make_plant(machines=4, rows=120, seed=9)
    early, late = plant.only(0, 2), plant.only(2, 4)
    rig.produce(messages_of(early, largest_block=8))
    rig.run()
    rig.produce(messages_of(late, largest_block=8))
    rig.run()
    # then each machine begins again with its first row: nothing of the old topic comes in between, and no row is late
    expected = rig.expect(plant)
    assert_alerts(rig, expected, exactly_once=True)
    assert_scores(rig, expected, exactly_once=True)
