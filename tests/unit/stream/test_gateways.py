"""Messages as gateways send them, one reading after the other, lead to the alerts that the same rows lead to as rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
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
    TOPIC,
    Message,
    assert_same_alerts,
    assert_same_scores,
    events_of,
    feed,
    letters_of,
    parsed,
    row_by_row,
    scores_of,
)
from tests.unit.stream.gateway_forms import (
    CHANNELS,
    FIXED,
    FORMS,
    GRID,
    Form,
    chosen,
    ordinary,
    sent,
    to_the_end,
)
from tests.unit.stream.test_restart import Broker, live, lives
from wheeltapper.adaptation.rows import RowCollector
from wheeltapper.follow.follower import TopicRecord
from wheeltapper.schemas.bundle import open_bundle
from wheeltapper.stream.pipeline import Pipeline
from wheeltapper.stream.settings import (
    InputSettings,
    Settings,
    StateSettings,
    WindowSettings,
)
from wheeltapper.training.adaptation.service.life import RowSource


@pytest.mark.parametrize("name", FORMS)
def test_readings_lead_to_what_the_same_rows_lead_to(open_routes: OpenRoutes, name: str) -> None:
    # given rows, and what is said of them
    form, block = FORMS[name], ordinary(40)
    routes = open_routes(Recipe(window=4))
    expected = feed(Pipeline(routes, Settings(threshold=FIXED)), row_by_row(block))
    # when a gateway sends them in its form
    pipeline = Pipeline(routes, chosen(form))
    found = to_the_end(pipeline, sent(form, block))
    # then nothing is lost, and the same is said
    assert letters_of(found) == []
    assert pipeline.counters.rows == 40
    assert_same_scores(found, expected)
    assert_same_alerts(found, expected, same_messages=False)
    assert {kind for events in events_of(found).values() for kind, *_ in events} >= {"opened", "cleared"}


def messy(rows: int, seed: int) -> list[dict[str, Any]]:
    """Readings of two machines at their own rates, some bad, late, twice, or of a tag that nobody knows."""
    rng = np.random.default_rng(seed)
    readings = []
    for time in range(rows):
        for machine in ("pump-1", "pump-2"):
            for number, name in enumerate(CHANNELS):
                if time % (number + 1) == 0 and rng.random() > 0.1:
                    at = GRID + MINUTE * time + int(rng.integers(-3, 3)) * MINUTE * (rng.random() < 0.2)
                    value = float(np.float32(rng.normal(0.5, 0.2) + 2 * (rng.random() < 0.1)))
                    quality = 192 if rng.random() > 0.1 else 0
                    readings.append({"tag": f"{machine}.{name}", "v": value, "t": at // 1_000, "q": quality})
    readings[7]["tag"] = "elsewhere"
    return readings


MESSY = Form(
    {"time": "[*].t", "time_unit": "ms"},
    {"value": "[*].v", "tag": "[*].tag", "quality": "[*].q", "patterns": ["{machine}.{channel}"], "hold_s": 240},
    lambda ms, row: [],
)
WINDOWS = WindowSettings(clock_restart_rows=4, max_gap_intervals=5)
message_sizes = st.lists(st.integers(1, 12), min_size=1, max_size=5)


def in_messages(readings: list[dict[str, Any]], sizes: Iterable[int]) -> list[Message]:
    """Lists of readings, by sizes that last for ever."""
    sizes, messages, start = list(sizes), [], 0
    while start < len(readings):
        size = sizes[len(messages) % len(sizes)]
        messages.append(Message(orjson.dumps(readings[start : start + size])))
        start += size
    return messages


@settings(REPEATABLE, max_examples=20)
@given(seed=st.integers(0, 1_000), sizes=message_sizes, batches=st.lists(st.integers(1, 9), min_size=1, max_size=4))
def test_grouping_changes_nothing(open_routes: OpenRoutes, seed: int, sizes: list[int], batches: list[int]) -> None:
    # given readings, one a message, handled one by one
    routes, settings_ = open_routes(Recipe(window=4, stride=2)), chosen(MESSY, windows=WINDOWS)
    readings = messy(30, seed)
    simple, other = Pipeline(routes, settings_), Pipeline(routes, settings_)
    expected = to_the_end(simple, in_messages(readings, [1]), batch_sizes=[1])
    # when they come in lists and batches of any size
    found = to_the_end(other, in_messages(readings, sizes), batch_sizes=batches)
    # then rows, scores, alerts and counts are the same
    assert_same_scores(found, expected)
    assert_same_alerts(found, expected, same_messages=False)
    assert other.counters.readings == simple.counters.readings
    assert (other.counters.rows, other.counters.gaps) == (simple.counters.rows, simple.counters.gaps)


@pytest.mark.parametrize("transactional", [True, False])
@settings(REPEATABLE, max_examples=15)
@given(seed=st.integers(0, 1_000), history=lives, sizes=message_sizes, snapshot_windows=st.sampled_from([1, 4]))
def test_kills_change_nothing(
    open_routes: OpenRoutes,
    transactional: bool,
    seed: int,
    history: list[Any],
    sizes: list[int],
    snapshot_windows: int,
) -> None:
    # given readings, with messages that nobody can read among them, and a run that was not interrupted
    state = StateSettings(snapshot_interval_s=20, snapshot_windows=snapshot_windows)
    settings_ = chosen(MESSY, windows=WINDOWS, state=state)
    routes = open_routes(Recipe(window=4), settings_)
    messages = in_messages(messy(40, seed), sizes)
    messages[3:3] = messages[9:9] = [Message(b"["), Message(None)]
    expected = feed(Pipeline(routes, settings_), messages, batch_sizes=[9])
    # when a worker is killed now and then, between any two of its steps
    broker = Broker(messages)
    live(broker, routes, settings_, history, transactional=transactional)
    # then the same has been said in the end
    if transactional:
        assert_same_scores(broker.outputs, expected)
        assert_same_alerts(broker.outputs, expected)
    said, meant = events_of(broker.outputs), events_of(expected)
    assert {key: set(events) for key, events in said.items()} == {key: set(events) for key, events in meant.items()}
    assert scores_of(broker.outputs).keys() == scores_of(expected).keys()
    assert {one.offset for one in letters_of(broker.outputs)} == {one.offset for one in letters_of(expected)}
    assert broker.committed == len(messages)


def test_the_properties_are_about_something(open_routes: OpenRoutes) -> None:
    # given the readings that the properties above draw, when they are handled
    settings_ = chosen(MESSY, windows=WINDOWS)
    pipelines = [Pipeline(open_routes(Recipe(window=4)), settings_) for _ in range(5)]
    outputs = [to_the_end(pipeline, in_messages(messy(40, seed), [3])) for seed, pipeline in enumerate(pipelines)]
    # then each of the cases is among them
    for event in ("late", "repeated", "expired", "bad-quality"):
        assert sum(pipeline.counters.readings.get(event, 0) for pipeline in pipelines) > 0, event
    assert sum(pipeline.counters.imputed_values for pipeline in pipelines) > 0
    kinds = {kind for part in outputs for events in events_of(part).values() for kind, *_ in events}
    assert kinds == {"opened", "updated", "cleared"}


def test_a_reading_from_the_future_is_refused_and_blinds_nothing(open_routes: OpenRoutes) -> None:
    # given a gateway of which one reading, in a list with good ones, bears a time a year ahead
    form, block = FORMS["kepware"], ordinary(40)
    messages = sent(form, block)
    fields = orjson.loads(messages[11].value or b"")
    fields["values"][1]["t"] += 365 * 86_400_000
    messages[11] = messages[11]._replace(value=orjson.dumps(fields))
    # when it comes
    pipeline = Pipeline(open_routes(Recipe(window=1)), chosen(form))
    outputs = to_the_end(pipeline, messages)
    # then a dead letter says so, and every row is scored, one with a value that was held
    assert [(letter.reason, letter.offset) for letter in letters_of(outputs)] == [("time-ahead", 11)]
    assert [time for _, _, time in scores_of(outputs)] == block.ts.tolist()
    assert pipeline.counters.imputed_values == 0


def test_the_last_row_waits_until_the_recording_ends(open_routes: OpenRoutes) -> None:
    # given a reading of one of three channels
    settings_ = chosen(FORMS["one reading"])
    pipeline = Pipeline(open_routes(Recipe(window=1)), settings_)
    message = {"device": "pump-1", "tag": "a", "timestamp": GRID // 1_000, "value": 1.0}
    # when no other follows, then its row waits; at the end of a recording it comes out
    assert feed(pipeline, [Message(orjson.dumps(message))]) == []
    assert [key[2] for key in scores_of(pipeline.finish())] == [GRID]
    assert pipeline.finish() == []


def test_the_adaptation_worker_collects_the_rows_that_the_worker_scores(
    bundle_path: Callable[[Recipe], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a gateway's readings in the sensors topic, in two reads
    form, block = FORMS["kepware"], ordinary(40)
    records = [
        TopicRecord(message.value or b"", None, message.timestamp_ms, TOPIC, 0, offset, message.key)
        for offset, message in enumerate(sent(form, block))
    ]
    reads = [records[:17], records[17:]]
    follower = SimpleNamespace(read_to_end=lambda: reads.pop(0))
    monkeypatch.setattr(RowCollector, "_follower", lambda *_: nullcontext(follower))
    collector = RowCollector(chosen(form), "pump-1", open_bundle(str(bundle_path(Recipe(window=4)))), RowSource())
    # when they are collected, then they are the rows, once each
    assert collector.read() + collector.read() == 40
    times, values = collector.rows([])
    assert np.array_equal(times, block.ts)
    assert np.array_equal(values, block.values)


WHOLE_ROWS = {
    "a list": (
        {"values": "[*]", "machine": "[*].asset", "time": "[*].at"},
        [
            {"asset": "pump-1", "at": GRID, "a": 0.5, "b": 0.5, "c": 0.5},
            {"asset": "pump-2", "at": GRID + 7, "a": 0.5, "b": 0.5, "c": 0.5},
        ],
    ),
    "a list in an object": (
        {"values": "rows[*].tags", "machine": "meta.asset", "time": "rows[*].at"},
        {
            "meta": {"asset": "pump-1"},
            "rows": [
                {"at": GRID, "tags": {"a": 0.5, "b": 0.5, "c": 0.5}},
                {"at": GRID + 7, "tags": {"a": 0.5, "b": 0.5, "c": 0.5}},
            ],
        },
    ),
    "an index": (
        {"values": "rows[1]", "machine": "key", "time": "times[-1]"},
        {"rows": [{}, {"a": 0.5, "b": 0.5, "c": 0.5}], "times": [1, GRID]},
    ),
    "groups": (
        {"values": "", "machine": "asset", "time": "at", "rename": {"oil.t.in": "a", "oil.p": "b"}},
        {"asset": "pump-1", "at": GRID, "oil": {"t": {"in": 0.5}, "p": 0.5}, "c": 0.5},
    ),
    "a name in quotes": (
        {"values": '"Chan1.Pump1"', "machine": "key", "time": "at | when"},
        {"when": GRID, "Chan1.Pump1": {"a": 0.5, "b": 0.5, "c": 0.5}},
    ),
}


@pytest.mark.parametrize("name", WHOLE_ROWS)
def test_whole_rows_are_found_by_paths_too(open_routes: OpenRoutes, name: str) -> None:
    # given messages of whole rows, in lists or groups, and [input] alone
    input_, message = WHOLE_ROWS[name]
    settings_ = Settings(input=InputSettings(**input_))
    pipeline = Pipeline(open_routes(Recipe(window=1)), settings_)
    # when one comes, then each row is scored at its own time
    outputs = feed(pipeline, [Message(orjson.dumps(message), b"pump-1")])
    assert letters_of(outputs) == []
    found = [(machine, time) for machine, _, time in scores_of(outputs)]
    wanted = {
        "a list": [("pump-1", GRID), ("pump-2", GRID + 7)],
        "a list in an object": [("pump-1", GRID), ("pump-1", GRID + 7)],
    }
    assert found == wanted.get(name, [("pump-1", GRID)])
    assert pipeline.counters.imputed_values == 0


def test_a_list_with_one_bad_row_is_refused_as_a_whole(open_routes: OpenRoutes) -> None:
    input_, message = WHOLE_ROWS["a list"]
    bad = [*message, {"asset": "pump-3", "at": GRID, "a": "x", "b": 0.5, "c": 0.5}]
    pipeline = Pipeline(open_routes(Recipe(window=1)), Settings(input=InputSettings(**input_)))
    outputs = feed(pipeline, [Message(orjson.dumps(bad)), Message(b"[]"), Message(b"[1]"), Message(b"{}")])
    assert [letter.reason for letter in letters_of(outputs)] == ["not-a-number", "no-machine", "not-decodable"]
    assert scores_of(outputs) == {}


def test_what_is_said_names_no_machine_twice(open_routes: OpenRoutes) -> None:
    # given the case's form, when alerts come of it
    form = FORMS["kepware"]
    outputs = to_the_end(Pipeline(open_routes(Recipe(window=4)), chosen(form)), sent(form, ordinary(40)))
    # then they are of the machine of the pattern
    assert {alert["machine"] for alert in parsed(outputs, "alerts")} == {"pump-1"}
