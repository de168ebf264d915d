"""Readings of gateways that cannot be read are dead letters that say why; whatever comes, nothing stops."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.unit.stream.bundles import Recipe
from tests.unit.stream.conftest import OpenRoutes
from tests.unit.stream.feeds import (
    REPEATABLE,
    Message,
    feed,
    letters_of,
    scores_of,
)
from tests.unit.stream.gateway_forms import (
    GOOD,
    GRID,
    as_json,
    read_one,
    to_the_end,
)
from wheeltapper.schemas.errors import InputError
from wheeltapper.stream.pipeline import Pipeline
from wheeltapper.stream.settings import (
    AssemblySettings,
    InputSettings,
    Settings,
)


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
@example(messages=[b'[{"tag": null, "v": null}]'])
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
