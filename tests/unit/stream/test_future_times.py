"""Rows from the future: one bad stamp, several, a whole machine, a clock that creeps; live, and without timestamps of records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.stream.bundles import Recipe
from tests.unit.stream.conftest import OpenRoutes
from tests.unit.stream.feeds import (
    MINUTE,
    REPEATABLE,
    START,
    TOPIC,
    Message,
    assert_same_alerts,
    assert_same_scores,
    batch_of,
    block_of,
    events_of,
    feed,
    letters_of,
    message_of,
    part_of,
    scores_of,
)
from wheeltapper.schemas.clock import MAX_MICROS
from wheeltapper.schemas.codec import decode_sensor_block
from wheeltapper.schemas.events import DeadLetterHeader
from wheeltapper.schemas.sensor_block import SensorBlock
from wheeltapper.stream.core.row_clock import PROOF_ROWS
from wheeltapper.stream.core.row_memory import RowMemory
from wheeltapper.stream.pipeline import Pipeline
from wheeltapper.stream.records import Output
from wheeltapper.stream.settings import InputSettings, NoDataSettings, Settings, ThresholdSettings, WindowSettings

YEAR = 365 * 24 * 60
"""Minutes."""
DAY = 24 * 60
RECIPE = Recipe(window=3, weighting="mean")
FIXED = ThresholdSettings(method="fixed", clear_duration_s=180)
PLAIN = Settings(threshold=FIXED)


def rows_at(minutes: Sequence[float], machine: str = "press-1") -> SensorBlock:
    """A row at each of these minutes after START; channel a tells which."""
    values = [[0.5 + 0.01 * (row % 50), 0.5, 0.5] for row in range(len(minutes))]
    times = [min(START + round(MINUTE * minute), MAX_MICROS) for minute in minutes]
    return block_of(machine, values, times=times)


def sent(block: SensorBlock, stamps: Sequence[float] | None = None, rows: int = 1) -> list[Message]:
    """`rows` to a message; stamps: minutes after START of the records' timestamps, of each row the message's last counts."""
    messages = []
    for start in range(0, len(block), rows):
        part = part_of(block, start, start + rows)
        stamp = -1 if stamps is None else (START + round(MINUTE * stamps[start + len(part) - 1])) // 1_000
        messages.append(message_of(part)._replace(timestamp_ms=stamp))
    return messages


def run(
    open_routes: OpenRoutes, messages: Sequence[Message], chosen: Settings = PLAIN, sizes: Sequence[int] = (1,)
) -> tuple[Pipeline, list[Output]]:
    pipeline = Pipeline(open_routes(RECIPE, chosen), chosen)
    return pipeline, feed(pipeline, messages, batch_sizes=sizes)


def without(block: SensorBlock, rows: Sequence[int]) -> SensorBlock:
    kept = np.setdiff1d(np.arange(len(block)), rows)
    return SensorBlock(block.machine, block.ts[kept], block.channels, block.values[kept])


@pytest.mark.parametrize("ahead", [61, 2 * DAY, YEAR, 10 * YEAR, 4e9])
@pytest.mark.parametrize("bad", [1, 2, PROOF_ROWS - 1])
@pytest.mark.parametrize("stamps", ["none", "live", "replayed", "copied"])
def test_bad_stamps_cost_their_own_rows_alone(open_routes: OpenRoutes, ahead: float, bad: int, stamps: str) -> None:
    # given a row a minute of which some in a row are stamped far ahead, however records are stamped themselves
    minutes = [float(minute) for minute in range(40)]
    odd = range(20, 20 + bad)
    block = rows_at([minute + ahead if row in odd else minute for row, minute in enumerate(minutes)])
    stamped = {
        "none": None,
        "live": [minute + 0.01 for minute in minutes],
        "replayed": [YEAR * 20 + minute / 1_000 for minute in minutes],
        "copied": [float(time - START) / MINUTE for time in block.ts.tolist()],
    }[stamps]
    # when they are handled
    pipeline, outputs = run(open_routes, sent(block, stamped))
    # then the others are scored as if there were no others, and each odd one is a dead letter
    _, expected = run(open_routes, sent(without(block, odd)))
    assert_same_scores(outputs, expected)
    letters = letters_of(outputs)
    assert [(letter.reason, letter.offset) for letter in letters] == [("time-ahead", row) for row in odd]
    # a row is kept as it was, to be sent again
    for letter, row in zip(letters, odd, strict=True):
        kept = decode_sensor_block(letter.output.value)
        assert (kept.machine, kept.ts.tolist()) == ("press-1", [block.ts[row]])
        assert np.array_equal(kept.values, block.values[[row]])
    counts = pipeline.counters
    assert (counts.ahead_rows, counts.late_rows, counts.clock_restarts, counts.rows) == (bad, 0, 0, 40 - bad)
    assert counts.messages + sum(counts.dead_letters.values()) == 40
    assert counts.newest_time == block.ts[-1]


def test_time_that_has_moved_on_is_proved_by_ten_rows_and_no_row_is_lost(open_routes: OpenRoutes) -> None:
    # given a recording with a gap of a week, and one of a year
    block = rows_at([*range(10), *range(7 * DAY, 7 * DAY + 15), *range(YEAR, YEAR + PROOF_ROWS)])
    # when it is handled: then every row is scored, with the times that it had
    for rows, sizes in ((1, (1,)), (7, (2,)), (100, (1,))):
        pipeline, outputs = run(open_routes, sent(block, rows=rows), sizes=sizes)
        assert sorted(time for _, _, time in scores_of(outputs)) == block.ts[2:].tolist()
        assert (pipeline.counters.rows, pipeline.counters.ahead_rows) == (len(block), 0)


def test_a_machine_that_was_off_is_scored_at_once_where_its_records_show_the_gap(open_routes: OpenRoutes) -> None:
    # given a machine that was off over the weekend, live: records have the time at which they came
    minutes = [*range(10), 3 * DAY]
    messages = sent(rows_at(minutes), [minute + 0.02 for minute in minutes])
    # when its first row comes: then it is scored with it
    _, outputs = run(open_routes, messages)
    assert ("press-1", "distance", START + MINUTE * 3 * DAY) in scores_of(outputs)
    # where records have no timestamps, it waits
    _, outputs = run(open_routes, sent(rows_at(minutes)))
    assert max(time for _, _, time in scores_of(outputs)) == START + 9 * MINUTE


def test_a_row_that_waits_ends_silence(open_routes: OpenRoutes) -> None:
    # given a machine that has been silent for an hour, and records without timestamps
    pipeline, _ = run(open_routes, sent(rows_at([0, 1, 2])))
    assert events_of(pipeline.tick(3_700.0, lambda partition: True)).keys() == {("press-1", "no-data")}
    # when it sends again: then that alert clears at once, though the row waits
    outputs = pipeline.handle([batch_of(sent(rows_at([90])), first=3)], now=3_701.0)
    (cleared,) = events_of(outputs)["press-1", "no-data"]
    assert (cleared[0], cleared[3]) == ("cleared", START + 90 * MINUTE)
    assert pipeline.counters.rows == 3


def test_rows_far_apart_wait_and_are_not_lost(open_routes: OpenRoutes) -> None:
    # given a machine that reports once in hours, of a bundle of a row a minute
    block = rows_at([*range(5), *range(200, 20_000, 200)])
    # when its rows are handled, without timestamps of records: then all but those that still wait are scored
    pipeline, outputs = run(open_routes, sent(block))
    waiting = (len(block) - 5) % PROOF_ROWS
    assert pipeline.counters.rows == len(block) - waiting
    assert len(scores_of(outputs)) == len(block) - waiting - 2
    assert not letters_of(outputs)
    # and those are, where nothing follows
    assert len(scores_of([*outputs, *pipeline.finish()])) == len(block) - 2


def test_first_rows_in_the_future_are_overruled_by_more_that_are_not(open_routes: OpenRoutes) -> None:
    # given a machine whose first three rows are a year ahead, without timestamps of records
    block = rows_at([YEAR, YEAR + 1, YEAR + 2, *range(3, 30)])
    pipeline, outputs = run(open_routes, sent(block))
    # when the right ones are more than those: then the clock is theirs
    counts = pipeline.counters
    assert (counts.clock_restarts, counts.late_rows, counts.rows) == (1, 3, len(block) - 3)
    assert sorted(time for _, _, time in scores_of(outputs))[:3] == [START + MINUTE * minute for minute in (8, 9, 10)]
    # one right row alone overrules nothing
    pipeline, _ = run(open_routes, sent(part_of(block, 0, 1)) + sent(part_of(block, 3, 4)))
    assert (pipeline.counters.clock_restarts, pipeline.counters.late_rows) == (0, 1)
    # and where clocks never restart, none does
    never = PLAIN.model_copy(update={"windows": WindowSettings(clock_restart_rows=0)})
    pipeline, _ = run(open_routes, sent(block), never)
    assert (pipeline.counters.clock_restarts, pipeline.counters.rows) == (0, 3)


def test_first_rows_in_the_future_are_refused_where_records_tell(open_routes: OpenRoutes) -> None:
    # given the same live
    minutes = [*range(10)]
    block = rows_at([YEAR, YEAR + 1, *minutes[2:]])
    # when they are handled: then they are dead letters in whole, and the third row is the machine's first
    pipeline, outputs = run(open_routes, sent(block, minutes))
    assert [(letter.reason, letter.offset) for letter in letters_of(outputs)] == [("time-ahead", 0), ("time-ahead", 1)]
    assert [letter.output.value for letter in letters_of(outputs)] == [message.value for message in sent(block)[:2]]
    assert "input.max_ahead_s" in letters_of(outputs)[0].detail
    assert pipeline.counters.dead_letters == {"time-ahead": 2}
    assert (pipeline.counters.messages, pipeline.counters.rows, pipeline.counters.ahead_rows) == (8, 8, 2)


def test_a_machine_a_year_ahead_for_good_is_told_of_and_counts_as_silent(
    open_routes: OpenRoutes, log_lines: list[Any]
) -> None:
    # given a machine whose year is set wrong from some row on, live
    minutes = [*range(2_000)]
    block = rows_at([minute if minute < 10 else minute + YEAR for minute in minutes])
    chosen = PLAIN.model_copy(update={"no_data": NoDataSettings(after_intervals=60)})
    pipeline = Pipeline(open_routes(RECIPE, chosen), chosen)
    outputs: list[Output] = []
    for offset, message in enumerate(sent(block, minutes)):
        outputs += pipeline.handle([batch_of([message], first=offset)], now=60.0 * offset)
        outputs += pipeline.tick(60.0 * offset, lambda partition: True)
    # then every such row is a dead letter, ..
    assert pipeline.counters.dead_letters == {"time-ahead": 1_990}
    # .. the log says so at the first, and seldom after that, ..
    lines = [line for line in log_lines if "from the future" in line["event"]]
    assert [line["refused"] for line in lines] == [1, 10, 100, 1_000]
    assert {line["machine"] for line in lines} == {"press-1"}
    assert {line["ahead"] for line in lines} == {"365 d"}
    # .. and an alert says that the machine gives no data
    opened = [alert for alert in events_of(outputs).get(("press-1", "no-data"), []) if alert[0] == "opened"]
    assert len(opened) == 1
    # once its clock is right it goes on, and the alert clears
    again = sent(rows_at([2_000, 2_001]), [2_000.1, 2_001.1])
    outputs = [
        output
        for offset, message in enumerate(again, start=2_000)
        for output in pipeline.handle([batch_of([message], first=offset)], now=60.0 * offset)
    ]
    assert [event for event, *_ in events_of(outputs)["press-1", "no-data"]] == ["cleared"]
    assert len(scores_of(outputs)) == 2


def test_a_block_loses_the_rows_that_are_ahead_and_no_others(open_routes: OpenRoutes) -> None:
    # given a block of which two rows are two days ahead of its record
    block = rows_at([*range(10), 2 * DAY, 2 * DAY + 1, *range(12, 20)])
    (message,) = sent(block, [20.0] * 20, rows=20)
    # when it is handled
    pipeline, outputs = run(open_routes, [message])
    # then the others are scored, the message is a dead letter as it was, and counts as handled
    assert len(scores_of(outputs)) == 18 - 2
    (letter,) = letters_of(outputs)
    assert (letter.output.value, letter.reason) == (message.value, "time-ahead")
    assert letter.detail.endswith("rows or chunks concerned: 2")
    counts = pipeline.counters
    assert (counts.messages, counts.ahead_rows, counts.dead_letters) == (1, 2, {})


def test_a_clock_that_creeps_is_followed_up_to_the_limit(open_routes: OpenRoutes, log_lines: list[Any]) -> None:
    # given a clock that gains a second a row, and a limit of a hundred seconds
    rows = 200
    chosen = PLAIN.model_copy(update={"input": InputSettings(max_ahead_s=100)})
    block = rows_at([row * 61 / 60 for row in range(rows)])
    # when its rows are handled live: then they are taken up to the limit, and refused from then on
    pipeline, outputs = run(open_routes, sent(block, [*range(rows)]), chosen)
    assert pipeline.counters.rows == 101
    assert [letter.offset for letter in letters_of(outputs)] == [*range(101, rows)]
    assert any("from the future" in line["event"] for line in log_lines)
    # without a limit all are
    free = PLAIN.model_copy(update={"input": InputSettings(max_ahead_s=0)})
    pipeline, outputs = run(open_routes, sent(block, [*range(rows)]), free)
    assert (pipeline.counters.rows, letters_of(outputs)) == (rows, [])


def test_the_log_tells_of_the_first_jump(open_routes: OpenRoutes, log_lines: list[Any]) -> None:
    # given a row a year ahead
    block = rows_at([0, 1, 2, YEAR, 3, 4])
    # when it comes
    run(open_routes, sent(part_of(block, 0, 4)))
    # then the log says so with it
    (line,) = [line for line in log_lines if "far ahead" in line["event"]]
    assert (line["machine"], line["log_level"], line["before"]) == ("press-1", "warning", "2023-11-14T22:15:20Z")
    assert line["time"].startswith("2024-11-13")


def test_times_coarser_than_rows_are_told_of_with_their_likely_cause(
    open_routes: OpenRoutes, log_lines: list[Any]
) -> None:
    # given ten rows a second whose times are whole seconds
    block = rows_at([row // 10 / 60 for row in range(2_000)])
    run(open_routes, sent(block, rows=50), sizes=(3,))
    # then the log says how many are dropped, early, and why
    lines = [line for line in log_lines if line["event"].startswith("rows are dropped")]
    assert [(line["dropped"], line["of"]) for line in lines] == [(10, 12), (100, 112), (1_000, 1_112)]
    assert lines[0]["share"] == "83 %"
    assert "times are coarser than the rows" in lines[0]["likely_cause"]
    assert lines[0]["log_level"] == "warning"


def test_a_retry_is_no_news_and_rows_out_of_order_are(open_routes: OpenRoutes, log_lines: list[Any]) -> None:
    # given a thousand rows of which now and then one comes twice
    minutes = [minute for row in range(1_000) for minute in ([row, row] if row % 150 == 149 else [row])]
    run(open_routes, sent(rows_at(minutes), rows=10), sizes=(100,))
    # then nothing is said
    assert not [line for line in log_lines if "dropped" in line["event"]]
    # given rows of which every other one is a minute late: then the cause is another
    run(open_routes, sent(rows_at([row + (row % 2) * 3 for row in range(100)]), rows=10))
    lines = [line for line in log_lines if "dropped" in line["event"]]
    assert "out of order" in lines[0]["likely_cause"]


def test_every_time_is_believed_where_that_is_set(open_routes: OpenRoutes) -> None:
    # given a bad stamp, and a worker that believes all
    chosen = PLAIN.model_copy(update={"windows": WindowSettings(max_jump_intervals=0, clock_restart_rows=5)})
    block = rows_at([0, 1, 2, YEAR, *range(4, 20)])
    # when it comes: then the rows behind it are late until the clock restarts
    pipeline, outputs = run(open_routes, sent(block), chosen)
    assert (pipeline.counters.late_rows, pipeline.counters.clock_restarts) == (4, 1)
    assert not letters_of(outputs)


def wild_rows(name: str, rows: int, seed: int) -> tuple[SensorBlock, list[float]]:
    """Rows with bad stamps, gaps, late rows, and timestamps of records that follow real time, or are missing."""
    rng = np.random.default_rng([seed, *name.encode()])
    values = rng.normal(0.5, 0.2, (rows, 3)).astype(np.float32)
    values[rng.random(rows) < 0.2] += np.float32(rng.exponential(2))
    values[rng.random((rows, 3)) < 0.05] = np.nan
    steps = np.where(rng.random(rows) < 0.05, rng.integers(50, 3_000, rows), 1)
    true = np.cumsum(steps)
    shown = true.copy()
    start = 0
    while start < rows:  # stretches of bad stamps
        start += int(rng.integers(1, 25))
        stop = start + int(rng.choice([1, 1, 2, 5, 12, 40]))
        shown[start:stop] += int(rng.choice([70, 500, 3_000, YEAR, -3, -200, -YEAR]))
        start = stop
    stamps = (true + 0.01).tolist() if rng.random() < 0.6 else [-1.0] * rows
    return block_of(name, values, times=START + MINUTE * shown), stamps


def wild_messages(seed: int, sizes: Sequence[int]) -> list[Message]:
    """Row by row, machines in turn; the stamp of a row is always the same."""
    machines = [wild_rows(f"press-{index}", rows, seed) for index, rows in enumerate(sizes)]
    messages = []
    for row in range(max(sizes)):
        for block, stamps in machines:
            if row < len(block):
                stamp = -1 if stamps[row] < 0 else (START + round(MINUTE * stamps[row])) // 1_000
                messages.append(message_of(part_of(block, row, row + 1))._replace(timestamp_ms=stamp))
    return messages


def comparable(pipeline: Pipeline, outputs: Sequence[Output]) -> tuple[Any, ...]:
    """Dead letters, by offset, and counts of rows."""
    letters = [(letter.offset, letter.reason, letter.detail, letter.output.value) for letter in letters_of(outputs)]
    counts = pipeline.counters
    return letters, counts.rows, counts.late_rows, counts.ahead_rows, counts.clock_restarts, counts.gaps, counts.windows


SHORT = Settings(threshold=FIXED, windows=WindowSettings(clock_restart_rows=20, max_gap_intervals=200))
groups = st.lists(st.integers(1, 40), min_size=1, max_size=5)


@settings(REPEATABLE, max_examples=40)
@given(seed=st.integers(0, 10_000), sizes=st.lists(st.integers(1, 120), min_size=1, max_size=3), batches=groups)
def test_batches_change_no_verdict(open_routes: OpenRoutes, seed: int, sizes: list[int], batches: list[int]) -> None:
    # given rows with all kinds of odd times, handled one by one
    messages = wild_messages(seed, sizes)
    simple, expected = run(open_routes, messages, SHORT)
    # when they are handled in batches of any size
    pipeline, found = run(open_routes, messages, SHORT, batches)
    # then verdicts, scores and alerts are the same
    assert comparable(pipeline, found) == comparable(simple, expected)
    assert_same_scores(found, expected)
    assert_same_alerts(found, expected)


@settings(REPEATABLE, max_examples=40)
@given(seed=st.integers(0, 10_000), rows=st.integers(1, 150), group=st.integers(2, 30))
def test_blocks_change_no_verdict_where_their_rows_have_one_stamp(
    open_routes: OpenRoutes, seed: int, rows: int, group: int
) -> None:
    # given rows of one machine without timestamps of records
    block, _ = wild_rows("press-0", rows, seed)
    simple, expected = run(open_routes, sent(block), SHORT)
    # when they come in blocks
    pipeline, found = run(open_routes, sent(block, rows=group), SHORT)
    # then the same rows are taken and refused
    refused = [{letter.output.value for letter in letters_of(side)} for side in (found, expected)]
    assert refused[0] == refused[1]
    assert comparable(pipeline, found)[1:] == comparable(simple, expected)[1:]
    assert_same_scores(found, expected)


@settings(REPEATABLE, max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    sizes=st.lists(st.integers(1, 120), min_size=1, max_size=3),
    share=st.floats(0, 1),
    back=st.integers(0, 40),
    batches=groups,
)
def test_a_restart_changes_no_verdict(
    open_routes: OpenRoutes, seed: int, sizes: list[int], share: float, back: int, batches: list[int]
) -> None:
    # given rows with all kinds of odd times, and a worker that ends somewhere, its last snapshots some rows old
    messages = wild_messages(seed, sizes)
    _, expected = run(open_routes, messages, SHORT)
    stop = round(share * len(messages))
    taken = max(0, stop - back)
    first = Pipeline(open_routes(RECIPE, SHORT), SHORT)
    outputs = feed(first, messages[:taken], batch_sizes=batches)
    state = first.partition(TOPIC, 0)
    records = {output.key or b"": output.value or b"" for output in state.snapshots(0.0, everything=True)}
    outputs += feed(first, messages[taken:stop], batch_sizes=batches)
    progress = first.partition(TOPIC, 0).progress_record()
    records[progress.key or b""] = orjson.dumps({"published": stop, "reserved": 0})
    # when another reads on from those snapshots
    second = Pipeline(open_routes(RECIPE, SHORT), SHORT)
    state = second.partition(TOPIC, 0)
    state.position = taken
    state.restore(records)
    outputs += feed(second, messages[taken:], batch_sizes=[7])
    # then every dead letter, score and alert is there once, as without the end
    assert [(letter.offset, letter.output.value) for letter in letters_of(outputs)] == [
        (letter.offset, letter.output.value) for letter in letters_of(expected)
    ]
    assert_same_scores(outputs, expected)
    assert_same_alerts(outputs, expected)


def test_the_properties_are_about_something(open_routes: OpenRoutes) -> None:
    # given the rows that they draw: then all cases are among them
    pipelines = [run(open_routes, wild_messages(seed, (120, 80)), SHORT)[0] for seed in range(6)]
    for case in ("late_rows", "ahead_rows", "clock_restarts", "gaps"):
        assert sum(getattr(pipeline.counters, case) for pipeline in pipelines) > 0, case
    assert any(pipeline.counters.dead_letters for pipeline in pipelines)
    memories = [machine.memory for one in pipelines for machine in one.partition(TOPIC, 0).known_machines()]
    assert any(isinstance(memory, RowMemory) and "waiting" in memory.dump()[0] for memory in memories)


def test_a_letter_of_a_row_names_the_message_that_it_came_in(open_routes: OpenRoutes) -> None:
    # given a bad stamp at offset 2 that the message at offset 3 refutes
    _, outputs = run(open_routes, sent(rows_at([0, 1, YEAR, 2])))
    # then the letter has the row's own offset, key and partition
    (letter,) = letters_of(outputs)
    assert letter.headers[DeadLetterHeader.OFFSET] == b"2"
    assert letter.headers["content-type"] == b"application/json"
    assert letter.output.key == b"press-1"
