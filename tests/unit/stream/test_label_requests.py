"""Which windows a person is asked about: the least certain of each stretch of time, however rows come and workers go."""

from __future__ import annotations

import math
import uuid
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import wheeltapper.stream.judges.labels
from tests.unit.stream.bundles import Recipe
from tests.unit.stream.conftest import OpenRoutes
from tests.unit.stream.feeds import (
    MINUTE,
    REPEATABLE,
    TOPIC,
    batch_of,
    block_of,
    feed,
    message_of,
    row_by_row,
    scores_of,
)
from tests.unit.stream.test_chunking import BUNDLES, THRESHOLDS, batch_sizes, grouped, machine_rows, plans
from tests.unit.stream.test_restart import Broker, live, lives, small_messages
from wheeltapper.schemas.codec import decode_message
from wheeltapper.schemas.events import LabelRequest
from wheeltapper.stream.core.windows import SpannedRows
from wheeltapper.stream.judges.labels import LEAST_GAIN, QUESTION
from wheeltapper.stream.pipeline import Pipeline
from wheeltapper.stream.records import Output
from wheeltapper.stream.settings import LabelSettings, Settings, StateSettings, WindowSettings

HOUR = 60 * MINUTE
HOURLY = Settings(labels=LabelSettings(enabled=True, margin=0.3, per_day=24))
NEW_HOUR = 472_223 * HOUR
ONE = Recipe(channels=("a",), window=1, weighting="scored row")
"""A row's score is the square of what its value is above 0.5."""


def requests_of(outputs: Sequence[Output]) -> list[LabelRequest]:
    """As a reader takes them."""
    messages = [output for output in outputs if output.topic == "label-requests"]
    assert all(dict(message.headers) == {"content-type": b"application/json"} for message in messages)
    found = [decode_message(LabelRequest, message.value, "application/json") for message in messages]
    assert [message.key for message in messages] == [request.machine.encode() for request in found]
    return found


def hours_of(scores: Sequence[Sequence[float]], machine: str = "press-1") -> Any:
    """Rows that score so, an hour a list, a minute apart."""
    flat = [(hour, minute, score) for hour, part in enumerate(scores) for minute, score in enumerate(part)]
    times = [NEW_HOUR + hour * HOUR + minute * MINUTE for hour, minute, _ in flat]
    return block_of(machine, [0.5 + math.sqrt(score) for *_, score in flat], times=times, channels=("a",))


def places_of(requests: Sequence[LabelRequest]) -> list[tuple[int, int]]:
    """(hour, minute) of each."""
    return [divmod((request.time - NEW_HOUR) // MINUTE, 60) for request in requests]


def test_the_least_certain_window_of_each_stretch_is_asked_about(open_routes: OpenRoutes) -> None:
    # given five hours: with several windows near the alarm level, none, one above it, one at the margin's edge, the next
    scores = [[0.2, 0.8, 0.95, 1.1, 0.1], [0.1, 0.5, 2.0], [1.02, 3.0], [0.71, 0.69], [0.1]]
    pipeline = Pipeline(open_routes(ONE), HOURLY)
    # when they are handled
    found = requests_of(feed(pipeline, row_by_row(hours_of(scores)), batch_sizes=[1]))
    # then each hour that had one asks about the nearest to 1.0, once, and says how near it was
    assert places_of(found) == [(0, 2), (2, 0), (3, 0)]
    assert [request.score for request in found] == pytest.approx([0.95, 1.02, 0.71], rel=1e-5)
    assert [request.uncertainty for request in found] == pytest.approx([1 - 0.05 / 0.3, 1 - 0.02 / 0.3, 1 - 0.29 / 0.3], rel=1e-4)  # fmt: skip
    assert pipeline.counters.label_requests == 3


def test_a_question_is_asked_when_its_stretch_has_ended(open_routes: OpenRoutes) -> None:
    # given an hour with a window that is near
    pipeline = Pipeline(open_routes(ONE), HOURLY)
    rows = row_by_row(hours_of([[0.9, 0.1, 0.1], [0.1, 1.0], [0.1]]))
    # when rows come one by one: then the question comes with the first row behind the hour
    asked = [len(requests_of(pipeline.handle([batch_of([row], first=at)], 0.0))) for at, row in enumerate(rows)]
    assert asked == [0, 0, 0, 1, 0, 1]


def test_of_windows_that_are_alike_the_first_is_asked_about(open_routes: OpenRoutes) -> None:
    # given windows at the same distance, above and below, and one that is nearer by less than counts
    scores = [[0.9, 0.9, 1.1, 0.9 + LEAST_GAIN / 2, 0.9], [0.1]]
    found = requests_of(feed(Pipeline(open_routes(ONE), HOURLY), row_by_row(hours_of(scores))))
    # then the first of them is taken
    assert places_of(found) == [(0, 0)]


def test_distance_is_from_the_level_in_force(open_routes: OpenRoutes) -> None:
    # given a plant that raises at 2.0
    chosen = HOURLY.model_copy(update={"threshold": THRESHOLDS["fixed"].model_copy(update={"raise_level": 2.0})})
    # when scores are around 1.0 and around 2.0
    found = requests_of(feed(Pipeline(open_routes(ONE), chosen), row_by_row(hours_of([[1.0, 1.9, 1.3], [0.1]]))))
    # then it asks about those around its own level
    assert places_of(found) == [(0, 1)]
    assert (found[0].threshold, found[0].uncertainty) == (2.0, pytest.approx(1 - 0.05 / 0.3, rel=1e-4))


@pytest.mark.parametrize(("per_day", "expected"), [(1, 1), (2, 2), (24, 24), (0.5, 1)])
def test_no_machine_asks_more_often_than_it_may(open_routes: OpenRoutes, per_day: float, expected: int) -> None:
    # given a day of windows that are all near, and the first row of the day after next
    chosen = Settings(labels=LabelSettings(enabled=True, per_day=per_day), windows=WindowSettings(max_jump_intervals=0))
    day = NEW_HOUR - NEW_HOUR % (48 * HOUR)
    times = [*(day + MINUTE * np.arange(24 * 60)), day + 48 * HOUR]
    values = 0.5 + np.sqrt(np.random.default_rng(3).uniform(0.8, 1.2, len(times)))
    block = block_of("press-1", values, times=times, channels=("a",))
    # when they are handled: then it asks per_day times
    assert len(requests_of(feed(Pipeline(open_routes(ONE), chosen), [message_of(block, "arrow")]))) == expected


def test_a_request_carries_its_window(open_routes: OpenRoutes) -> None:
    # given a window of 4 rows and 2 channels with a missing value, scored one row before its end
    recipe = Recipe(channels=("a", "b"), window=4, lag=1, weighting="scored row")
    rows = [[0.5, 0.5], [0.75, None], [1.4, 0.6], [0.5, 0.25], [0.5, 0.5], [0.5, 0.5]]
    values = np.array(rows, dtype=np.float64)
    times = [NEW_HOUR + minute * MINUTE for minute in (0, 1, 2, 3, 60, 61)]
    # when the row with 0.81 + 0.01 is asked about
    pipeline = Pipeline(open_routes(recipe), HOURLY)
    outputs = feed(pipeline, row_by_row(block_of("press-1", values, times=times, channels=("a", "b"))))
    (found,) = requests_of(outputs)
    # then the request says which row it is about, and has all rows as they were sent
    assert (found.machine, found.rule, found.detector) == ("press-1", "distance", "distance")
    assert (found.bundle, found.time) == (recipe.bundle_id, times[2])
    assert found.ts == tuple(times[:4])
    assert (found.channels, found.units) == (("a", "b"), ("unit of a", "unit of b"))
    as_sent = [[None if math.isnan(value) else value for value in row] for row in values[:4].tolist()]
    assert [list(row) for row in found.values] == as_sent
    assert (found.score, found.quality) == (pytest.approx(0.82, rel=1e-5), 0.875)
    # and where its score comes from
    assert [(share.channel, share.actual, share.expected) for share in found.shares] == [
        ("a", pytest.approx(1.4), 0.5),
        ("b", pytest.approx(0.6), 0.5),
    ]
    assert found.shares[0].share == pytest.approx(0.81 / 0.82, rel=1e-4)
    # under an id that the same input gives again
    again = feed(Pipeline(open_routes(recipe), HOURLY), [message_of(block_of("press-1", values, times=times, channels=("a", "b")))])  # fmt: skip
    assert uuid.UUID(found.request_id).version == 5
    assert [request.request_id for request in requests_of(again)] == [found.request_id]


def test_a_machine_that_warms_up_sends_the_rows_it_has(open_routes: OpenRoutes) -> None:
    # given windows of 5 rows that are scored from the second row on
    recipe = Recipe(channels=("a",), window=5, warm_up=2, weighting="scored row")
    block = hours_of([[0.1, 0.1, 0.9], [0.1]])
    # when the third row is asked about
    (found,) = requests_of(feed(Pipeline(open_routes(recipe), HOURLY), row_by_row(block)))
    # then there are three rows
    assert found.ts == tuple(block.ts[:3].tolist())
    assert [row[0] for row in found.values] == pytest.approx(block.values[:3, 0].tolist())


def test_of_a_very_large_window_the_last_rows_are_sent(
    open_routes: OpenRoutes, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given that no more than 6 values may be sent, and windows of 5 rows and 2 channels
    monkeypatch.setattr(wheeltapper.stream.judges.labels, "MAX_LABEL_VALUES", 6)
    recipe = Recipe(channels=("a", "b"), window=5, weighting="scored row")
    values = np.full((6, 2), 0.5)
    values[4, 0] = 1.5
    times = [NEW_HOUR + minute * MINUTE for minute in (0, 1, 2, 3, 4, 60)]
    block = block_of("press-1", values, times=times, channels=("a", "b"))
    # when one is asked about: then it comes with its last 3
    (found,) = requests_of(feed(Pipeline(open_routes(recipe), HOURLY), [message_of(block)]))
    assert found.ts == tuple(times[2:5])
    assert found.values[-1] == (1.5, 0.5)


def test_rules_ask_for_themselves(open_routes: OpenRoutes) -> None:
    # given two bundles on one machine, of which one calls twice as much an alarm
    recipes = (ONE, Recipe(channels=("a",), window=1, weighting="mean", detector="deaf", alarm_level=2.0))
    # when one hour has a window near each of their levels
    outputs = feed(Pipeline(open_routes(recipes), HOURLY), row_by_row(hours_of([[0.95, 2.1], [0.1]])))
    found = requests_of(outputs)
    # then each asks about its own, under ids of their own
    assert {(request.rule, place) for request, place in zip(found, places_of(found), strict=True)} == {
        ("distance", (0, 0)),
        ("deaf", (0, 1)),
    }
    assert len({request.request_id for request in found}) == 2


def test_nobody_is_asked_unless_the_settings_say_so(open_routes: OpenRoutes, monkeypatch: pytest.MonkeyPatch) -> None:
    # given the default settings, and windows whose rows no code may copy
    def forbidden(*_: object) -> None:
        raise AssertionError("rows were copied for questions that nobody wants")

    monkeypatch.setattr(SpannedRows, "window", forbidden)
    # when windows are near the alarm level
    pipeline = Pipeline(open_routes(ONE), Settings())
    outputs = feed(pipeline, row_by_row(hours_of([[0.95, 0.99], [0.99], [0.1]])))
    # then they are scored, and nothing else happens
    assert len(scores_of(outputs)) == 4
    assert requests_of(outputs) == []
    machine = pipeline.partition(TOPIC, 0).find("press-1")
    assert machine is not None
    assert QUESTION not in machine.rules["distance"].memory.slots


def test_a_question_that_waits_is_in_the_snapshot(open_routes: OpenRoutes) -> None:
    # given a machine with a question that waits for the end of its hour
    routes = open_routes(ONE)
    pipeline = Pipeline(routes, HOURLY)
    rows = row_by_row(hours_of([[0.9, 0.1], [0.1]]))
    assert requests_of(feed(pipeline, rows[:2])) == []
    (record,) = pipeline.partition(TOPIC, 0).snapshots(now=0.0, everything=True)
    # when another worker takes over
    successor = Pipeline(routes, HOURLY)
    partition = successor.partition(TOPIC, 0)
    partition.position = 2
    partition.restore({b"press-1": record.value or b""})
    # then that one asks it
    assert places_of(requests_of(feed(successor, rows[2:]))) == [(0, 0)]
    # and a worker whose settings want no questions leaves it where it is
    silent = Pipeline(routes, Settings())
    silent.partition(TOPIC, 0).position = 2
    silent.partition(TOPIC, 0).restore({b"press-1": record.value or b""})
    assert requests_of(feed(silent, rows[2:])) == []


def test_a_clock_that_is_set_back_asks_for_its_hours_anew(open_routes: OpenRoutes) -> None:
    # given a machine whose clock is set back from the third hour to the first
    chosen = HOURLY.model_copy(update={"windows": WindowSettings(clock_restart_rows=2, max_jump_intervals=0)})
    block = hours_of([[0.95], [], [0.9, 0.1]])
    back = hours_of([[0.1, 0.1, 0.1, 0.8], [0.1]])
    # when it goes on from there: then what waited is asked, and the hour as it is lived again
    messages = row_by_row(block) + row_by_row(back)
    found = requests_of(feed(Pipeline(open_routes(ONE), chosen), messages, batch_sizes=[2]))
    assert places_of(found) == [(0, 0), (2, 0), (0, 3)]


# -- however rows come ------------------------------------------------------------------------------------------------


def content_of(requests: Sequence[LabelRequest]) -> dict[str, list[dict[str, Any]]]:
    """Request id -> what it says, once however often it came: two things only where a clock that was set back lived
    the same time again."""
    found: dict[str, list[dict[str, Any]]] = {}
    for request in requests:
        said = request.model_dump(exclude={"shares", "score", "uncertainty"})
        known = found.setdefault(request.request_id, [])
        if said not in known:
            known.append(said)
    return found


def settings_for(threshold: str, **others: Any) -> Settings:
    return Settings(
        threshold=THRESHOLDS[threshold],
        windows=WindowSettings(clock_restart_rows=2, max_gap_intervals=5),
        labels=LabelSettings(enabled=True, margin=0.5, per_day=96),
        **others,
    )


@pytest.mark.parametrize(("bundles", "threshold"), [("stride 3", "fixed"), ("lag 2", "spot"), ("two rules", "spot")])
@settings(REPEATABLE, max_examples=12)
@given(seed=st.integers(0, 10_000), plan=plans, batches=batch_sizes, messy=st.booleans())
def test_grouping_changes_no_question(
    open_routes: OpenRoutes,
    bundles: str,
    threshold: str,
    seed: int,
    plan: list[tuple[int, int, int]],
    batches: list[int],
    messy: bool,
) -> None:
    # given rows of several machines, handled one by one
    chosen = settings_for(threshold)
    routes = open_routes(BUNDLES[bundles], chosen)
    blocks = [machine_rows(f"press-{index}", 70, seed, messy=messy) for index in range(2)]
    simple = Pipeline(routes, chosen)
    expected = [output for block in blocks for output in feed(simple, row_by_row(block), batch_sizes=[1])]
    # when they come in blocks of mixed size, encoding and machine
    found = feed(Pipeline(routes, chosen), grouped(blocks, plan), batch_sizes=batches)
    # then the same is asked, with the same rows
    assert content_of(requests_of(found)) == content_of(requests_of(expected))


@settings(REPEATABLE, max_examples=20)
@given(seed=st.integers(0, 10_000))
def test_no_window_of_a_stretch_was_nearer(open_routes: OpenRoutes, seed: int) -> None:
    # given rows and every score of them
    chosen = settings_for("fixed")
    recipe = BUNDLES["stride 3"][0]
    block = machine_rows("press-0", 120, seed, messy=False)
    outputs = feed(Pipeline(open_routes(recipe, chosen), chosen), row_by_row(block))
    quarter = 15 * MINUTE
    nearest: dict[int, float] = {}
    for (_, _, time), (score,) in scores_of(outputs).items():
        distance = abs(score.score - 1)
        nearest[time // quarter] = min(nearest.get(time // quarter, 1.0), distance)
    # when the questions are compared with them
    asked = {request.time // quarter: abs(request.score - 1) for request in requests_of(outputs)}
    # then every stretch that has ended and had a window within the margin asked, about the nearest
    last = max(nearest)
    assert set(asked) == {stretch for stretch, least in nearest.items() if least <= 0.5 and stretch != last}
    assert all(distance <= nearest[stretch] + LEAST_GAIN + 1e-6 for stretch, distance in asked.items())


@pytest.mark.parametrize("transactional", [True, False])
@pytest.mark.parametrize("bundles", ["lag 2", "two rules"])
@settings(REPEATABLE, max_examples=12)
@given(seed=st.integers(0, 10_000), history=lives, plan=small_messages, messy=st.booleans())
@example(seed=656, history=[([(1, None)], False, "snapshots")], plan=[(0, 1, 0)], messy=True)  # a clock set back
def test_kills_change_no_question(
    open_routes: OpenRoutes,
    bundles: str,
    transactional: bool,
    seed: int,
    history: list[Any],
    plan: list[tuple[int, int, int]],
    messy: bool,
) -> None:
    # given a stream, and a run that was not interrupted
    chosen = settings_for("spot", state=StateSettings(snapshot_interval_s=20, snapshot_windows=2))
    routes = open_routes(BUNDLES[bundles], chosen)
    messages = grouped([machine_rows(f"press-{index}", 60, seed, messy=messy) for index in range(2)], plan)
    expected = requests_of(feed(Pipeline(routes, chosen), messages, batch_sizes=[9]))
    # when a worker is killed now and then, between any two of its steps
    broker = Broker(messages)
    live(broker, routes, chosen, history, transactional=transactional)
    # then the same was asked in the end; with transactions, each once
    found = requests_of(broker.outputs)
    assert content_of(found) == content_of(expected)
    assert len(found) == len(expected) or not transactional


def test_the_properties_are_about_something(open_routes: OpenRoutes) -> None:
    # given the rows that the properties draw, when they are handled
    chosen = settings_for("fixed")
    blocks = [machine_rows("press-0", 70, seed, messy=True) for seed in range(5)]
    routes = open_routes(BUNDLES["two rules"], chosen)
    found = [requests_of(feed(Pipeline(routes, chosen), row_by_row(block))) for block in blocks]
    # then most of them ask, about whole windows and such with missing values, by both rules
    assert sum(map(bool, found)) >= 4
    every = [request for part in found for request in part]
    assert {request.rule for request in every} == {"long", "short"}
    assert {request.quality < 1 for request in every} == {True, False}
