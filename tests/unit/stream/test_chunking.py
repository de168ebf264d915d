"""How rows are grouped into messages and batches, and in which encoding, changes nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.stream.bundles import Recipe
from tests.unit.stream.conftest import OpenRoutes
from tests.unit.stream.feeds import (
    ENCODINGS,
    MINUTE,
    REPEATABLE,
    START,
    Message,
    assert_same_alerts,
    assert_same_scores,
    batch_of,
    block_of,
    events_of,
    feed,
    message_of,
    part_of,
    row_by_row,
    scores_of,
)
from wheeltapper.schemas.sensor_block import SensorBlock
from wheeltapper.stream.core.counters import Counters
from wheeltapper.stream.pipeline import Pipeline
from wheeltapper.stream.settings import Settings, ThresholdSettings, WindowSettings

BUNDLES = {
    "one window": (Recipe(),),
    "stride 3": (Recipe(stride=3, window=20, longest_run=16),),
    "lag 2": (Recipe(window=7, lag=2, weighting="scored row", longest_run=12),),
    "window 1": (Recipe(window=1, weighting="mean"),),
    "warm-up": (
        Recipe(window=9, warm_up=3, stride=2, weighting="mean"),
        Recipe(window=6, detector="late", longest_run=32),
    ),
    "two rules": (
        Recipe(window=9, stride=4, lag=3, weighting="mean", detector="long"),
        Recipe(window=2, weighting="rising", detector="short", alarm_level=2.0),
    ),
}
SHORT_LIVED = {"clear_duration_s": 180}
THRESHOLDS = {
    "fixed": ThresholdSettings(method="fixed", **SHORT_LIVED),
    "patient": ThresholdSettings(
        method="fixed", min_duration_s=180, clear_duration_s=120, clear_ratio=0.5, cool_down_s=300
    ),
    "budget": ThresholdSettings(false_alarms_per_day=100, reopen_s=240, **SHORT_LIVED),
    "spot": ThresholdSettings(method="spot", false_alarms_per_day=20, spot_tail=0.1, **SHORT_LIVED),
}


def machine_rows(name: str, rows: int, seed: int, *, messy: bool) -> SensorBlock:
    """Ordinary rows with some far outside; messy: with missing values, late rows, repetitions, gaps, a clock set back."""
    rng = np.random.default_rng([seed, *name.encode()])
    values = rng.normal(0.5, 0.2, (rows, 3)).astype(np.float32)
    values[rng.random(rows) < 0.2] += np.float32(rng.exponential(2))
    values[rng.random(rows) < 0.1] *= np.float32(rng.exponential(5))
    steps = np.ones(rows, dtype=np.int64)
    if messy:
        values[rng.random((rows, 3)) < 0.15] = np.nan
        odd = rng.random(rows)
        steps[odd < 0.15] = 0
        steps[odd < 0.10] = -rng.integers(1, 6)
        steps[odd > 0.95] = rng.integers(2, 12)
    return block_of(name, values, times=START + MINUTE * np.cumsum(steps))


def grouped(blocks: Sequence[SensorBlock], plan: Sequence[tuple[int, int, int]]) -> list[Message]:
    """Rows as messages by (which machine, how many rows, which encoding); the plan lasts for ever."""
    done = [0] * len(blocks)
    messages: list[Message] = []
    turn = 0
    while any(start < len(block) for start, block in zip(done, blocks, strict=True)):
        which, rows, encoding = plan[turn % len(plan)]
        turn += 1
        waiting = [index for index, block in enumerate(blocks) if done[index] < len(block)]
        index = waiting[which % len(waiting)]
        part = part_of(blocks[index], done[index], done[index] + rows)
        messages.append(message_of(part, ENCODINGS[encoding], header=turn % 2 == 0))
        done[index] += len(part)
    return messages


def without_messages(counters: Counters) -> dict[str, object]:
    """Counters of rows and what came of them."""
    known = {name: value for name, value in dataclasses.asdict(counters).items() if name not in ("messages", "scores")}
    # A score may change its bucket by float32 rounding alone: their number may not.
    return known | {"scores": {name: found.cumulative()[-1] for name, found in counters.scores.items()}}


plans = st.lists(st.tuples(st.integers(0, 9), st.integers(1, 25), st.integers(0, 2)), min_size=1, max_size=12)
batch_sizes = st.lists(st.integers(1, 12), min_size=1, max_size=6)


@pytest.mark.parametrize("bundles", BUNDLES)
@settings(REPEATABLE, max_examples=50)
@given(
    threshold=st.sampled_from(list(THRESHOLDS)),
    seed=st.integers(0, 10_000),
    sizes=st.lists(st.integers(1, 80), min_size=1, max_size=3),
    plan=plans,
    batches=batch_sizes,
    messy=st.booleans(),
)
def test_grouping_changes_nothing(
    open_routes: OpenRoutes,
    bundles: str,
    threshold: str,
    seed: int,
    sizes: list[int],
    plan: list[tuple[int, int, int]],
    batches: list[int],
    messy: bool,
) -> None:
    # given rows of several machines, and the same rows as messages of one-row JSON, handled one by one
    settings = Settings(
        threshold=THRESHOLDS[threshold], windows=WindowSettings(clock_restart_rows=2, max_gap_intervals=5)
    )
    blocks = [machine_rows(f"press-{index}", rows, seed, messy=messy) for index, rows in enumerate(sizes)]
    simple = Pipeline(open_routes(BUNDLES[bundles], settings), settings)
    expected = [output for block in blocks for output in feed(simple, row_by_row(block), batch_sizes=[1])]
    # when they come in blocks of mixed size, encoding and machine, in batches of any size
    pipeline = Pipeline(open_routes(BUNDLES[bundles], settings), settings)
    found = feed(pipeline, grouped(blocks, plan), batch_sizes=batches)
    # then scores, alerts and counts are the same
    assert_same_scores(found, expected)
    assert_same_alerts(found, expected, same_messages=False)
    assert events_of(found) == events_of(expected)
    assert without_messages(pipeline.counters) == without_messages(simple.counters)


def test_the_property_is_about_something(open_routes: OpenRoutes) -> None:
    # given the rows that the property above draws
    settings = Settings(
        threshold=THRESHOLDS["fixed"], windows=WindowSettings(clock_restart_rows=2, max_gap_intervals=5)
    )
    blocks = [machine_rows("press-0", 80, seed, messy=True) for seed in range(5)]
    pipelines = [Pipeline(open_routes(BUNDLES["two rules"], settings), settings) for _ in blocks]
    # when they are handled
    outputs = [feed(pipeline, row_by_row(block)) for pipeline, block in zip(pipelines, blocks, strict=True)]
    # then each of the cases is among them
    for case in ("late_rows", "clock_restarts", "gaps", "imputed_values"):
        assert sum(getattr(pipeline.counters, case) for pipeline in pipelines) > 0, case
    kinds = {kind for part in outputs for events in events_of(part).values() for kind, *_ in events}
    assert kinds == {"opened", "updated", "cleared"}


@REPEATABLE
@given(plan=plans, batches=batch_sizes)
def test_company_on_the_worker_changes_nothing(
    open_routes: OpenRoutes, plan: list[tuple[int, int, int]], batches: list[int]
) -> None:
    # given one machine alone, with its rows on a partition of its own
    settings = Settings(threshold=THRESHOLDS["spot"])
    block = machine_rows("press-0", 50, 1, messy=False)
    alone = feed(Pipeline(open_routes(Recipe(), settings), settings), row_by_row(block))
    # when it shares the worker with others, on the same and on another partition
    pipeline = Pipeline(open_routes(Recipe(), settings), settings)
    others = [machine_rows(f"press-{index}", 50, 1, messy=True) for index in (1, 2)]
    found = feed(pipeline, grouped([block, others[0]], plan), batch_sizes=batches)
    found += feed(pipeline, grouped(others[1:], plan), batch_sizes=batches, partition=3)
    # then what is said of it is the same
    own = [output for output in found if output.key == b"press-0"]
    assert_same_scores(own, alone)
    assert_same_alerts(own, alone, same_messages=False)


def test_partitions_of_one_batch_keep_their_machines_apart(open_routes: OpenRoutes) -> None:
    # given the same machine id on two partitions, as after a change of their number
    settings = Settings()
    block = machine_rows("press-0", 30, 1, messy=False)
    alone = feed(Pipeline(open_routes(Recipe(), settings), settings), row_by_row(block))
    # when both come in one call
    pipeline = Pipeline(open_routes(Recipe(), settings), settings)
    batches = [batch_of(row_by_row(block), partition=0), batch_of([message_of(block, "arrow")], partition=1)]
    found = pipeline.handle(batches, now=0.0)
    # then each partition has scored all of its own windows
    assert {key: len(scores) for key, scores in scores_of(found).items()} == dict.fromkeys(scores_of(alone), 2)
    assert pipeline.counters.late_rows == 0
