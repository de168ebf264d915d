"""What cannot be read goes to dead-letters with a reason, and stops nothing."""

from __future__ import annotations

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
    Letter,
    Message,
    assert_same_alerts,
    assert_same_scores,
    batch_of,
    block_of,
    feed,
    letters_of,
    message_of,
    part_of,
    row_by_row,
    row_message,
    scores_of,
)
from wheeltapper.schemas.codec import CONTENT_TYPES, MAX_MESSAGE_BYTES
from wheeltapper.schemas.codec.checks import MAX_NAME_LENGTH
from wheeltapper.schemas.errors import DecodeError
from wheeltapper.schemas.events import DeadLetterReason
from wheeltapper.stream.dead_letters import MAX_DETAIL, cut_to, dead_letter
from wheeltapper.stream.message_fit import record_bytes
from wheeltapper.stream.pipeline import Pipeline
from wheeltapper.stream.records import Output
from wheeltapper.stream.settings import InputSettings, Settings, TopicSettings

GOOD = block_of("press-1", np.random.default_rng(3).normal(0.5, 1.0, (12, 3)))
AVRO = message_of(GOOD, "avro").value or b""
ARROW = message_of(GOOD, "arrow").value or b""


def row(machine: Any = "press-1", ts: Any = START, **values: Any) -> Message:
    return row_message(machine=machine, ts=ts, values={"a": 1.0, "b": 2, "c": 3.5} | values)


def text_row(text: str) -> Message:
    """A row whose channel c is written as `text`."""
    return Message(b'{"machine":"press-1","ts":%d,"values":{"a":1,"b":2,"c":%s}}' % (START, text.encode()))


def block(**fields: Any) -> Message:
    whole = {"machine": "press-1", "ts": [START, START + MINUTE], "channels": ["a", "b", "c"]}
    return row_message(**(whole | {"values": [[1, 2, 3], [4, 5, 6]]} | fields))


def typed(value: bytes, encoding: str) -> Message:
    return Message(value, b"press-1", [("content-type", CONTENT_TYPES[encoding].encode())])  # type: ignore[index]


BAD: list[tuple[str, Message]] = [
    ("not-decodable", Message(None)),
    ("not-decodable", Message(b"")),
    ("not-decodable", Message(b"{")),
    ("not-decodable", Message(b"[1, 2]")),
    ("not-decodable", Message(b"null")),
    ("not-decodable", Message(b"1")),
    ("not-decodable", Message(b"\xfe\xffnot any of ours")),
    ("not-decodable", Message(b"ARROW1\0\0" + ARROW)),
    ("not-decodable", Message(b"[" * 100_000)),
    ("not-decodable", row_message(machine="press-1", ts=START, values=[1, 2, 3])),
    ("not-decodable", row_message(machine="press-1", ts=START, values="abc")),
    ("not-decodable", row_message(machine="press-1", ts=START)),
    ("not-decodable", block(ts=[], values=[])),
    ("not-decodable", block(values={"a": [1], "b": [2], "c": [3]})),
    ("not-decodable", block(channels="abc")),
    ("not-decodable", text_row("Infinity")),
    ("not-decodable", typed(AVRO[:2] + b"\xff" * 8 + AVRO[10:], "avro")),
    ("not-decodable", typed(AVRO[:-3], "avro")),
    ("not-decodable", typed(AVRO[:10] + b"\xff" * 40, "avro")),
    ("not-decodable", typed(b"Obj\x01" + b"\xff" * 30, "avro")),
    ("not-decodable", typed(ARROW[: len(ARROW) // 2], "arrow")),
    ("not-decodable", typed(ARROW[:-20], "arrow")),
    ("not-decodable", typed(b"\xff\xff\xff\xff\xff\xff\xff\x7f" + b"\0" * 64, "arrow")),
    ("not-decodable", Message(b"\0" * 1_000_000)),
    ("too-large", Message(b"\0" * 20_000_000)),
    ("too-large", Message(b"0" * 20_000_000)),
    ("too-large", Message(b'{"machine":"press-1","ts":1,"values":{"a":1,"b":2,"c":3},"x":"%s"}' % (b" " * 9_000_000))),
    ("too-large", row(machine="press-" + "m" * MAX_NAME_LENGTH)),
    ("too-large", message_of(block_of("press-" + "m" * MAX_NAME_LENGTH, GOOD.values), "avro")),
    ("no-machine", row(machine="")),
    ("no-machine", row(machine=None)),
    ("no-machine", row(machine=17)),
    ("no-machine", row(machine=["press-1"])),
    ("no-machine", row_message(ts=START, values={"a": 1, "b": 2, "c": 3})._replace(key=b"press-\xff")),
    # In Avro the name stands behind the fingerprint: here it is empty.
    ("no-machine", typed(AVRO[:10] + b"\x00" + AVRO[18:], "avro")._replace(key=b"\xff\xfe")),
    ("no-machine", row(machine="\0progress")),  # would pass for the state's own record
    ("no-machine", row_message(ts=START, values={"a": 1, "b": 2, "c": 3})),
    ("time-ahead", message_of(part_of(GOOD, 0, 1))._replace(timestamp_ms=START // 1_000 - 2 * 86_400_000)),
    ("bad-time", row(ts=None)),
    ("bad-time", row(ts=True)),
    ("bad-time", row(ts=1.7e5)),
    ("bad-time", row(ts=86_400)),  # a day of 1970, or of a clock that has no battery
    ("bad-time", row(ts="yesterday")),
    ("bad-time", row(ts=START * 200)),  # beyond the year 9999 in microseconds, too few for nanoseconds
    ("bad-time", row(ts={"s": 1})),
    ("bad-time", row_message(machine="press-1", values={"a": 1, "b": 2, "c": 3})),
    ("bad-time", block(ts=[START, "soon"])),
    ("bad-time", block(ts=[START, None])),
    ("wrong-width", block(values=[[1, 2, 3], [4, 5]])),
    ("wrong-width", block(values=[[1, 2, 3]])),
    ("wrong-width", block(channels=["a", "b"])),
    ("wrong-width", block(channels=["a", "b", "b"])),
    ("wrong-width", row_message(machine="press-1", ts=START, values={})),
    ("unknown-channel", row(d=1)),
    ("unknown-channel", row_message(machine="press-1", ts=START, values={"a": 1, "b": 2, "C": 3})),
    ("unknown-channel", message_of(block_of("press-1", [1, 2, 3, 4], channels="abcd"), "arrow")),
    ("missing-channel", row_message(machine="press-1", ts=START, values={"a": 1, "b": 2})),
    ("missing-channel", message_of(block_of("press-1", [1, 2], channels="ab"), "avro")),
    ("not-a-number", row(c="1.5")),
    ("not-a-number", row(c="")),
    ("not-a-number", row(c={"value": 1})),
    ("not-a-number", row(c=[1])),
    ("not-a-number", block(values=[[1, 2, 3], [4, 5, "6"]])),
    ("not-finite", text_row("1e999")),
    ("not-finite", text_row("-1e999")),
    ("not-finite", row(c=1e39)),
    ("not-finite", row(c=-3.5e38)),
    ("not-finite", block(values=[[1, 2, 3], [4, 5, 1e39]])),
    ("not-finite", text_row("1" + "0" * 39)),
    ("no-route", row(machine="fan-1")),
    ("no-route", message_of(block_of("fan-1", GOOD.values), "arrow")),
]  # fmt: skip


def named(value: Any) -> str:
    return str(value) if isinstance(value, str) else repr((value.value or b"")[:40])


def test_every_reason_is_among_the_bad_messages() -> None:
    # One is of sound; others are what a Kafka client finds, see test_flaws.py.
    elsewhere = {DeadLetterReason.WRONG_RATE, DeadLetterReason.BAD_HEADER, DeadLetterReason.BAD_FRAME}
    of_rows = set(DeadLetterReason) - elsewhere
    assert {reason for reason, _ in BAD} == {str(reason) for reason in of_rows}


@pytest.mark.parametrize(("reason", "message"), BAD, ids=named)
def test_a_bad_message_becomes_a_dead_letter(open_routes: OpenRoutes, reason: str, message: Message) -> None:
    # given a message that cannot be used, with headers of its own, between good ones
    message = message._replace(headers=[*(message.headers or []), ("trace", b"\x01\xff")])
    chosen = Settings(topics=TopicSettings(sensors="plant.values"))
    pipeline = Pipeline(open_routes(Recipe(), pattern="press-*"), chosen)
    messages = [message_of(part_of(GOOD, 0, 5)), message, *row_by_row(part_of(GOOD, 5, 12))]
    # when they are handled
    outputs = pipeline.handle([batch_of(messages, first=100, partition=7, topic="plant.values")], now=0.0)
    # then it is a dead letter: key, bytes and headers as they were, and headers that say why and whence
    (letter,) = letters_of(outputs)
    assert letter.reason == reason
    assert letter.output.value == message.value
    assert letter.output.key == message.key
    assert letter.output.partition is None
    names = [str(name) for name, _ in letter.output.headers]
    assert names[:5] == [f"wheeltapper-{word}" for word in ("reason", "detail", "topic", "partition", "offset")]
    assert list(letter.output.headers[5:]) == message.headers
    values = [value for _, value in letter.output.headers[2:5]]
    assert values == [b"plant.values", b"7", b"101"]
    assert 0 < len(letter.detail) <= MAX_DETAIL
    assert "\n" not in letter.detail
    # and the rows around it are scored as if it had not been there
    assert_same_scores(outputs, expected_of(open_routes))
    assert_same_alerts(outputs, expected_of(open_routes), same_messages=False)
    assert pipeline.counters.dead_letters == {reason: 1}
    assert pipeline.counters.messages == len(messages) - 1


def expected_of(open_routes: OpenRoutes) -> list[Output]:
    return feed(Pipeline(open_routes(Recipe(), pattern="press-*"), Settings()), [message_of(GOOD, "arrow")])


@settings(REPEATABLE, max_examples=60)
@given(
    bad=st.lists(st.tuples(st.integers(0, 12), st.integers(0, len(BAD) - 1)), max_size=25),
    batches=st.lists(st.integers(1, 9), min_size=1, max_size=4),
)
def test_handled_and_dead_lettered_add_up(
    open_routes: OpenRoutes, bad: list[tuple[int, int]], batches: list[int]
) -> None:
    # given good rows with any bad messages in any places
    messages = row_by_row(GOOD)
    bad = [(place, which) for place, which in bad if len(BAD[which][1].value or b"") < 1_000_000]
    for place, which in sorted(bad, reverse=True):
        messages.insert(place, BAD[which][1])
    pipeline = Pipeline(open_routes(Recipe(), pattern="press-*"), Settings())
    # when they are handled
    outputs = feed(pipeline, messages, batch_sizes=batches)
    # then every message was handled or is a dead letter, once, and the good rows are in order
    letters = letters_of(outputs)
    assert [letter.output.value for letter in letters] == [messages[letter.offset].value for letter in letters]
    assert len(letters) == len({letter.offset for letter in letters}) == len(bad)
    assert pipeline.counters.messages + sum(pipeline.counters.dead_letters.values()) == len(messages)
    assert pipeline.counters.late_rows == 0
    assert_same_scores(outputs, expected_of(open_routes))


@settings(REPEATABLE, max_examples=300)
@given(
    source=st.sampled_from([AVRO, ARROW, message_of(GOOD).value, row_by_row(GOOD)[0].value]),
    places=st.lists(st.tuples(st.integers(0, 4_000), st.integers(0, 255)), max_size=6),
    cut=st.integers(0, 4_000),
    content_type=st.sampled_from([None, *CONTENT_TYPES.values(), "text/plain"]),
)
def test_damaged_bytes_stop_nothing(
    open_routes: OpenRoutes, source: bytes, places: list[tuple[int, int]], cut: int, content_type: str | None
) -> None:
    # given a good message whose bytes were changed or cut off
    value = bytearray(source[:cut] if cut < len(source) else source)
    for place, byte in places:
        if value:
            value[place % len(value)] = byte
    headers = [("content-type", content_type.encode())] if content_type else None
    pipeline = Pipeline(open_routes(Recipe(), pattern="*"), Settings())
    # when it is handled with a good one behind it
    outputs = feed(pipeline, [Message(bytes(value), b"press-1", headers), row(machine="press-2")])
    # then it gave rows or a dead letter, but for rows whose changed times lie ahead, and the good one was taken
    refused = [letter for letter in letters_of(outputs) if letter.reason != DeadLetterReason.TIME_AHEAD]
    assert pipeline.counters.messages + len(refused) == 2
    assert pipeline.partition(TOPIC, 0).position == 2
    assert pipeline.counters.rows >= 1


def test_one_bad_row_costs_no_other(open_routes: OpenRoutes) -> None:
    # given one-row messages of three machines in turn, one of them with a text among its numbers
    machines = ("press-1", "press-2", "press-3")
    messages = [row(name, START + MINUTE * step, a=step) for step in range(8) for name in machines]
    messages[10] = row("press-2", START + MINUTE * 3, a="3")
    pipeline = Pipeline(open_routes(Recipe(window=1), pattern="press-*"), Settings())
    # when they come in one batch
    outputs = feed(pipeline, messages)
    # then only that row is missing
    (letter,) = letters_of(outputs)
    assert (letter.offset, letter.reason) == (10, "not-a-number")
    assert "'3', expected a number or null" in letter.detail
    times = {name: sorted(time for machine, _, time in scores_of(outputs) if machine == name) for name in machines}
    every = [START + MINUTE * step for step in range(8)]
    assert times == {"press-1": every, "press-2": every[:3] + every[4:], "press-3": every}


def test_the_size_limit_is_a_setting(open_routes: OpenRoutes) -> None:
    # given a limit of 2 kB
    chosen = Settings(input=InputSettings(max_message_bytes=2_000))
    pipeline = Pipeline(open_routes(Recipe()), chosen)
    large = message_of(block_of("press-1", np.zeros((200, 3))), "arrow")
    # when a larger message comes: then it is refused unread, with the setting's name
    (letter,) = letters_of(feed(pipeline, [row(), large]))
    assert (letter.reason, letter.offset) == ("too-large", 1)
    assert "input.max_message_bytes" in letter.detail


def test_a_dead_letter_is_cut_to_what_its_topic_takes(open_routes: OpenRoutes) -> None:
    # given a dead letter of 20 MB
    (letter,) = letters_of(feed(Pipeline(open_routes(Recipe()), Settings()), [Message(b"\0" * 20_000_000, b"k")]))
    # when the topic takes a megabyte
    cut = cut_to(letter.output, 1_000_000)
    # then its first part goes there, with its size
    assert 999_000 < len(cut.value or b"") < record_bytes(cut) <= 1_000_000
    assert dict(cut.headers)["wheeltapper-original-size"] == b"20000000"
    assert (cut.topic, cut.key) == ("dead-letters", b"k")
    # and one that fits is left alone
    assert cut_to(letter.output, MAX_MESSAGE_BYTES) is letter.output


@settings(REPEATABLE, max_examples=200)
@given(
    key=st.integers(-1, 30_000),
    value=st.integers(-1, 60_000),
    headers=st.lists(st.tuples(st.text(max_size=40), st.integers(-1, 9_000)), max_size=40),
    detail=st.text(max_size=600),
    largest=st.integers(600, 60_000),
)
def test_a_dead_letter_fits_whatever_is_large_in_it(
    key: int, value: int, headers: list[tuple[str, int]], detail: str, largest: int
) -> None:
    # given a record with a key, headers and a value of any sizes
    def filled(size: int) -> bytes | None:
        return None if size < 0 else b"\xfe" * size

    record = Message(filled(value), filled(key), [(name, filled(size)) for name, size in headers])
    batch = batch_of([record], first=10**12, partition=999)
    letter = dead_letter(batch, 0, DecodeError("not-decodable", detail))
    # when it becomes a dead letter of a topic that takes so much
    cut = cut_to(letter, largest)
    # then it fits, says why and whence, and tells of all that is missing
    assert record_bytes(cut) <= largest
    said = dict(cut.headers)
    assert said["wheeltapper-reason"] == b"not-decodable"
    assert said["wheeltapper-offset"] == b"1000000000000"
    assert (cut.value or b"") == (record.value or b"")[: len(cut.value or b"")]
    assert (said.get("wheeltapper-original-size") == str(value).encode()) == (len(cut.value or b"") < value)
    assert (said.get("wheeltapper-original-key-size") == str(key).encode()) == (len(cut.key or b"") < key)
    theirs = [header for header in cut.headers if not header[0].startswith("wheeltapper-")]
    left_out = int(said.get("wheeltapper-headers-left-out") or 0)
    assert theirs == list(letter.headers[5:])[: len(theirs)]
    assert len(theirs) + left_out == len(headers)


def test_details_name_what_to_change(open_routes: OpenRoutes) -> None:
    # given messages with channels that do not fit, and a machine that nobody serves
    pipeline = Pipeline(open_routes(Recipe(), pattern="press-*"), Settings())
    many = {f"extra-{index}": 1 for index in range(9)}
    # when they are refused
    letters: list[Letter] = letters_of(
        feed(pipeline, [row(**many), row_message(machine="press-1", ts=START, values={"a": 1}), row("fan-1")])
    )
    # then the detail names channels, counts, settings and patterns
    assert letters[0].detail == (
        "machine 'press-1' sent 12 channels where its bundle has 3; unknown: 'extra-0', 'extra-1', 'extra-2', 'extra-3', "
        "'extra-4' and 4 more (input.unknown_channels)"
    )
    assert letters[1].detail == (
        "machine 'press-1' sent 1 channels where its bundle has 3; missing: 'b', 'c' (input.missing_channels)"
    )
    assert letters[2].detail == "no bundle serves machine 'fan-1'; routes are 'press-*'"


def test_details_stay_printable_and_short(open_routes: OpenRoutes) -> None:
    # given names that nobody would print, and a long pattern
    pipeline = Pipeline(open_routes(Recipe(), pattern="press-*" + "?" * MAX_DETAIL), Settings())
    wild = "\n\u202e" * 300
    served = "press-" + "1" * MAX_DETAIL
    messages = [row(machine=wild), row(served, **{wild: 1}), row(served, ts=wild), row(served, c=wild)]
    # when they are refused: then each detail is one line that is not long
    letters = letters_of(feed(pipeline, messages))
    assert [letter.reason for letter in letters] == ["no-route", "unknown-channel", "bad-time", "not-a-number"]
    for letter in letters:
        assert "\n" not in letter.detail
        assert len(letter.detail) <= MAX_DETAIL


def test_machines_of_dead_letters_take_no_memory(open_routes: OpenRoutes) -> None:
    # given rows of machines that nobody serves, and of one that is served but sends text
    pipeline = Pipeline(open_routes(Recipe(), pattern="press-*"), Settings())
    messages = [row(machine=f"fan-{index}") for index in range(50)] + [row(c="x")]
    # when they are refused: then the partition holds no machine, and nothing waits for a snapshot
    feed(pipeline, messages)
    assert pipeline.partition(TOPIC, 0).machines == 0
    assert pipeline.partition(TOPIC, 0).committable == 51


def test_rows_of_one_machine_stay_in_order_whatever_way_they_are_read(open_routes: OpenRoutes) -> None:
    # given rows that are read on the fast way, with nulls, with a text time, as blocks, and one that is refused
    times = [START + MINUTE * step for step in range(7)]
    iso = "2023-11-14T22:15:20Z"
    values = {"a": 1, "b": 2, "c": 3}
    messages = [
        row(ts=times[0]),
        row(ts=times[1], b=None),
        row(ts=iso),
        Message(orjson.dumps({"machine": "press-1", "ts": times[3:5], "channels": list("cab"), "values": [[3, 1, 2]] * 2})),
        row(ts=times[5], c="x"),
        row_message(machine="press-1", ts=times[5], values=dict(reversed(values.items()))),
        row(ts=times[6]),
    ]  # fmt: skip
    pipeline = Pipeline(open_routes(Recipe(window=1)), Settings())
    # when they come in one batch
    outputs = feed(pipeline, messages)
    # then every good row was taken, none late
    assert sorted(time for _, _, time in scores_of(outputs)) == times
    assert pipeline.counters.late_rows == 0
    (letter,) = letters_of(outputs)
    assert letter.offset == 4
