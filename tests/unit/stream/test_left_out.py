"""Nothing is left out in silence: the worker says what it drops, once and then ever more seldom."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import pytest

from tests.unit.stream.bundles import Recipe
from tests.unit.stream.conftest import OpenRoutes
from tests.unit.stream.feeds import MINUTE, START, Message, block_of, feed, letters_of, message_of, row_message
from wheeltapper.stream.core.absence import LOOKED_AT
from wheeltapper.stream.pipeline import Pipeline
from wheeltapper.stream.settings import InputSettings, Settings

ONE_ROW = Recipe(window=1, weighting="mean")
Lines = list[MutableMapping[str, Any]]


def lines_of(log_lines: Lines, words: str) -> Lines:
    return [line for line in log_lines if words in line["event"]]


def row(number: int, **values: Any) -> Message:
    return row_message(machine="press-1", ts=START + MINUTE * number, values={"a": 1.5, "b": 0.5, "c": 0.5} | values)


def test_dead_letters_are_told_at_the_first_the_tenth_and_the_hundredth(
    open_routes: OpenRoutes, log_lines: Lines
) -> None:
    # given a worker
    pipeline = Pipeline(open_routes(ONE_ROW), Settings())
    # when 150 messages come that no bundle serves a channel of, and one without a machine
    outputs = feed(pipeline, [*(row(number, d=1) for number in range(150)), row_message(ts=START, values={"a": 1})])
    # then each is a dead letter, and four lines tell of them: by reason, with the count, the newest one's detail and the setting
    assert len(letters_of(outputs)) == 151
    told = lines_of(log_lines, "go to dead-letters")
    assert [(line["reason"], line["messages"]) for line in told] == [
        ("unknown-channel", 1),
        ("unknown-channel", 10),
        ("unknown-channel", 100),
        ("no-machine", 1),
    ]
    assert "input.unknown_channels" in told[0]["newest"]


def test_machines_without_a_bundle_are_each_told_of_once_up_to_a_bound(
    open_routes: OpenRoutes, log_lines: Lines
) -> None:
    # given a worker for one machine
    pipeline = Pipeline(open_routes(ONE_ROW, pattern="press-1"), Settings())
    # when thirty others send, each three times
    sent = [row_message(machine=f"pump-{number % 30}", ts=START, values={"a": 1}) for number in range(90)]
    feed(pipeline, sent)
    # then twenty have a line, and the tenth and hundredth message, not more
    told = lines_of(log_lines, "go to dead-letters")
    assert {line["newest"].split("'")[1] for line in told[:20]} == {f"pump-{number}" for number in range(20)}
    assert len(told) == 20


@pytest.mark.parametrize("layout", [{}, {"values": ""}, {"machine": "m.id"}])
def test_fields_that_are_ignored_are_told_once(
    open_routes: OpenRoutes, log_lines: Lines, layout: dict[str, Any]
) -> None:
    # given a worker that ignores what it does not know
    chosen = InputSettings(unknown_channels="ignore", **layout)
    pipeline = Pipeline(open_routes(ONE_ROW), Settings(input=chosen))
    values = {"a": 1.5, "b": 0.5, "c": 0.5, "colour": 3, "speed": 4}
    machine: dict[str, Any] = {"m": {"id": "press-1"}} if "machine" in layout else {"machine": "press-1"}
    # when rows come with such fields, and a block
    rows = [
        row_message(
            ts=START + MINUTE * number, **machine, **(values if layout.get("values") == "" else {"values": values})
        )
        for number in range(20)
    ]
    assert letters_of(feed(pipeline, rows)) == []
    # then one line names them
    (line,) = lines_of(log_lines, "fields of messages are ignored")
    assert (line["machine"], line["fields"], line["number"]) == ("press-1", "colour, speed", 2)


def test_fields_of_blocks_are_told_too(open_routes: OpenRoutes, log_lines: Lines) -> None:
    pipeline = Pipeline(open_routes(ONE_ROW), Settings(input=InputSettings(unknown_channels="ignore")))
    block = block_of("press-1", [[1.5, 0.5, 0.5, 9.0]] * 2, channels=("a", "b", "c", "colour"))
    feed(pipeline, [message_of(block, "arrow")] * 3)
    (line,) = lines_of(log_lines, "fields of messages are ignored")
    assert line["fields"] == "colour"


def test_a_channel_that_never_has_a_value_is_told_once(open_routes: OpenRoutes, log_lines: Lines) -> None:
    # given rows of which one channel is always missing, and another at first
    pipeline = Pipeline(open_routes(ONE_ROW), Settings())
    values = [[1.5, float("nan"), 0.5 if number > 5 else float("nan")] for number in range(LOOKED_AT + 50)]
    # when they have been read
    for first in range(0, len(values), 50):
        times = [START + MINUTE * row for row in range(first, first + 50)]
        feed(pipeline, [message_of(block_of("press-1", values[first : first + 50], times=times), "arrow")])
    # then one line names the first
    (line,) = lines_of(log_lines, "channels have had no value")
    assert (line["machine"], line["channels"], line["rows"]) == ("press-1", "b", LOOKED_AT)


def test_machines_whose_channels_all_speak_are_not_told_of(open_routes: OpenRoutes, log_lines: Lines) -> None:
    pipeline = Pipeline(open_routes(ONE_ROW), Settings())
    feed(pipeline, [row(number, b=None if number % 2 else 0.5) for number in range(50)])
    assert [line for line in log_lines if "drift" not in line["event"]] == []
