"""Work is done in steps that are bounded in memory and time, and how it is cut changes nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
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
    assert_same_alerts,
    assert_same_scores,
    batch_of,
    block_of,
    feed,
    message_of,
    parsed,
    row_by_row,
    scores_of,
)
from wheeltapper.schemas.sensor_block import SensorBlock
from wheeltapper.stream.pace import Pace
from wheeltapper.stream.pipeline import Pipeline
from wheeltapper.stream.records import Output
from wheeltapper.stream.settings import Settings, ThresholdSettings, WindowSettings, WorkerSettings

CHECKOUT = Path(__file__).resolve().parents[3]
RECIPE = Recipe(window=4, stride=2)
TOILSOME = Recipe(window=2, toil=150)
"""Some milliseconds a window."""
CHOSEN = Settings(threshold=ThresholdSettings(method="fixed", clear_duration_s=180))
QUICK = CHOSEN.model_copy(update={"worker": WorkerSettings(stall_timeout_s=4)})
"""Steps of 0.4 s."""


def rows_of(name: str, rows: int, seed: int) -> SensorBlock:
    rng = np.random.default_rng([seed, *name.encode()])
    values = rng.normal(0.5, 0.3, (rows, 3)).astype(np.float32)
    values[rng.random(rows) < 0.1] += np.float32(2)
    steps = np.where(rng.random(rows) < 0.05, rng.integers(-4, 300, rows), 1)
    return block_of(name, values, times=START + MINUTE * np.cumsum(steps))


class TinySteps(Pace):
    """Steps end after so many values, wherever that is."""

    def __init__(self, chosen: Settings, most_values: int, most_messages: int) -> None:
        super().__init__(chosen, clock=lambda: 0.0)
        self.most_values = most_values
        self.most_messages = most_messages
        self.most_s = 1e9


def cut(pipeline: Pipeline, most_values: int, most_messages: int) -> Pipeline:
    pipeline._pace = TinySteps(pipeline.settings, most_values, most_messages)
    return pipeline


@settings(REPEATABLE, max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    sizes=st.lists(st.integers(1, 90), min_size=1, max_size=3),
    group=st.integers(1, 90),
    most_values=st.integers(1, 300),
    most_messages=st.integers(1, 20),
)
def test_steps_of_any_size_change_nothing(
    open_routes: OpenRoutes, seed: int, sizes: list[int], group: int, most_values: int, most_messages: int
) -> None:
    # given rows of several machines in blocks
    chosen = CHOSEN.model_copy(update={"windows": WindowSettings(clock_restart_rows=3, max_gap_intervals=100)})
    blocks = [rows_of(f"press-{index}", rows, seed) for index, rows in enumerate(sizes)]
    messages = [
        message_of(SensorBlock(block.machine, block.ts[part], block.channels, block.values[part]))
        for block in blocks
        for part in (slice(start, start + group) for start in range(0, len(block), group))
    ]
    expected = feed(Pipeline(open_routes(RECIPE, chosen), chosen), messages)
    # when they are handled in steps that hold a few values at most
    pipeline = cut(Pipeline(open_routes(RECIPE, chosen), chosen), most_values, most_messages)
    found = feed(pipeline, messages)
    # then the same comes out
    assert_same_scores(found, expected)
    assert_same_alerts(found, expected)


@settings(REPEATABLE, max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    rows=st.integers(1, 60),
    group=st.integers(1, 60),
    most_values=st.integers(1, 150),
    left_after=st.integers(0, 30),
)
def test_work_that_is_left_between_two_steps_is_done_by_another(
    open_routes: OpenRoutes, seed: int, rows: int, group: int, most_values: int, left_after: int
) -> None:
    # given rows of two machines in blocks, and a worker that leaves its work after some steps, within a message or not
    blocks = [rows_of(name, rows, seed) for name in ("press-0", "press-1")]
    messages = [
        message_of(SensorBlock(block.machine, block.ts[part], block.channels, block.values[part]))
        for part in (slice(start, start + group) for start in range(0, rows, group))
        for block in blocks
    ]
    expected = feed(Pipeline(open_routes(RECIPE, CHOSEN), CHOSEN), messages)
    pipeline = cut(Pipeline(open_routes(RECIPE, CHOSEN), CHOSEN), most_values, 5)
    state = pipeline.partition(TOPIC, 0)
    outputs: list[Output] = []
    records: dict[bytes, bytes] = {}
    committed = published = 0
    for number, step in enumerate(pipeline.steps([batch_of(messages)], 0.0)):
        outputs += step.outputs
        # it commits as the shell does: no snapshots while a message is half done
        if step.whole and number % 2:
            records |= {each.key or b"": each.value or b"" for each in state.snapshots(0.0, everything=True)}
        assert step.whole or not step.outputs
        committed, published = state.committable, state.position
        assert committed <= published
        if number >= left_after:
            break
    # when another goes on from the commit
    again = Pipeline(open_routes(RECIPE, CHOSEN), CHOSEN)
    other = again.partition(TOPIC, 0)
    other.position = committed
    other.restore(records)
    other.published = other.progress_written = published
    outputs += feed(again, messages[committed:])
    # then everything is there once
    assert_same_scores(outputs, expected)
    assert_same_alerts(outputs, expected)


def test_a_message_that_takes_long_is_done_in_steps_of_the_pace(open_routes: OpenRoutes) -> None:
    # given a graph of some milliseconds a window, and a message of many rows between small ones
    small = row_by_row(rows_of("press-0", 3, 1))
    large = message_of(block_of("press-1", np.full((480, 3), 0.4)), "arrow")
    pipeline = Pipeline(open_routes(TOILSOME, QUICK), QUICK)
    batch = batch_of([*small, large, *row_by_row(rows_of("press-2", 3, 1))])
    # when they are handled
    steps, lasted, began = [], [], time.monotonic()
    state = pipeline.partition(TOPIC, 0)
    positions = []
    for step in pipeline.steps([batch], 0.0):
        lasted.append(time.monotonic() - began)
        steps.append(step)
        positions.append(state.position)
        began = time.monotonic()
    # then it takes several steps, none of which takes much longer than it should
    assert len([step for step in steps if not step.whole]) >= 2
    assert max(lasted) < max(4.0, sum(lasted) / 2)
    # and what came before it is out, and may be committed, before it is done
    first = next(index for index, step in enumerate(steps) if not step.whole)
    assert positions[first] == 3
    assert {block["machine"] for step in steps[:first] for block in parsed(step.outputs, "scores")} == {"press-0"}
    assert steps[-1].whole
    assert len(scores_of([output for step in steps for output in step.outputs])) == 2 + 479 + 2


def test_many_messages_that_take_long_are_whole_one_after_the_other(open_routes: OpenRoutes) -> None:
    # given messages of ten rows, of which a step holds some
    blocks = [rows_of(f"press-{number}", 10, number) for number in range(50)]
    pipeline = Pipeline(open_routes(TOILSOME, QUICK), QUICK)
    # when they come in one batch: then each step leaves whole messages, so that they can be committed
    steps = list(pipeline.steps([batch_of([message_of(block) for block in blocks])], 0.0))
    whole = [step for step in steps if step.whole]
    assert len(whole) >= 3
    assert len(whole) > len(steps) / 2


def pace_of(**worker: int) -> Pace:
    return Pace(Settings(worker=WorkerSettings(**worker)), clock=iter(np.arange(0.0, 1e6, 0.5)).__next__)  # type: ignore[arg-type]


def test_so_many_messages_are_taken_as_a_second_holds() -> None:
    # given steps that take half a second each, whatever is in them
    pace = pace_of()
    for messages, expected in ((500, 1_000), (1_000, 2_000), (10, 20), (1, 2)):
        pace.begin(0.0)
        pace.took(messages)
        # when they are done: then the next holds twice as many
        pace.end(0.0, whole=True)
        assert pace.most_messages == expected
    # but never more than is read at a time, or fewer than one
    pace = pace_of(max_batch_messages=600)
    pace.begin(0.0)
    pace.took(500)
    pace.end(0.0, whole=True)
    assert pace.most_messages == 600


def test_limits_of_the_worker_shorten_steps() -> None:
    # given a worker that counts as stuck after two seconds: then steps take a tenth of that
    assert Pace(Settings(worker=WorkerSettings(stall_timeout_s=2))).most_s == pytest.approx(0.2)


@pytest.mark.nightly  # tests/integration/test_flow.py sees the same of a worker
def test_small_messages_that_unfold_to_megabytes_take_bounded_memory(
    bundle_path: Callable[[Recipe], Path],
) -> None:
    # given half a gigabyte of rows in messages of some kilobytes, as one batch
    recipe = Recipe(channels=tuple(f"c{number}" for number in range(128)), window=8, stride=64)
    command = [sys.executable, "-m", "tests.unit.stream.unfolding", str(bundle_path(recipe)), "120"]
    # when a process handles them
    done = run(command)
    # then memory grows by what a few of them hold
    size, rows, grown = (int(line.split()[0]) for line in done[-3:])
    assert size < 100_000
    assert rows == 120 * 8_192
    assert grown < 128


def run(command: Sequence[str]) -> list[str]:
    """What it prints, line by line."""
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, cwd=CHECKOUT, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
