"""A machine across a break of its input: what goes on, what begins again, and what it knows by its time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.stream.bundles import Recipe
from tests.unit.stream.conftest import OpenRoutes
from tests.unit.stream.feeds import (
    REPEATABLE,
    TOPIC,
    assert_same_alerts,
    assert_same_scores,
    batch_of,
    feed,
    parsed,
    part_of,
    row_by_row,
    scores_of,
)
from tests.unit.stream.test_chunking import machine_rows
from wheeltapper.stream.input_life import InputLife
from wheeltapper.stream.kinds.contract import Routes
from wheeltapper.stream.partition import PartitionState
from wheeltapper.stream.pipeline import Pipeline
from wheeltapper.stream.records import Output
from wheeltapper.stream.settings import Settings, ThresholdSettings

FIXED = Settings(threshold=ThresholdSettings(method="fixed", raise_level=1.0, clear_duration_s=1_200.0))
ROWS = 160


def state_of(partition: PartitionState) -> dict[bytes, bytes]:
    """What a worker leaves behind that ends now."""
    partition.progress_written = partition.committed = partition.position
    records = [*partition.snapshots(0.0, everything=True), partition.progress_record(), partition.control_record()]
    return {record.key or b"": record.value or b"" for record in records}


def successor(routes: Routes, records: dict[bytes, bytes], life: InputLife, start: int) -> Pipeline:
    """A worker that takes this over, with the partition's input in this life."""
    pipeline = Pipeline(routes, FIXED)
    partition = pipeline.partition(TOPIC, 0)
    partition.life, partition.position = life, start
    partition.restore(dict(records))
    return pipeline


@REPEATABLE
@given(cut=st.integers(1, ROWS - 1), first=st.integers(0, 500), restart=st.integers(1, 40), size=st.integers(1, 30))
def test_a_topic_made_anew_goes_on_where_the_old_one_ended(
    open_routes: OpenRoutes, cut: int, first: int, restart: int, size: int
) -> None:
    # given rows of which the first part came in one topic, and the rest in another of the same name, from any offset on
    routes = open_routes(Recipe(), FIXED)
    block = machine_rows("press-1", ROWS, 3, messy=False)
    whole = feed(Pipeline(routes, FIXED), row_by_row(block))
    before = Pipeline(routes, FIXED)
    outputs = feed(before, row_by_row(part_of(block, 0, cut)), batch_sizes=[size])
    # when a worker takes the new one over, and is started again somewhere in it
    after = successor(routes, state_of(before.partition(TOPIC, 0)), InputLife(1), first)
    middle = min(cut + restart, ROWS)
    outputs += feed(after, row_by_row(part_of(block, cut, middle)), batch_sizes=[size])
    last = successor(routes, state_of(after.partition(TOPIC, 0)), InputLife(1), first + middle - cut)
    outputs += feed(last, row_by_row(part_of(block, middle, ROWS)), batch_sizes=[size])
    # then scores and alerts are those of one topic
    assert_same_scores(outputs, whole)
    assert_same_alerts(outputs, whole, same_messages=False)


def test_a_machine_whose_time_goes_back_with_the_topic_begins_again_at_once(open_routes: OpenRoutes) -> None:
    # given a machine with an open alert
    routes = open_routes(Recipe(), FIXED)
    block = machine_rows("press-1", ROWS, 3, messy=False)
    before = Pipeline(routes, FIXED)
    stop = next(
        row for row in range(20, ROWS) if _is_open(feed(Pipeline(routes, FIXED), row_by_row(part_of(block, 0, row))))
    )
    opened = feed(before, row_by_row(part_of(block, 0, stop)))
    alert = parsed(opened, "alerts")[-1]["alert_id"]
    # when the topic is made anew and the same times come once more, without three hundred late rows first
    after = successor(routes, state_of(before.partition(TOPIC, 0)), InputLife(1), 0)
    outputs = feed(after, row_by_row(block))
    # then the alert ends, and all else is as if the machine had just been met
    first, *rest = [output for output in outputs if output.topic == "alerts"]
    (ended,) = parsed([first], "alerts")
    assert (ended["alert_id"], ended["event"], ended["reason"]) == (alert, "cleared", "superseded")
    whole = feed(Pipeline(routes, FIXED), row_by_row(block))
    assert_same_scores(outputs, whole)
    assert parsed(rest, "alerts") == parsed(whole, "alerts")
    assert after.counters.late_rows == after.counters.repeated_rows == 0


def _is_open(outputs: list[Output]) -> bool:
    alerts = parsed(outputs, "alerts")
    return bool(alerts) and alerts[-1]["event"] != "cleared"


@REPEATABLE
@given(
    cut=st.integers(10, ROWS - 1),
    back=st.integers(0, ROWS),
    end=st.integers(0, 60),
    size=st.integers(1, 30),
    again=st.booleans(),
)
def test_rows_that_come_under_other_offsets_are_known_by_their_times(
    open_routes: OpenRoutes, cut: int, back: int, end: int, size: int, again: bool
) -> None:
    # given a worker that has handled a part, and a mirror of the topic that begins some rows before that, under other offsets
    routes = open_routes(Recipe(), FIXED)
    block = machine_rows("press-1", ROWS, 3, messy=False)
    whole = feed(Pipeline(routes, FIXED), row_by_row(block))
    before = Pipeline(routes, FIXED)
    outputs = feed(before, row_by_row(part_of(block, 0, cut)), batch_sizes=[size])
    start = max(cut - back, 0)
    life = InputLife(1, repeats_until=cut - start + end)
    # when it is read, by a worker that is started again before it has met anything new, or not
    records = state_of(before.partition(TOPIC, 0))
    after = successor(routes, records, life, 0)
    if again:
        known = (cut - start) // 2
        outputs += feed(after, row_by_row(part_of(block, start, start + known)))
        records |= state_of(after.partition(TOPIC, 0))
        after = successor(routes, records, life, known)
        start += known
    outputs += feed(after, row_by_row(part_of(block, start, ROWS)), batch_sizes=[size])
    # then no row counts twice, and none is missing
    assert_same_scores(outputs, whole)
    assert_same_alerts(outputs, whole)
    assert after.counters.repeated_rows == cut - start
    assert after.counters.clock_restarts == 0


@pytest.mark.parametrize("life", [0, 1])
def test_output_of_the_life_before_is_not_taken_for_that_of_this_one(open_routes: OpenRoutes, life: int) -> None:
    # given a worker that has published up to offset 60
    routes = open_routes(Recipe(), FIXED)
    block = machine_rows("press-1", ROWS, 3, messy=False)
    before = Pipeline(routes, FIXED)
    feed(before, row_by_row(part_of(block, 0, 60)))
    records = state_of(before.partition(TOPIC, 0))
    # when the rows that follow lie at offsets below it
    after = successor(routes, records, InputLife(life), 0)
    outputs = after.handle([batch_of(row_by_row(part_of(block, 60, 80)))], 1.0)
    # then they are handled and told where that is another life; in the same one they would be known
    assert len(scores_of(outputs)) == (20 if life else 0)
