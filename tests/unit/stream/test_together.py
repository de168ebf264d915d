"""Ordinary rows of many machines are taken in at once: that brings about what machine by machine does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
    events_of,
    letters_of,
)
from tests.unit.stream.test_chunking import BUNDLES, THRESHOLDS, without_messages
from wheeltapper.stream.pipeline import Pipeline
from wheeltapper.stream.records import Output
from wheeltapper.stream.settings import InputSettings, Settings, WindowSettings
from wheeltapper.stream.state import SavedRule, read_snapshot
from wheeltapper.stream.together import Together, Waiting

STEPS = {"next": 1, "late": -2, "again": 0, "gap": 9, "jump": 70}
"""What a row's time is to the one before, in minutes."""


class OneByOne(Together):
    """Finds nothing ordinary."""

    def take(self, waiting: Sequence[Waiting], now: float) -> list[list[int]]:
        return [list(range(len(each.machines))) for each in waiting]


def pipeline_of(open_routes: OpenRoutes, bundles: Sequence[Recipe], chosen: Settings, *, general: bool) -> Pipeline:
    pipeline = Pipeline(open_routes(bundles, chosen), chosen)
    if general:
        pipeline._together = OneByOne(chosen.windows, pipeline.counters)
    return pipeline


def messages_of(seed: int, machines: int, rows: int, odd: float) -> list[Message]:
    """One-row JSON of machines in any order, most of it ordinary; `odd` is the share of rows that are not."""
    rng = np.random.default_rng(seed)
    times = [START] * machines
    messages = []
    for _ in range(rows):
        index = int(rng.integers(machines))
        step = str(rng.choice(list(STEPS))) if rng.random() < odd else "next"
        time = times[index] + STEPS[step] * MINUTE
        if step != "jump" or rng.random() < 0.3:  # a jump that the rows behind it do not go on from is refused
            times[index] = max(times[index], time)
        values = rng.normal(0.5, 0.2, 3) + (rng.exponential(1.5) if rng.random() < 0.1 else 0)
        fields: dict[str, Any] = dict(zip("abc", np.round(values, 4).tolist(), strict=True))
        if rng.random() < odd:
            fields[str(rng.choice(["a", "b"]))] = [None, -999.0, 1e39][int(rng.integers(3))]
        content = {"machine": f"press-{index}", "ts": time, "values": fields}
        messages.append(Message(orjson.dumps(content), timestamp_ms=time // 1_000))
    return messages


def state_of(pipeline: Pipeline) -> dict[bytes, bytes]:
    """Snapshots of all machines."""
    partition = pipeline.partition(TOPIC, 0)
    for machine in partition.known_machines():
        partition.mark(machine, 0.0)
    return {output.key or b"": output.value or b"" for output in partition.snapshots(0.0, everything=True)}


def assert_same_memory(found: dict[str, Any], expected: dict[str, SavedRule]) -> None:
    """What judges remember; the last digits of scores depend on how a slow machine cut the batches that they were scored in."""

    def leaves(saved: Any, path: str = "") -> Iterator[tuple[str, Any]]:
        if isinstance(saved, dict | list):
            for name, part in saved.items() if isinstance(saved, dict) else enumerate(saved):
                yield from leaves(part, f"{path}/{name}")
        else:
            yield path, saved

    wanted = dict(leaves({place: rule.slots for place, rule in expected.items()}))
    close = {
        path: pytest.approx(saved, rel=1e-5) if isinstance(saved, float) else saved for path, saved in wanted.items()
    }
    assert dict(leaves(found)) == close


@pytest.mark.parametrize(
    ("bundles", "threshold"), [("two rules", "budget"), ("warm-up", "fixed"), ("stride 3", "spot")]
)
@settings(REPEATABLE, max_examples=25)
@given(
    seed=st.integers(0, 10_000),
    machines=st.integers(1, 8),
    odd=st.sampled_from([0.0, 0.02, 0.2]),
    batches=st.lists(st.integers(1, 60), min_size=1, max_size=6),
    restart_after=st.integers(0, 9),
)
def test_many_at_once_are_as_one_by_one(
    open_routes: OpenRoutes,
    bundles: str,
    threshold: str,
    seed: int,
    machines: int,
    odd: float,
    batches: list[int],
    restart_after: int,
) -> None:
    # given rows of some machines: late, repeated, with gaps, jumps and missing values
    chosen = Settings(
        threshold=THRESHOLDS[threshold],
        windows=WindowSettings(clock_restart_rows=3, max_gap_intervals=5),
        input=InputSettings(missing_values=(-999.0,)),
    )
    messages = messages_of(seed, machines, 250, odd)
    found: list[tuple[list[Output], dict[bytes, bytes], object]] = []
    # when they are taken in at once, and one by one, with a restart in between
    for general in (False, True):
        pipeline = pipeline_of(open_routes, BUNDLES[bundles], chosen, general=general)
        outputs: list[Output] = []
        start = turn = 0
        before = None
        while start < len(messages):
            if turn == restart_after:
                state, before = state_of(pipeline), pipeline.counters
                pipeline = pipeline_of(open_routes, BUNDLES[bundles], chosen, general=general)
                pipeline.partition(TOPIC, 0).position = start
                pipeline.partition(TOPIC, 0).restore(state)
            size = batches[turn % len(batches)]
            outputs += pipeline.handle([batch_of(messages[start : start + size], first=start)], now=float(turn))
            start, turn = start + size, turn + 1
        counters = pipeline.counters if before is None else before + pipeline.counters
        found.append((outputs, state_of(pipeline), without_messages(counters)))
    # then scores, alerts, dead letters, counts and all that is remembered are the same
    (at_once, state, counts), (one_by_one, expected_state, expected_counts) = found
    assert_same_scores(at_once, one_by_one)
    assert_same_alerts(at_once, one_by_one)
    assert events_of(at_once) == events_of(one_by_one)
    assert [(letter.offset, letter.reason) for letter in letters_of(at_once)] == [
        (letter.offset, letter.reason) for letter in letters_of(one_by_one)
    ]
    assert counts == expected_counts
    assert state.keys() == expected_state.keys()
    for key, value in state.items():
        remembered, expected = read_snapshot(value), read_snapshot(expected_state[key])
        assert bytes(remembered.body) == bytes(expected.body)
        assert remembered.memory == expected.memory
        assert_same_memory({place: rule.slots for place, rule in remembered.rules.items()}, expected.rules)


def test_ordinary_rows_are_taken_at_once(open_routes: OpenRoutes) -> None:
    # given machines that are known, and one batch of their next rows, of which one is late and one comes of a new machine
    chosen = Settings()
    pipeline = pipeline_of(open_routes, [Recipe()], chosen, general=False)
    left: list[list[int]] = []

    class Watched(Together):
        def take(self, waiting: Sequence[Waiting], now: float) -> list[list[int]]:
            found = super().take(waiting, now)
            left.extend(found)
            return found

    pipeline._together = Watched(chosen.windows, pipeline.counters)

    def row(machine: str, step: int) -> Message:
        content = {"machine": machine, "ts": START + step * MINUTE, "values": {"a": 0.5, "b": 0.5, "c": 0.5}}
        return Message(orjson.dumps(content))

    pipeline.handle([batch_of([row(name, 5) for name in ("p", "q", "r")])], now=0.0)
    # when it is handled
    messages = [row("p", 6), row("q", 5), row("new", 6), row("r", 6), row("r", 7)]
    pipeline.handle([batch_of(messages, first=3)], now=0.0)
    # then only the late row's and the new machine are looked at one by one
    assert left == [[0, 1, 2], [1, 2]]
    assert pipeline.counters.rows == 7
    assert pipeline.counters.late_rows == 1
