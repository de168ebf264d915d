"""NO_DATA: machines that fall silent, speak again, or are never seen again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.unit.stream.bundles import Recipe
from tests.unit.stream.conftest import OpenRoutes
from tests.unit.stream.feeds import MINUTE, START, TOPIC, Message, batch_of, block_of, message_of, parsed
from wheeltapper.schemas.codec import decode_message
from wheeltapper.schemas.events import AlertEvent
from wheeltapper.stream.core.alert_life import alert_id
from wheeltapper.stream.pipeline import Pipeline
from wheeltapper.stream.records import Output
from wheeltapper.stream.settings import NoDataSettings, Settings, StateSettings

KEY = (TOPIC, 0)
# One row a minute: silent after ten.
CHOSEN = Settings(no_data=NoDataSettings(after_intervals=10, at_least_s=60))
ALLOWED_S = 600.0


def rows_at(*minutes: int, machine: str = "press-1", value: float = 0.5) -> Message:
    times = [START + MINUTE * minute for minute in minutes]
    message = message_of(block_of(machine, np.full((len(minutes), 3), value), times=times))
    return message._replace(timestamp_ms=times[-1] // 1_000 + 5)


def opened_pipeline(open_routes: OpenRoutes, chosen: Settings = CHOSEN) -> Pipeline:
    return Pipeline(open_routes(Recipe(window=3)), chosen)


def told(outputs: list[Output]) -> list[tuple[str, str, str | None]]:
    """(machine, event, reason) of NO_DATA alerts."""
    alerts = [alert for alert in parsed(outputs, "alerts") if alert["rule"] == "no-data"]
    return [(alert["machine"], alert["event"], alert["reason"]) for alert in alerts]


def test_a_machine_that_falls_silent_opens_an_alert_once_and_clears_it_when_it_speaks(open_routes: OpenRoutes) -> None:
    # given a machine whose last row came at second 1,000 of the worker's clock
    pipeline = opened_pipeline(open_routes)
    pipeline.handle([batch_of([rows_at(0, 1, 2)])], now=1_000.0)
    # when ten minutes have not passed: then nothing is said
    assert pipeline.tick(1_000.0 + ALLOWED_S - 0.1, [KEY].__contains__) == []
    # when they have: then an alert says since when, with an id that follows from the last row
    (output,) = pipeline.tick(1_000.0 + ALLOWED_S, [KEY].__contains__)
    alert = decode_message(AlertEvent, output.value)
    assert alert.alert_id == alert_id("press-1", "no-data", "", START + 2 * MINUTE)
    assert (alert.event, alert.rule, alert.detector, alert.bundle) == ("opened", "no-data", "no-data", "")
    assert (alert.opened_at, alert.time) == (START + 2 * MINUTE, START + 12 * MINUTE)
    assert (alert.score, alert.severity, alert.channels, alert.reason) == (1.0, 50, (), None)
    assert (output.topic, output.key) == ("alerts", b"press-1")
    # and says it once
    assert pipeline.tick(9_000.0, [KEY].__contains__) == []
    # when the machine speaks again: then the alert is cleared under the same id, at the time of the row
    outputs = pipeline.handle([batch_of([rows_at(90, 91, 92)], first=1)], now=9_001.0)
    (cleared,) = parsed(outputs, "alerts")
    assert cleared["alert_id"] == alert.alert_id
    assert (cleared["event"], cleared["reason"], cleared["time"]) == ("cleared", "recovered", START + 90 * MINUTE)
    # and the next silence is another alert
    (again,) = parsed(pipeline.tick(9_001.0 + ALLOWED_S, [KEY].__contains__), "alerts")
    assert again["alert_id"] != alert.alert_id
    assert pipeline.counters.silent_machines == 2


def test_a_machine_that_has_moved_to_another_partition_is_not_silent_in_the_old_one(open_routes: OpenRoutes) -> None:
    # given a topic that was given partitions: a machine's rows come in another one from then on
    pipeline = opened_pipeline(open_routes)
    pipeline.handle([batch_of([rows_at(0, 1), rows_at(0, machine="press-2")])], now=0.0)
    pipeline.handle([batch_of([rows_at(2, 3)], partition=5)], now=120.0)
    # when it would count as silent where it was
    outputs = pipeline.tick(ALLOWED_S, {KEY, (TOPIC, 5)}.__contains__)
    # then it is forgotten there and no alert opens; another machine's does
    assert told(outputs) == [("press-2", "opened", None)]
    assert [output.key for output in outputs if output.topic == "state"] == [b"wheeltapper/wheeltapper.sensors/press-1"]
    assert pipeline.partition(*KEY).find("press-1") is None
    assert pipeline.partition(TOPIC, 5).find("press-1") is not None


def test_only_partitions_that_were_read_to_their_end_can_be_silent(open_routes: OpenRoutes) -> None:
    # given machines of two partitions, long silent as far as the worker has read
    pipeline = opened_pipeline(open_routes)
    for number, machine in enumerate(("press-1", "press-2")):
        pipeline.handle([batch_of([rows_at(0, machine=machine)], partition=number)], now=0.0)
    # when one partition has been read to its end and the other has not: then the machine of the first alone is silent
    assert told(pipeline.tick(5_000.0, [(TOPIC, 1)].__contains__)) == [("press-2", "opened", None)]
    assert told(pipeline.tick(5_000.0, [(TOPIC, 0), (TOPIC, 1), (TOPIC, 7)].__contains__)) == [
        ("press-1", "opened", None)
    ]


def test_machines_are_silent_one_by_one(open_routes: OpenRoutes) -> None:
    # given three machines of which one goes on
    pipeline = opened_pipeline(open_routes)
    messages = [rows_at(0, machine=name) for name in ("one", "two", "three")]
    pipeline.handle([batch_of(messages)], now=0.0)
    pipeline.handle([batch_of([rows_at(1, machine="two")], first=3)], now=500.0)
    # when the others' time is over: then they are told of, and it is when its own is
    assert told(pipeline.tick(ALLOWED_S, [KEY].__contains__)) == [("one", "opened", None), ("three", "opened", None)]
    assert told(pipeline.tick(500.0 + ALLOWED_S, [KEY].__contains__)) == [("two", "opened", None)]


@pytest.mark.parametrize(
    ("settings", "after_s"),
    [
        (NoDataSettings(after_intervals=2, at_least_s=500), 500.0),
        (NoDataSettings(after_intervals=20, at_least_s=1), 1_200.0),
        (NoDataSettings(after_intervals=0), None),
    ],
)
def test_the_longer_of_intervals_and_seconds_counts(
    open_routes: OpenRoutes, settings: NoDataSettings, after_s: float | None
) -> None:
    pipeline = opened_pipeline(open_routes, Settings(no_data=settings))
    pipeline.handle([batch_of([rows_at(0)])], now=0.0)
    if after_s is None:
        assert pipeline.tick(1e6, [KEY].__contains__) == []
    else:
        assert pipeline.tick(after_s - 1, [KEY].__contains__) == []
        assert told(pipeline.tick(after_s, [KEY].__contains__)) == [("press-1", "opened", None)]


def test_a_row_without_a_window_ends_silence_too(open_routes: OpenRoutes) -> None:
    # given a machine that has sent one row, too few for a window, and is silent
    pipeline = opened_pipeline(open_routes)
    pipeline.handle([batch_of([rows_at(0)])], now=0.0)
    assert told(pipeline.tick(5_000.0, [KEY].__contains__)) == [("press-1", "opened", None)]
    # when the next comes: then that is all it takes
    outputs = pipeline.handle([batch_of([rows_at(1)], first=1)], now=5_001.0)
    assert told(outputs) == [("press-1", "cleared", "recovered")]


def restarted(pipeline: Pipeline, open_routes: OpenRoutes, now: float, wall_us: int) -> tuple[Pipeline, list[Output]]:
    """Another worker with the snapshots of this one."""
    partition = pipeline.partition(TOPIC, 0)
    records = {record.key or b"": record.value or b"" for record in partition.snapshots(now, wall_us, everything=True)}
    successor = opened_pipeline(open_routes, pipeline.settings)
    taken = successor.partition(TOPIC, 0)
    taken.position = partition.committable
    outputs, _ = taken.restore(records, 0.0, wall_us)
    return successor, outputs


def test_silence_outlives_a_restart_and_its_alert_is_said_again(open_routes: OpenRoutes) -> None:
    # given a silent machine whose worker ends, perhaps before its alert was out
    pipeline = opened_pipeline(open_routes)
    pipeline.handle([batch_of([rows_at(0, 1)])], now=0.0)
    (first,) = parsed(pipeline.tick(ALLOWED_S, [KEY].__contains__), "alerts")
    # when another takes over: then it says the alert again, under its id, and clears it when the machine speaks
    successor, outputs = restarted(pipeline, open_routes, ALLOWED_S, START)
    (again,) = parsed(outputs, "alerts")
    assert (again["alert_id"], again["event"]) == (first["alert_id"], "opened")
    assert successor.tick(10_000.0, [KEY].__contains__) == []
    outputs = successor.handle([batch_of([rows_at(60)], first=1)], now=10_001.0)
    assert [(alert["alert_id"], alert["event"]) for alert in parsed(outputs, "alerts")] == [
        (first["alert_id"], "cleared")
    ]


def test_time_without_a_worker_counts_as_silence(open_routes: OpenRoutes) -> None:
    # given a machine heard 400 s before its worker ended, by the wall clock
    pipeline = opened_pipeline(open_routes)
    pipeline.handle([batch_of([rows_at(0, 1)])], now=0.0)
    partition = pipeline.partition(TOPIC, 0)
    (record,) = partition.snapshots(400.0, START + 400_000_000, everything=True)
    # when another starts 150 s later, at zero of its own clock
    successor = opened_pipeline(open_routes)
    taken = successor.partition(TOPIC, 0)
    taken.position = 1
    taken.restore({b"press-1": record.value or b""}, 0.0, START + 550_000_000)
    # then 50 s are left
    assert successor.tick(49.0, [KEY].__contains__) == []
    assert told(successor.tick(50.0, [KEY].__contains__)) == [("press-1", "opened", None)]


def test_a_machine_that_is_never_seen_again_is_dropped_and_its_alerts_end(open_routes: OpenRoutes) -> None:
    # given a machine with an open alert that has been silent for the set time
    chosen = CHOSEN.model_copy(update={"state": StateSettings(forget_machine_after_s=86_400)})
    pipeline = opened_pipeline(open_routes, chosen)
    outputs = pipeline.handle([batch_of([rows_at(0, 1, 2, value=9.5)])], now=0.0)
    (fault,) = parsed(outputs, "alerts")
    (silence,) = parsed(pipeline.tick(ALLOWED_S, [KEY].__contains__), "alerts")
    assert pipeline.tick(86_399.0, [KEY].__contains__) == []
    # when it is dropped
    outputs = pipeline.tick(86_400.0, [KEY].__contains__)
    # then both alerts end with the reason, and its record in the state topic is deleted
    ended = {alert["alert_id"]: (alert["event"], alert["reason"]) for alert in parsed(outputs[:2], "alerts")}
    assert ended == {fault["alert_id"]: ("cleared", "no-data"), silence["alert_id"]: ("cleared", "no-data")}
    (tombstone,) = [output for output in outputs if output.topic == "state"]
    assert (tombstone.key, tombstone.value, tombstone.partition) == (
        b"wheeltapper/wheeltapper.sensors/press-1",
        None,
        0,
    )
    partition = pipeline.partition(TOPIC, 0)
    assert partition.machines == 0
    assert partition.snapshots(90_000.0, everything=True) == []
    assert partition.committable == partition.position == 1
    assert pipeline.counters.forgotten_machines == 1
    # and when it comes back, it begins anew
    pipeline.handle([batch_of([rows_at(9_000)], first=1)], now=90_000.0)
    machine = partition.find("press-1")
    assert machine is not None
    assert machine.silent_since is None


def test_silence_is_in_the_next_snapshot_at_once(open_routes: OpenRoutes) -> None:
    # given a machine whose snapshot is up to date
    pipeline = opened_pipeline(open_routes)
    pipeline.handle([batch_of([rows_at(0)])], now=0.0)
    partition = pipeline.partition(TOPIC, 0)
    partition.snapshots(0.0, everything=True)
    # when it falls silent: then the next snapshots hold it, without a message that changed it
    pipeline.tick(ALLOWED_S, [KEY].__contains__)
    assert partition.committable == 1
    records: list[Any] = partition.snapshots(ALLOWED_S)
    assert [record.key for record in records] == [b"press-1"]
