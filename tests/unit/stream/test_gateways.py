"""Messages as gateways send them, one reading after the other, lead to the alerts that the same rows lead to as rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, MutableMapping
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

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
    block_of,
    events_of,
    feed,
    letters_of,
    parsed,
    row_by_row,
    scores_of,
)
from tests.unit.stream.test_restart import Broker, live, lives
from wheeltapper.adaptation.rows import RowCollector
from wheeltapper.follow.follower import TopicRecord
from wheeltapper.schemas.bundle import open_bundle
from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.sensor_block import SensorBlock
from wheeltapper.stream.pipeline import Pipeline
from wheeltapper.stream.records import Output
from wheeltapper.stream.settings import (
    AssemblySettings,
    InputSettings,
    Settings,
    StateSettings,
    ThresholdSettings,
    WindowSettings,
)
from wheeltapper.training.adaptation.service.life import RowSource

# Rows of the tests lie on whole minutes.
GRID = START - START % MINUTE
CHANNELS = ("a", "b", "c")
FIXED = ThresholdSettings(method="fixed", clear_duration_s=180)


class Form(NamedTuple):
    """One gateway's way of sending: its settings, and a row (time in ms, values) as one or more messages.

    Attributes:
        key: of its records.
    """

    input: dict[str, Any]
    assembly: dict[str, Any]
    messages: Callable[[int, list[float]], list[Any]]
    key: bytes | None = None


def iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1_000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


FORMS = {
    "one reading": Form(
        {"machine": "device", "time": "timestamp", "time_unit": "ms"},
        {"value": "value"},
        lambda ms, row: [
            {"device": "pump-1", "tag": name, "timestamp": ms, "value": value}
            for name, value in zip(CHANNELS, row, strict=True)
        ],
    ),
    "one reading, tags of a map": Form(
        {"time": "ts", "time_unit": "ms"},
        {
            "value": "value",
            "tags": {f"TT-{n}": {"machine": "pump-1", "channel": name} for n, name in enumerate(CHANNELS)},
        },
        lambda ms, row: [{"tag": f"TT-{n}", "value": value, "ts": ms} for n, value in enumerate(row)],
    ),
    "kepware": Form(
        {"time": "values[*].t", "time_unit": "ms"},
        {
            "value": "values[*].v",
            "tag": "values[*].id",
            "quality": "values[*].q",
            "patterns": ["Chan1.{machine}.{channel}"],
        },
        lambda ms, row: [
            {
                "timestamp": ms,
                "values": [
                    {"id": f"Chan1.pump-1.{name}", "v": value, "q": True, "t": ms}
                    for name, value in zip(CHANNELS, row, strict=True)
                ],
            }
        ],
    ),
    "a bare list": Form(
        {"machine": "key", "time": "[*].t", "time_unit": "ms"},
        {"value": "[*].v", "tag": "[*].id", "quality": "[*].q"},
        lambda ms, row: [
            [{"id": name, "v": value, "q": 192, "t": ms} for name, value in zip(CHANNELS, row, strict=True)]
        ],
        b"pump-1",
    ),
    "telegraf": Form(
        {"machine": "metrics[*].tags.host", "time": "metrics[*].timestamp", "time_unit": "s"},
        {"value": "metrics[*].fields.*", "tag": ["metrics[*].name", "*"], "patterns": ["opcua.{channel}"]},
        lambda ms, row: [
            {
                "metrics": [
                    {
                        "fields": dict(zip(names, values, strict=True)),
                        "name": "opcua",
                        "tags": {"host": "pump-1"},
                        "timestamp": ms // 1_000,
                    }
                    for names, values in ((CHANNELS[:2], row[:2]), (CHANNELS[2:], row[2:]))
                ]
            }
        ],
    ),
    "opc ua": Form(
        {
            "machine": "Messages[*].DataSetWriterName",
            "time": "Messages[*].Payload.*.SourceTimestamp | Messages[*].Timestamp",
        },
        {"value": "Messages[*].Payload.*.Value", "tag": "*", "quality": "Messages[*].Payload.*.StatusCode"},
        lambda ms, row: [
            {
                "MessageId": "32",
                "MessageType": "ua-data",
                "Messages": [
                    {
                        "DataSetWriterName": "pump-1",
                        "Timestamp": iso(ms),
                        "Payload": {
                            "a": {
                                "Value": row[0],
                                "SourceTimestamp": iso(ms),
                                "StatusCode": {"Code": 0, "Symbol": "Good"},
                            },
                            "b": {"Value": row[1], "SourceTimestamp": iso(ms), "StatusCode": 0},
                            "c": {"Value": row[2]},
                        },
                    }
                ],
            }
        ],
    ),
    "sparkplug": Form(
        {"machine": "key", "time": "metrics[*].timestamp", "time_unit": "ms"},
        {
            "value": "metrics[*].value",
            "tag": ["key", "metrics[*].name"],
            "quality": "metrics[*].properties.Quality.value",
            "patterns": ["spBv1.0/*/DDATA/*/{machine}.{channel}"],
        },
        lambda ms, row: [
            {
                "timestamp": ms,
                "seq": 3,
                "metrics": [
                    {
                        "name": name,
                        "timestamp": ms,
                        "dataType": "Float",
                        "value": value,
                        "properties": {"Quality": {"type": "Int32", "value": 192}},
                    }
                    for name, value in zip(CHANNELS, row, strict=True)
                ],
            }
        ],
        b"spBv1.0/plant/DDATA/edge-4/pump-1",
    ),
    "rows in a list": Form(
        {"machine": "[*].machine", "time": "[*].ts", "time_unit": "ms"},
        {"value": "[*].*", "tag": "*"},
        lambda ms, row: [[{"ts": ms, "machine": "pump-1", **dict(zip(CHANNELS, row, strict=True))}]],
    ),
    "nested groups": Form(
        {"machine": "meta.asset", "time": "meta.at", "time_unit": "ms"},
        {"value": "groups.*.*.v", "tag": "*", "patterns": ["*.{channel}"]},
        lambda ms, row: [
            {
                "meta": {"asset": "pump-1", "at": ms},
                "groups": {
                    "hydraulic": {"a": {"v": row[0]}, "b": {"v": row[1]}},
                    "drive": {"c": {"v": row[2], "unit": "A"}},
                },
            }
        ],
    ),
}


def as_json(value: Any) -> bytes:
    """A message; integers beyond 64 bits are beyond orjson."""
    return json.dumps(value).encode()


def chosen(form: Form, **sections: Any) -> Settings:
    return Settings(
        input=InputSettings(**form.input), assembly=AssemblySettings(**form.assembly), threshold=FIXED, **sections
    )


def sent(form: Form, block: SensorBlock) -> list[Message]:
    """A block of rows as the form's messages."""
    return [
        Message(orjson.dumps(message), form.key, timestamp_ms=time // 1_000)
        for time, row in zip(block.ts.tolist(), block.values.tolist(), strict=True)
        for message in form.messages(time // 1_000, row)
    ]


def ordinary(rows: int, seed: int = 3) -> SensorBlock:
    """Rows of 'pump-1', three times some that are far outside."""
    rng = np.random.default_rng(seed)
    values = rng.normal(0.5, 0.1, (rows, 3)).astype(np.float32)
    for start in (5, 17, 28):
        values[start : start + 3] += np.float32(2)
    return block_of("pump-1", values, times=GRID + MINUTE * np.arange(rows))


def to_the_end(pipeline: Pipeline, messages: list[Message], **how: Any) -> list[Output]:
    return [*feed(pipeline, messages, **how), *pipeline.finish()]


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


def read_one(
    open_routes: OpenRoutes, message: Any, key: bytes | None = None, **assembly: Any
) -> tuple[Pipeline, list[Output]]:
    """One message, through a pipeline whose windows are one row."""
    settings_ = Settings(
        input=InputSettings(machine="device", time="t", time_unit="ms"),
        assembly=AssemblySettings(**({"value": "v"} | assembly)),
    )
    value = message if isinstance(message, bytes | None) else orjson.dumps(message)
    pipeline = Pipeline(open_routes(Recipe(window=1), pattern="pump-*"), settings_)
    return pipeline, to_the_end(pipeline, [Message(value, key)])


GOOD = {"device": "pump-1", "tag": "a", "v": 1.5, "t": GRID // 1_000}


@pytest.mark.parametrize(
    ("change", "reason", "detail"),
    [
        ({"tag": "z"}, "unknown-channel", "channel 'z' of tag 'z' is none of the bundle for machine 'pump-1'"),
        ({"tag": ""}, "unknown-channel", "a reading's tag is '', expected a text (assembly.tag)"),
        ({"tag": [1]}, "unknown-channel", "a reading's tag is [1], expected a text (assembly.tag)"),
        ({"device": "fan-1"}, "no-route", "no bundle serves machine 'fan-1' of tag 'a'"),
        ({"device": None}, "no-machine", "machine of tag 'a' is None"),
        ({"device": "\0x"}, "no-machine", "machine of tag 'a'"),
        ({"device": "p" * 2_000}, "too-large", "machine has 2000 characters"),
        ({"v": "open"}, "not-a-number", "tag 'a': found 'open'"),
        ({"v": [1]}, "not-a-number", "tag 'a': found [1]"),
        ({"v": 1e39}, "not-finite", "expected a finite 32-bit number"),
        ({"t": None}, "bad-time", "time is None"),
        ({"t": True}, "bad-time", "time is True"),
    ],
)
def test_a_reading_that_cannot_be_read_is_a_dead_letter(
    open_routes: OpenRoutes, change: dict[str, Any], reason: str, detail: str
) -> None:
    # given a message whose reading has something wrong, when it is read
    pipeline, outputs = read_one(open_routes, GOOD | change)
    # then it is a dead letter that says what, and nothing else comes of it
    (letter,) = letters_of(outputs)
    assert letter.reason == reason
    assert detail in letter.detail
    assert scores_of(outputs) == {}
    assert pipeline.counters.dead_letters == {reason: 1}


@pytest.mark.parametrize("left_out", ["device", "tag", "v", "t"])
def test_a_field_that_is_not_there_is_named_with_its_setting(open_routes: OpenRoutes, left_out: str) -> None:
    # given a message without a field, when it is read
    _, outputs = read_one(open_routes, {name: value for name, value in GOOD.items() if name != left_out})
    # then the dead letter names the setting that says where it should be
    setting = {"device": "input.machine", "tag": "assembly.tag", "v": "assembly.value", "t": "input.time"}[left_out]
    assert setting in letters_of(outputs)[0].detail


@pytest.mark.parametrize("value", [None, b"", b"{", b"\xff", b"17", b"Obj\x01abc", b"\x00\x00\x00\x00\x01{"])
def test_any_bytes_are_a_dead_letter(open_routes: OpenRoutes, value: bytes | None) -> None:
    _, outputs = read_one(open_routes, value)
    assert [letter.reason for letter in letters_of(outputs)] == ["not-decodable"]


def test_of_a_message_the_readings_that_can_be_read_are_taken(open_routes: OpenRoutes) -> None:
    # given a list of readings of which two cannot be read
    readings = [{"device": "pump-1", "tag": name, "v": 0.5, "t": GRID // 1_000} for name in "abczz"]
    settings_ = Settings(
        input=InputSettings(machine="[*].device", time="[*].t", time_unit="ms"),
        assembly=AssemblySettings(value="[*].v", tag="[*].tag"),
    )
    pipeline = Pipeline(open_routes(Recipe(window=1)), settings_)
    outputs = feed(pipeline, [Message(orjson.dumps(readings))])
    # when it is read, then the others make a row, and one dead letter says how many could not be read
    assert list(scores_of(outputs)) == [("pump-1", "distance", GRID)]
    (letter,) = letters_of(outputs)
    assert "(2 of 5 readings cannot be read, the others were taken)" in letter.detail


def test_unknown_tags_can_be_ignored_and_are_counted(
    open_routes: OpenRoutes, log_lines: list[MutableMapping[str, Any]]
) -> None:
    # given a gateway that sends more than the bundle knows, of more machines
    for change in ({"tag": "z"}, {"device": "fan-1"}):
        # when they are to be ignored
        pipeline, outputs = read_one(open_routes, GOOD | change, unknown_tags="ignore")
        # then nothing is a dead letter, they are counted, and the log tells of the tag
        assert outputs == []
        assert log_lines[-1]["event"] == "readings of a tag are left out"
        assert pipeline.counters.readings == {"unknown-tag": 1}


@pytest.mark.parametrize("empty", [{"values": []}, {"values": [], "seq": 3}])
def test_a_message_without_readings_is_none_to_complain_of(open_routes: OpenRoutes, empty: dict[str, Any]) -> None:
    pipeline, outputs = read_one(open_routes, empty, value="values[*].v")
    assert outputs == []
    assert pipeline.counters.messages == 1


QUALITIES = [
    *[(quality, "auto", True) for quality in (True, None, 192, 216, 255, "Good", "good", "192", "GoodLocalOverride")],
    *[
        (quality, "auto", False)
        for quality in (False, 0, 24, 64, "Bad", "BadCommFailure", "Uncertain", "", "x", [], 12.5)
    ],
    *[(quality, "opc-ua", True) for quality in (0, 0x00960000, {"Code": 0}, {"Symbol": "Good"}, {}, "Good")],
    *[
        (quality, "opc-ua", False)
        for quality in (0x80000000, 0x40000000, {"Code": 0x808C0000}, {"Symbol": "Bad"}, False)
    ],
]


@pytest.mark.parametrize(("quality", "codes", "good"), QUALITIES)
def test_bad_quality_is_missing(open_routes: OpenRoutes, quality: Any, codes: str, good: bool) -> None:
    # given a reading of a quality, when it is read
    pipeline, outputs = read_one(open_routes, GOOD | {"q": quality}, quality="q", quality_codes=codes)
    # then its value counts where the quality is good, and is missing where it is not
    assert letters_of(outputs) == []
    assert pipeline.counters.readings == ({} if good else {"bad-quality": 1})
    assert pipeline.counters.imputed_values == (2 if good else 3)
    assert pipeline.counters.rows == 1


def test_uncertain_can_count_as_good_and_a_status_code_is_told_by_its_name(open_routes: OpenRoutes) -> None:
    pipeline, _ = read_one(open_routes, GOOD | {"q": 64}, quality="q", uncertain="good")
    assert pipeline.counters.readings == {}
    pipeline, _ = read_one(open_routes, GOOD | {"StatusCode": 0}, quality="StatusCode")
    assert pipeline.counters.readings == {}


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


def test_settings_that_do_not_fit_the_bundle_are_refused(open_routes: OpenRoutes) -> None:
    # given an age limit of more intervals than a worker would fill in
    settings_ = Settings(assembly=AssemblySettings(value="value", hold_s=1e8))
    # when a pipeline is opened, then it says so
    with pytest.raises(InputError, match=r"assembly.hold_s: 1e\+08 s are more than 100,000 intervals of 60 s"):
        Pipeline(open_routes(), settings_)


@pytest.mark.parametrize(
    ("input_", "assembly", "named"),
    [
        (
            {"machine": "other[*].id"},
            {"value": "values[*].v"},
            "input.machine: path 'other\\[\\*\\].id' has a wildcard",
        ),
        ({"time": "a..b"}, {"value": "v"}, "input.time: path 'a..b' cannot be read from '.b'"),
        ({}, {"value": "values[*].v", "tag": "*"}, "assembly.tag: '\\*' is the name of the field"),
    ],
)
def test_paths_that_do_not_fit_each_other_are_refused(
    open_routes: OpenRoutes, input_: dict[str, Any], assembly: dict[str, Any], named: str
) -> None:
    settings_ = Settings(input=InputSettings(**input_), assembly=AssemblySettings(**assembly))
    with pytest.raises(InputError, match=named):
        Pipeline(open_routes(), settings_)


def test_a_tag_of_the_map_for_a_channel_that_there_is_not_is_refused(open_routes: OpenRoutes) -> None:
    tags: dict[str, Any] = {"TT-1": {"machine": "pump-1", "channel": "bb"}}
    settings_ = Settings(assembly=AssemblySettings(value="value", tags=tags))
    with pytest.raises(InputError, match=r"tag 'TT-1' is channel 'bb' of machine 'pump-1'.*did you mean 'b'"):
        Pipeline(open_routes(), settings_)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4) | st.just("pump-1"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["device", "tag", "v", "t", "q", "values", "a"]), inner, max_size=5)
    ),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("input_", "assembly"),
    [
        ({"machine": "device", "time": "t"}, {"value": "v", "quality": "q"}),
        ({"machine": "values[*].device", "time": "values[*].t | t"}, {"value": "values[*].v", "tag": "values[*].tag"}),
        (
            {"machine": "key", "time": "record"},
            {"value": "*.*", "tag": "*", "unknown_tags": "ignore", "quality": "*.q"},
        ),
        ({"machine": "[0].device", "time": "[-1].t"}, {"value": "[*].v", "tag": ["key", "[*].tag"]}),
    ],
)
@settings(REPEATABLE, max_examples=150)
@given(messages=st.lists(json_values.map(as_json) | st.binary(max_size=12), min_size=1, max_size=4))
def test_whatever_comes_is_handled_or_a_dead_letter(
    open_routes: OpenRoutes, input_: dict[str, Any], assembly: dict[str, Any], messages: list[bytes]
) -> None:
    # given any JSON, and any bytes
    settings_ = Settings(input=InputSettings(**input_), assembly=AssemblySettings(**assembly))
    pipeline = Pipeline(open_routes(Recipe(window=1)), settings_)
    # when it comes, then it is counted once, as handled or as a dead letter, and the worker goes on
    outputs = to_the_end(pipeline, [Message(value, b"pump-1") for value in messages])
    letters = letters_of(outputs)
    assert len({letter.offset for letter in letters}) == len(letters)
    assert pipeline.counters.messages + len(letters) == len(messages)


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
