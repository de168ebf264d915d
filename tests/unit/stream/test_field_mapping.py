"""A plant's own topic as the input: where machine, time and values are found is a setting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pytest

from tests.unit.stream.bundles import Recipe
from tests.unit.stream.conftest import OpenRoutes
from tests.unit.stream.feeds import (
    ENCODINGS,
    MINUTE,
    START,
    Message,
    block_of,
    feed,
    letters_of,
    message_of,
    row_message,
    scores_of,
)
from wheeltapper.schemas.codec import CONTENT_TYPES
from wheeltapper.schemas.codec.encoding import BYTE_ORDER_MARK
from wheeltapper.stream.pipeline import Pipeline
from wheeltapper.stream.settings import InputSettings, Settings

# One row a window, so that every row's time and values show in its score.
ONE_ROW = Recipe(window=1, weighting="mean")
VALUES = {"a": 1.5, "b": 0.5, "c": 0.5}
PLANT: dict[str, Any] = {"machine": "asset", "time": "when", "values": "tags"}


def read(open_routes: OpenRoutes, message: Message, **settings: Any) -> tuple[dict[tuple[str, int], float], list[str]]:
    """(machine, time) -> raw score, and the reasons of dead letters."""
    chosen = Settings(input=InputSettings(**settings))
    outputs = feed(Pipeline(open_routes(ONE_ROW), chosen), [message])
    scores = {(machine, time): found[0].raw for (machine, _, time), found in scores_of(outputs).items()}
    return scores, [letter.reason for letter in letters_of(outputs)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (PLANT, row_message(asset="press-1", when=START, tags=VALUES)),
        (PLANT, row_message(asset="press-1", when="2023-11-14T22:13:20Z", tags=VALUES)),
        (PLANT, row_message(asset="press-1", when=START, tags=VALUES, site="hall 4", seq=[1, 2])),
        (
            {"machine": "meta.asset.id", "time": "meta.at", "values": "payload.tags"},
            row_message(meta={"asset": {"id": "press-1"}, "at": START}, payload={"tags": VALUES}),
        ),
        ({**PLANT, "machine": "key"}, row_message(when=START, tags=VALUES)._replace(key=b"press-1")),
        (
            {**PLANT, "time": "record"},
            row_message(asset="press-1", tags=VALUES)._replace(timestamp_ms=START // 1_000),
        ),
        ({"values": ""}, row_message(machine="press-1", ts=START, **VALUES)),
        (
            {"values": "", "machine": "meta.id", "time": "meta.at"},
            row_message(meta={"id": "press-1", "at": START}, **VALUES),
        ),
        ({"values": "", "machine": "key"}, row_message(ts=START, **VALUES)._replace(key=b"press-1")),
        (
            {"values": "", "time": "record"},
            row_message(machine="press-1", **VALUES)._replace(timestamp_ms=START // 1_000),
        ),
    ],
)
def test_machine_time_and_values_are_found(open_routes: OpenRoutes, settings: dict[str, Any], message: Message) -> None:
    # given a layout and a message of it, when it is read
    scores, reasons = read(open_routes, message, **settings)
    # then it gave one row of the right machine, time and values
    assert reasons == []
    assert scores == {("press-1", START): 1.0}


@pytest.mark.parametrize(
    ("unit", "time"),
    [
        ("auto", START),
        ("auto", START // 10**6),
        ("auto", START // 10**3),
        ("auto", START * 10**3),
        ("auto", START / 10**6),
        ("auto", float(START)),
        ("auto", str(START // 10**3)),
        ("auto", "2023-11-14T22:13:20Z"),
        ("auto", "2023-11-14T22:13:20.0000000Z"),
        ("auto", "2023-11-14 22:13:20 UTC"),
        ("auto", "14.11.2023 22:13:20"),
        ("auto", "2023-11-14T23:13:20+01:00"),
        ("auto", "2023-11-14T22:13:20"),
        ("iso", "2023-11-14T22:13:20.000000+00:00"),
        ("s", START // 10**6),
        ("s", START / 10**6),
        ("ms", START // 10**3),
        ("ms", START / 10**3),
        ("us", START),
        ("ns", START * 10**3),
        ("ns", START * 10**3 + 999),
    ],
)
@pytest.mark.parametrize("names", [PLANT, {"machine": "meta.asset", "time": "meta.when", "values": "tags"}])
def test_times_come_in_a_unit(open_routes: OpenRoutes, names: dict[str, Any], unit: str, time: Any) -> None:
    # given a time in that unit, in a message that is read the fast way and in one that is not
    meta = {"asset": "press-1", "when": time}
    message = row_message(**({**meta, "tags": VALUES} if names is PLANT else {"meta": meta, "tags": VALUES}))
    # when it is read: then the row has that time
    assert read(open_routes, message, **names, time_unit=unit) == ({("press-1", START): 1.0}, [])


def test_fractions_of_a_second_keep_their_microseconds(open_routes: OpenRoutes) -> None:
    # given float seconds and milliseconds, when they are read: then they round to the nearest microsecond
    for unit, time, micros in (
        ("s", 1_700_000_000.123456, START + 123_456),
        ("s", 1_700_000_000.999999, START + 999_999),
        ("ms", 1_700_000_000_000.25, START + 250),
        ("s", -0.5, -500_000),
        ("s", 8.2, 8_200_000),  # times a million it is 8,199,999.999999999
    ):
        scores, _ = read(open_routes, row_message(asset="p", when=time, tags=VALUES), **PLANT, time_unit=unit)
        assert list(scores) == [("p", micros)]


@pytest.mark.parametrize(
    ("unit", "time"),
    [
        ("s", START),  # microseconds taken for seconds: the year 53,873,776
        ("ms", START * 1_000),
        ("us", START * 1_000),
        ("s", 1e300),
        ("s", "17 o'clock"),
        ("iso", START),
        ("iso", str(START)),
        ("ns", 1.7e300),
        ("auto", 1.7e5),
        ("auto", 86_400),
        ("auto", -START),
        ("auto", START * 200),
        ("auto", float("nan")),
        ("auto", "17:00"),
        ("auto", None),
        ("s", True),
        ("s", [1]),
    ],
)
def test_what_is_no_time_of_its_unit_is_refused(open_routes: OpenRoutes, unit: str, time: Any) -> None:
    # given a time that does not fit the unit, when it is read: then the message is a dead letter
    message = row_message(asset="press-1", when=time, tags=VALUES)
    assert read(open_routes, message, **PLANT, time_unit=unit) == ({}, ["bad-time"])


@pytest.mark.parametrize("timestamp_ms", [-1, 400_000_000_000_000])
def test_a_record_without_a_usable_timestamp_is_refused(open_routes: OpenRoutes, timestamp_ms: int) -> None:
    # given a record whose time is absent (-1) or impossible, when its timestamp is to be the event time
    message = row_message(asset="press-1", tags=VALUES)._replace(timestamp_ms=timestamp_ms)
    # then it is a dead letter
    assert read(open_routes, message, **{**PLANT, "time": "record"}) == ({}, ["bad-time"])


def test_whole_numbers_name_machines(open_routes: OpenRoutes) -> None:
    # given machines with numbers for names, when they are read: then the number is the name
    scores, _ = read(open_routes, row_message(asset=17, when=START, tags=VALUES), **PLANT)
    assert list(scores) == [("17", START)]
    for odd in (1.5, True, None, "", [17]):
        assert read(open_routes, row_message(asset=odd, when=START, tags=VALUES), **PLANT) == ({}, ["no-machine"])


@pytest.mark.parametrize("key", [None, b"", b"\xff\xfe"])
def test_a_key_that_names_nobody_is_refused(open_routes: OpenRoutes, key: bytes | None) -> None:
    # given a message without a readable key, when the key is to name the machine: then it is a dead letter
    message = row_message(when=START, tags=VALUES)._replace(key=key)
    assert read(open_routes, message, **{**PLANT, "machine": "key"}) == ({}, ["no-machine"])


@pytest.mark.parametrize(
    ("message", "reason", "setting"),
    [
        (row_message(when=START, tags=VALUES), "no-machine", "input.machine"),
        (row_message(asset="p", tags=VALUES), "bad-time", "input.time"),
        (row_message(asset="p", when=START), "not-decodable", "input.values"),
        (row_message(asset="p", when=START, tags=[1, 2, 3]), "not-decodable", "input.values"),
        (row_message(asset="p", when=START, tags={**VALUES, "d": 1}), "unknown-channel", "input.unknown_channels"),
        (row_message(asset="p", when=START, tags={**VALUES, "d": "on"}), "unknown-channel", "input.unknown_channels"),
        (row_message(asset="p", when=START, tags={"a": 1, "b": 2}), "missing-channel", "input.missing_channels"),
        (row_message(asset="p", when=START, tags={**VALUES, "c": "1.5"}), "not-a-number", "'c'"),
        (Message(b'{"asset":"p","when":1,"tags":{"a":1,"b":2,"c":1e999}}'), "not-finite", "infinity"),
        (Message(b'{"asset":"p","when":1700000000,"tags":{"a":1,"b":2,"c":1e39}}'), "not-finite", "'c'"),
        (Message(b"[1]"), "not-decodable", "expected an object"),
        (Message(b"{1}"), "not-decodable", "not JSON"),
    ],
)
@pytest.mark.parametrize("nested", [False, True])
def test_what_is_not_found_is_refused_with_the_setting(
    open_routes: OpenRoutes, message: Message, reason: str, setting: str, nested: bool
) -> None:
    # given a message without what the settings name; nested: behind a path, which is read another way
    chosen = dict(PLANT)
    if nested:
        chosen = {name: f"outer.{path}" for name, path in PLANT.items()}
        text = message.value or b""
        message = message._replace(value=b'{"outer":%s}' % text if text.startswith(b'{"') else text)
    settings = Settings(input=InputSettings(**chosen))
    # when it is read
    (letter,) = letters_of(feed(Pipeline(open_routes(ONE_ROW), settings), [message]))
    # then the dead letter names the setting to look at
    assert letter.reason == reason
    assert setting in letter.detail


RENAME = {"T1": "a", "T2": "b"}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("rows", [1, 3])
def test_fields_are_renamed_in_every_encoding(open_routes: OpenRoutes, encoding: Any, rows: int) -> None:
    # given blocks whose channels have the plant's names, in another order
    block = block_of("press-1", [[0.5, 1.5, 2.5]] * rows, channels=("c", "T1", "T2"))
    # when they are read
    scores, reasons = read(open_routes, message_of(block, encoding), rename=RENAME)
    # then each value is its channel's: (1.5 - 0.5)^2 + (2.5 - 0.5)^2
    assert reasons == []
    assert scores == {("press-1", START + MINUTE * row): 5.0 for row in range(rows)}


def test_rename_names_the_blamed_channel(open_routes: OpenRoutes) -> None:
    # given a renamed field far outside, and the own name of a channel that nobody renamed
    message = row_message(asset="press-1", when=START, tags={"T1": 9.5, "T2": 0.5, "c": 0.5})
    chosen = Settings(input=InputSettings(**PLANT, rename=RENAME))
    # when it raises an alert
    outputs = feed(Pipeline(open_routes(ONE_ROW), chosen), [message])
    # then the channel of the bundle is blamed
    alert = next(orjson.loads(output.value or b"") for output in outputs if output.topic == "alerts")
    assert (alert["channels"][0]["channel"], alert["channels"][0]["actual"]) == ("a", 9.5)


@pytest.mark.parametrize("order", [("a", "T1", "b", "c"), ("T1", "b", "a", "c")])
@pytest.mark.parametrize("encoding", ["row", *ENCODINGS])
def test_two_fields_for_one_channel(open_routes: OpenRoutes, encoding: Any, order: tuple[str, ...]) -> None:
    # given a message with the channel's own name and a field that is renamed to it
    values = {"a": 3.5, "T1": 1.5, "b": 0.5, "c": 0.5}
    block = block_of("press-1", [values[name] for name in order], channels=order)
    message = message_of(block, "json" if encoding == "row" else encoding)
    if encoding == "json":  # as a block
        fields = orjson.loads(message.value or b"")
        columns = {"channels": list(fields["values"]), "values": [list(fields["values"].values())]}
        message = row_message(machine="press-1", ts=[START], **columns)
    # when every field must be a channel: then it is refused, as it says two things
    assert read(open_routes, message, rename={"T1": "a"}) == ({}, ["wrong-width"])
    # and when others are ignored, the renamed one counts, however it was sent
    scores, reasons = read(open_routes, message, rename={"T1": "a"}, unknown_channels="ignore")
    assert (scores, reasons) == ({("press-1", START): 1.0}, [])


def test_unknown_fields_are_ignored_where_that_is_set(open_routes: OpenRoutes) -> None:
    # given fields that no channel has, of any type, when they are to be ignored
    extra = {"site": "hall 4", "seq": 9, "flags": [1], "more": {"x": None}}
    for layout, message in (
        ({}, row_message(machine="press-1", ts=START, values={**VALUES, **extra})),
        (PLANT, row_message(asset="press-1", when=START, tags={**extra, **VALUES})),
        ({"values": ""}, row_message(machine="press-1", ts=START, **VALUES, **extra)),
        ({"values": "", "machine": "m.id"}, row_message(m={"id": "press-1"}, ts=START, **VALUES, **extra)),
    ):
        # then the row is as without them
        assert read(open_routes, message, **layout, unknown_channels="ignore") == ({("press-1", START): 1.0}, [])


def test_unknown_fields_are_ignored_beside_missing_values_too(open_routes: OpenRoutes) -> None:
    # given rows with a null or without a channel, and a field of text that no channel has
    chosen = {"unknown_channels": "ignore", "missing_channels": "impute"}
    for values in ({**VALUES, "c": None}, {"a": 1.5, "b": 0.5}):
        for layout, message in (
            ({}, row_message(machine="press-1", ts=START, values={**values, "site": "hall 4"})),
            ({}, row_message(ts=START, values={"site": "hall 4", **values})._replace(key=b"press-1")),
            (PLANT, row_message(asset="press-1", when=START, tags={**values, "site": "hall 4"})),
            ({"values": ""}, row_message(machine="press-1", ts=START, site="hall 4", **values)),
        ):
            # when one is read: then the rest of it counts; c is 0.3, the bundle's usual
            scores, reasons = read(open_routes, message, **layout, **chosen)
            assert reasons == []
            assert scores == {("press-1", START): pytest.approx(1.04)}
    # and blocks are read as ever
    scores, reasons = read(open_routes, message_of(block_of("press-1", [[1.5, 0.5, 0.5]] * 2)), **chosen)
    assert (len(scores), reasons) == (2, [])


@pytest.mark.parametrize("missing", ["dead-letter", "impute"])
@pytest.mark.parametrize("layout", [{"values": ""}, {"values": "", "machine": "m.id"}])
def test_a_text_in_a_channel_is_never_taken_for_a_missing_value(
    open_routes: OpenRoutes, layout: dict[str, Any], missing: str
) -> None:
    # given a channel that holds text, in messages with fields that are ignored
    machine = {"m": {"id": "press-1"}} if "machine" in layout else {"machine": "press-1"}
    message = row_message(**machine, ts=START, **{**VALUES, "c": "1.5"}, site="hall 4")
    # when it is read: then it is refused, not imputed
    found = read(open_routes, message, **layout, unknown_channels="ignore", missing_channels=missing)
    assert found == ({}, ["not-a-number"])


def native(ts: int, values: dict[str, Any]) -> Message:
    return row_message(machine="press-1", ts=ts, values=values)


def flat(ts: int, values: dict[str, Any]) -> Message:
    return row_message(machine="press-1", ts=ts, **values)


def flat_with_key(ts: int, values: dict[str, Any]) -> Message:
    return row_message(ts=ts, **values)._replace(key=b"press-1")


@pytest.mark.parametrize(
    ("layout", "write"),
    [({}, native), ({"values": ""}, flat), ({"values": "", "machine": "key"}, flat_with_key)],
)
def test_missing_channels_are_imputed_where_that_is_set(
    open_routes: OpenRoutes, layout: dict[str, Any], write: Callable[[int, dict[str, Any]], Message]
) -> None:
    # given rows that lack a channel, the first before it ever came
    pipeline = Pipeline(open_routes(ONE_ROW), Settings(input=InputSettings(**layout, missing_channels="impute")))
    rows = [{"b": 0.5, "c": 0.5}, {"a": 1.5, "b": 0.5, "c": 0.5}, {"b": 0.5, "c": 0.5}]
    # when they are read
    outputs = feed(pipeline, [write(START + step * MINUTE, values) for step, values in enumerate(rows)])
    # then its value is the bundle's usual (0.1), then the last one; quality says what was measured
    found = [scores[0] for _, scores in sorted(scores_of(outputs).items())]
    assert [score.raw for score in found] == pytest.approx([0.16, 1.0, 1.0])
    assert [score.quality for score in found] == pytest.approx([2 / 3, 1, 2 / 3])
    assert letters_of(outputs) == []
    # and a row with no channel at all is refused
    (letter,) = letters_of(feed(pipeline, [write(START + 5 * MINUTE, {})]))
    assert letter.reason in ("missing-channel", "wrong-width")


def test_a_channel_may_be_named_like_a_setting(open_routes: OpenRoutes) -> None:
    # given flat messages whose channels are called key and record, with machine and time taken from the record
    recipe = Recipe(channels=("key", "record"), window=1, weighting="mean")
    chosen = Settings(input=InputSettings(values="", machine="key", time="record"))
    message = row_message(key=1.5, record=1.5)._replace(key=b"press-1", timestamp_ms=START // 1_000)
    # when one is read: then both are channels
    outputs = feed(Pipeline(open_routes(recipe), chosen), [message])
    assert scores_of(outputs)[("press-1", "distance", START)][0].raw == 2.0


def test_a_bundle_of_one_channel_reads_flat_rows(open_routes: OpenRoutes) -> None:
    # given a bundle with one channel
    recipe = Recipe(channels=("flow",), window=1, weighting="mean")
    for layout, message in (
        ({}, row_message(machine="press-1", ts=START, values={"flow": 2.5})),
        ({"values": ""}, row_message(machine="press-1", ts=START, flow=2.5)),
        ({"rename": {"F01": "flow"}}, row_message(machine="press-1", ts=START, values={"F01": 2.5})),
    ):
        chosen = Settings(input=InputSettings(**layout))
        # when a row is read: then it is its value
        outputs = feed(Pipeline(open_routes(recipe), chosen), [message])
        assert scores_of(outputs)[("press-1", "distance", START)][0].raw == 4.0


@pytest.mark.parametrize(
    "content_type", [None, "application/json", "application/json; charset=utf-8", "text/json", "application/x+json"]
)
@pytest.mark.parametrize("prefix", [b"", b" " * 40, BYTE_ORDER_MARK, b"\0\0\0\0\x07"])
@pytest.mark.parametrize("path", ["asset", "meta.asset"])
def test_the_layout_holds_for_json_however_it_is_marked(
    open_routes: OpenRoutes, content_type: str | None, prefix: bytes, path: str
) -> None:
    # given JSON with and without a content-type, behind white space, a byte-order mark or a registry's prefix
    machine: dict[str, Any] = {"asset": "press-1"} if path == "asset" else {"meta": {"asset": "press-1"}}
    message = row_message(**machine, when=START, tags=VALUES)
    headers = [("content-type", content_type.encode())] if content_type else None
    message = message._replace(value=prefix + (message.value or b""), headers=headers)
    # when it is read: then the settings are applied
    assert read(open_routes, message, **{**PLANT, "machine": path}) == ({("press-1", START): 1.0}, [])


@pytest.mark.parametrize("encoding", ["avro", "arrow"])
def test_avro_and_arrow_need_no_layout(open_routes: OpenRoutes, encoding: Any) -> None:
    # given blocks among a plant's own JSON: their form says where everything is
    block = block_of("press-1", [[1.5, 0.5, 0.5]])
    message = Message(message_of(block, encoding).value, b"other", [("content-type", CONTENT_TYPES[encoding].encode())])
    # when one is read: then it is as ever
    assert read(open_routes, message, **PLANT) == ({("press-1", START): 1.0}, [])


def test_channels_may_come_in_any_order(open_routes: OpenRoutes) -> None:
    # given the same row with its channels in every order and encoding
    values = np.array([[1.5, 2.5, 0.5]], dtype=np.float32)
    for order in ((0, 1, 2), (2, 1, 0), (1, 2, 0)):
        for encoding in ENCODINGS:
            names = tuple("abc"[column] for column in order)
            block = block_of("press-1", values[:, list(order)], channels=names)
            # when it is read: then each value is its channel's
            scores, reasons = read(open_routes, message_of(block, encoding))
            assert (scores, reasons) == ({("press-1", START): 5.0}, [])
