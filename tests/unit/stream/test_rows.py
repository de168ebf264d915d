"""Rows that are late, repeated, missing, incomplete, or from a clock that was set back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from tests.unit.stream.bundles import Recipe
from tests.unit.stream.conftest import OpenRoutes
from tests.unit.stream.feeds import (
    MINUTE,
    START,
    TOPIC,
    Score,
    batch_of,
    block_of,
    feed,
    message_of,
    parsed,
    part_of,
    scores_of,
)
from wheeltapper.schemas.codec import Encoding
from wheeltapper.schemas.sensor_block import SensorBlock
from wheeltapper.stream.kinds.contract import Routes
from wheeltapper.stream.pipeline import Pipeline
from wheeltapper.stream.records import Output
from wheeltapper.stream.settings import DriftSettings, Settings, WindowSettings

NAN = float("nan")
GROUPINGS: list[tuple[int, Encoding, int]] = [(1, "json", 1), (1, "json", 100), (4, "avro", 3), (100, "arrow", 1)]
"""(rows a message, encoding, messages a batch)"""


def at(*minutes: int) -> list[int]:
    return [START + MINUTE * minute for minute in minutes]


def grouped_runs(
    routes: Routes, chosen: Settings, block: SensorBlock
) -> Iterator[tuple[Pipeline, list[Output], dict[int, list[Score]]]]:
    """The block through a pipeline in several groupings: pipeline, outputs, time -> scores."""
    for rows, encoding, batch in GROUPINGS:
        pipeline = Pipeline(routes, chosen)
        parts = [part_of(block, start, start + rows) for start in range(0, len(block), rows)]
        outputs = feed(pipeline, [message_of(part, encoding) for part in parts], batch_sizes=[batch])
        yield pipeline, outputs, {time: scores for (_, _, time), scores in scores_of(outputs).items()}


def ramp(minutes: Sequence[int], first: float = 0.0) -> SensorBlock:
    """Rows at these minutes; channel a is 1, 2, 3, .. plus `first` at 0.5, the others are as usual."""
    values = [[0.5 + first + row, 0.5, 0.5] for row in range(len(minutes))]
    return block_of("press-1", values, times=at(*minutes))


def test_late_and_repeated_rows_are_dropped_and_counted(open_routes: OpenRoutes) -> None:
    # given rows of which two come too late and one twice
    block = ramp([0, 1, 2, 1, 2, 2, 3, 0, 4])
    recipe = Recipe(window=3, weighting="mean")
    for pipeline, _, scores in grouped_runs(open_routes(recipe), Settings(), block):
        # when they are handled: then windows are made of the others, and the rest is counted
        assert {time: score.raw for time, (score,) in scores.items()} == pytest.approx(
            {
                at(2)[0]: (0 + 1 + 4) / 3,
                at(3)[0]: (1 + 4 + 36) / 3,
                at(4)[0]: (4 + 36 + 64) / 3,
            }
        )
        assert (pipeline.counters.rows, pipeline.counters.late_rows, pipeline.counters.clock_restarts) == (5, 4, 0)
        assert pipeline.counters.newest_time == at(4)[0]


def test_a_clock_set_back_starts_the_window_anew(open_routes: OpenRoutes, log_lines: list[Any]) -> None:
    # given a clock that is set back by an hour, and rows enough in a row to prove it (3)
    block = ramp([60, 61, 62, 0, 1, 2, 3, 4])
    recipe = Recipe(window=3, weighting="mean")
    chosen = Settings(windows=WindowSettings(clock_restart_rows=3), drift=DriftSettings(enabled=False))
    for pipeline, _, scores in grouped_runs(open_routes(recipe), chosen, block):
        # when they are handled: then the first two are dropped, the third starts a window of its own
        assert sorted(scores) == at(4, 62)
        assert scores[at(4)[0]][0].raw == pytest.approx((25 + 36 + 49) / 3)
        assert (pipeline.counters.late_rows, pipeline.counters.clock_restarts, pipeline.counters.rows) == (2, 1, 6)
    # and the log says so
    assert {line["event"] for line in log_lines} == {"clock restarted"}
    assert log_lines[0]["machine"] == "press-1"


def test_late_rows_must_come_in_a_row_to_prove_a_restart(open_routes: OpenRoutes) -> None:
    # given late rows again and again, with good ones in between
    block = ramp([10, 0, 1, 11, 2, 3, 12, 4, 5, 13])
    chosen = Settings(windows=WindowSettings(clock_restart_rows=3))
    for pipeline, _, scores in grouped_runs(open_routes(Recipe(window=4)), chosen, block):
        # when they are handled: then the window goes on
        assert list(scores) == at(13)
        assert (pipeline.counters.late_rows, pipeline.counters.clock_restarts) == (6, 0)


def test_a_clock_may_never_be_taken_as_restarted(open_routes: OpenRoutes) -> None:
    # given a setting of 0 and a thousand late rows
    chosen = Settings(windows=WindowSettings(clock_restart_rows=0))
    block = ramp([5000, *range(1000)])
    for pipeline, _, _ in grouped_runs(open_routes(), chosen, block):
        # when they are handled: then all are dropped
        assert (pipeline.counters.late_rows, pipeline.counters.clock_restarts, pipeline.counters.rows) == (1000, 0, 1)


@pytest.mark.parametrize(("largest", "gaps"), [(0, 0), (9, 1), (10, 0)])
def test_a_gap_empties_the_window_where_that_is_set(open_routes: OpenRoutes, largest: int, gaps: int) -> None:
    # given rows a minute apart, and ten minutes without one
    block = ramp([0, 1, 2, 12, 13, 14])
    chosen = Settings(windows=WindowSettings(max_gap_intervals=largest))
    for pipeline, _, scores in grouped_runs(open_routes(Recipe(window=3)), chosen, block):
        # when they are handled: then a gap of more intervals than the setting starts a new window, no other does
        assert sorted(scores) == (at(2, 14) if gaps else at(2, 12, 13, 14))
        assert pipeline.counters.gaps == gaps
        assert pipeline.counters.rows == 6


def test_the_stride_counts_from_where_a_window_started_anew(open_routes: OpenRoutes) -> None:
    # given a stride of 4 rows and a gap
    block = ramp([*range(10), *range(50, 60)])
    chosen = Settings(windows=WindowSettings(max_gap_intervals=5))
    for _, _, scores in grouped_runs(open_routes(Recipe(window=3, stride=4)), chosen, block):
        # when rows are handled: then windows end at the 3rd and 7th row of each part
        assert sorted(scores) == at(2, 6, 52, 56)


def test_missing_values_carry_the_last_one_forward(open_routes: OpenRoutes) -> None:
    # given a channel without a value at first and in between, and a row without any
    values = [[NAN, 0.5, 0.5], [2.5, 0.5, NAN], [NAN, 0.5, 0.5], [NAN, NAN, NAN], [0.5, 0.5, 0.5]]
    block = block_of("press-1", values)
    recipe = Recipe(window=2, weighting="scored row")  # usual values are a 0.1, b 0.2, c 0.3
    for pipeline, _, scores in grouped_runs(open_routes(recipe), Settings(), block):
        # when they are handled: then the bundle's usual value stands in first, later the last one, at lower quality
        assert {time: score.raw for time, (score,) in scores.items()} == pytest.approx(
            dict(zip(at(1, 2, 3, 4), [4.0, 4.0, 4.0, 0.0], strict=True)), abs=1e-6
        )
        assert [scores[time][0].quality for time in at(1, 2, 3, 4)] == pytest.approx([4 / 6, 4 / 6, 2 / 6, 3 / 6])
        assert pipeline.counters.imputed_values == 6


def test_after_a_gap_missing_values_are_the_usual_ones_again(open_routes: OpenRoutes) -> None:
    # given a value from before a gap
    block = block_of("press-1", [[9.5, 0.5, 0.5], [NAN, 0.5, 0.5]], times=at(0, 60))
    chosen = Settings(windows=WindowSettings(max_gap_intervals=5))
    for _, _, scores in grouped_runs(open_routes(Recipe(window=1)), chosen, block):
        # when a row lacks it after the gap: then it is not carried across
        assert [scores[time][0].raw for time in at(0, 60)] == pytest.approx([81.0, 0.16])


def test_an_alert_shows_no_value_where_none_was_measured(open_routes: OpenRoutes) -> None:
    # given a row far outside, scored when the next one comes, with a value that is carried forward
    block = block_of("press-1", [[0.5, 0.5, 0.5], [4.5, 0.5, 0.5], [NAN, 2.5, 0.5], [0.5, NAN, 0.5]])
    recipe = Recipe(window=3, lag=1, weighting="scored row", alarm_level=18.0)
    for _, outputs, _ in grouped_runs(open_routes(recipe), Settings(), block):
        # when it raises an alert
        (opened,) = parsed(outputs, "alerts")
        (localization,) = parsed(outputs, "localizations")
        # then that channel is blamed, but its actual value is null; the others' are what was measured in that row
        assert opened["time"] == at(2)[0]
        assert opened["score"] == pytest.approx(20 / 18, rel=1e-5)
        assert [(share["channel"], share["actual"]) for share in localization["channels"]] == [
            ("a", None),
            ("b", 2.5),
            ("c", 0.5),
        ]
        # and the alert names those that the score comes from
        assert opened["channels"] == localization["channels"][:2]


def test_what_was_imputed_is_known_after_a_restart(open_routes: OpenRoutes) -> None:
    # given a row whose score comes one row later, with a missing value, and a worker that stops in between
    routes = open_routes(Recipe(window=3, lag=1, weighting="scored row"))
    block = block_of("press-1", [[0.5, 0.5, 0.5], [0.5, 0.5, 0.5], [NAN, 4.5, 0.5], [0.5, 0.5, 0.5]])
    first = Pipeline(routes, Settings())
    first.handle([batch_of([message_of(part_of(block, 0, 3))])], now=0.0)
    (snapshot,) = first.partition(TOPIC, 0).snapshots(now=0.0, everything=True)
    # when another takes over
    second = Pipeline(routes, Settings())
    second.partition(TOPIC, 0).restore({snapshot.key or b"": snapshot.value or b""})
    outputs = second.handle([batch_of([message_of(part_of(block, 3, 4))], first=1)], now=0.0)
    # then quality and values are as if it had not stopped
    (opened,), (localization,) = parsed(outputs, "alerts"), parsed(outputs, "localizations")
    assert {share["channel"]: share["actual"] for share in localization["channels"]} == {"a": None, "b": 4.5, "c": 0.5}
    assert opened["quality"] == pytest.approx(8 / 9, rel=1e-5)


def test_machines_keep_their_own_clocks(open_routes: OpenRoutes) -> None:
    # given two machines whose clocks differ by years, in turn
    blocks = [ramp(range(6)), block_of("press-2", ramp(range(6)).values, times=at(*range(-(10**6), -(10**6) + 6)))]
    messages = [message_of(part_of(block, row, row + 1)) for row in range(6) for block in blocks]
    pipeline = Pipeline(open_routes(Recipe(window=3)), Settings())
    # when they are handled
    outputs = feed(pipeline, messages, batch_sizes=[5])
    # then neither is late
    assert pipeline.counters.late_rows == 0
    assert len(scores_of(outputs)) == 8


def test_a_batch_that_was_seen_before_is_not_handled_again(open_routes: OpenRoutes) -> None:
    # given a client that went back to its commit while the pipeline went on
    pipeline = Pipeline(open_routes(Recipe(window=3)), Settings())
    messages = [message_of(part_of(ramp(range(9)), row, row + 1)) for row in range(9)]
    first = pipeline.handle([batch_of(messages[:6])], now=0.0)
    # when it brings rows that were handled, alone and with new ones
    assert pipeline.handle([batch_of(messages[2:6], first=2)], now=0.0) == []
    second = pipeline.handle([batch_of(messages[3:9], first=3)], now=0.0)
    # then only the new ones count
    assert sorted(time for _, _, time in scores_of([*first, *second])) == at(*range(2, 9))
    assert (pipeline.counters.messages, pipeline.counters.late_rows) == (9, 0)


def test_offsets_may_have_holes(open_routes: OpenRoutes) -> None:
    # given offsets as transactions and compaction leave them
    pipeline = Pipeline(open_routes(Recipe(window=3)), Settings())
    batch = batch_of([message_of(part_of(ramp(range(4)), row, row + 1)) for row in range(4)])
    batch.offsets = [3, 4, 9, 20]
    # when they are handled: then the position is behind the last
    assert len(scores_of(pipeline.handle([batch], now=0.0))) == 2
    assert pipeline.partition(TOPIC, 0).position == 21
    assert pipeline.partition(TOPIC, 0).committable == 3
    assert [record.key for record in pipeline.partition(TOPIC, 0).snapshots(now=0.0, everything=True)] == [b"press-1"]
    assert pipeline.partition(TOPIC, 0).committable == 21
