"""One-row JSON read by its sender's shape, in batches, against the same messages read one by one, by a worker that has learnt nothing."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.stream.bundles import Recipe
from tests.unit.stream.conftest import OpenRoutes
from tests.unit.stream.feeds import REPEATABLE, START, Message, batch_of
from wheeltapper.stream.kinds.contract import Decoded, Routes
from wheeltapper.stream.kinds.sensors.decoding import Decoder
from wheeltapper.stream.kinds.sensors.registry import SchemaRegistry
from wheeltapper.stream.settings import InputSettings, Settings

ONE_ROW = Recipe(window=1, weighting="mean")

NUMBERS = st.one_of(
    st.floats(-1000, 1000).map(lambda value: f"{value:.3f}"),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.integers(-(10**25), 10**25).map(str),
    st.text("0123456789", min_size=1, max_size=40).map(lambda digits: f"7.{digits}e-3"),
    st.sampled_from(
        [
            "null",
            "-0",
            "-0.0",
            "0e0",
            "1e39",
            "-3.5e38",
            "3.4028235677973366e38",
            "9007199254740993",
            "18446744073709551616",
        ]
    ),
)
ODD_NUMBERS = st.sampled_from(
    ["NaN", "1e400", "01", "1.", "1.e5", ".5", "+1", "-", "true", '"1.5"', '""', "[1]", "{}", "Infinity"]
)
TIMES = st.sampled_from(
    [
        str(START),
        str(START + 1),
        str(START // 1000),
        f"{START}.0",
        f"{START / 1e6}",
        '"2023-11-14T22:13:20Z"',
        "null",
        "1e99",
        "7",
    ]
)
MACHINES = st.sampled_from(
    ['"m-1"', '"m-2"', '"m-3"', '"é"', '"\\u00e9"', '"\\ud800"', '"a\\nb"', '"a\nb"', '"\\u0000x"', '""', "5", "null"]
)
FIELDS = st.sampled_from(["abc", "abc", "abc", "cab", "aabc", "abcd", "ab", "abc\\u0064", ""])


@st.composite
def text_of_row(draw: st.DrawFn) -> bytes:
    """A row: most as their sender always writes them, some odd in one way or another."""
    plain = draw(st.integers(0, 3)) > 0
    machine = draw(st.sampled_from(['"m-1"', '"m-2"'])) if plain else draw(MACHINES)
    time = str(START + draw(st.integers(0, 10**6))) if plain else draw(TIMES)
    number = NUMBERS if plain else st.one_of(NUMBERS, ODD_NUMBERS)
    names = ["a", "b", "c"] if plain else [*draw(FIELDS)]
    values = ",".join(f'"{name}":{draw(number)}' for name in names)
    parts = [f'"machine":{machine}', f'"ts":{time}', f'"values":{{{values}}}']
    if not plain and draw(st.booleans()):
        parts.append(f'"site":{draw(st.one_of(ODD_NUMBERS, MACHINES))}')
        parts = draw(st.permutations(parts))
    text = ("{" + ",".join(parts) + "}").encode()
    if draw(st.integers(0, 5)) == 0:  # damaged on its way
        place = draw(st.integers(0, len(text)))
        text = text[:place] + draw(st.binary(max_size=2)) + text[place + draw(st.integers(0, 2)) :]
    return text


def decoder(routes: Routes, **settings: Any) -> Decoder:
    chosen = Settings(input=InputSettings(**settings))
    return Decoder(routes, chosen.input, SchemaRegistry(chosen.registry))


def rows_of(decoded: list[Decoded]) -> dict[str, tuple[list[int], list[int], bytes]]:
    """Machine -> offsets, times and the values' bytes."""
    found: dict[str, tuple[list[int], list[int], bytes]] = {}
    for part in decoded:
        for block in part.each():
            offsets, times, values = found.get(block.machine, ([], [], b""))
            rows = block.block
            assert rows.values.dtype == np.float32
            found[block.machine] = (
                offsets + rows.offsets.tolist(), times + rows.times.tolist(), values + rows.values.tobytes(),
            )  # fmt: skip
    return found


def letters(decoded: list[Decoded]) -> list[tuple[int, Any]]:
    """Dead letters by offset."""
    return sorted(
        ((found.offset, found.output) for part in decoded for found in part.dead_letters), key=lambda found: found[0]
    )


def one_by_one(routes: Routes, messages: list[Message], **settings: Any) -> list[Decoded]:
    """Each in a batch of its own, by a worker that has seen none before."""
    return [
        decoder(routes, **settings).decode(batch_of([message], first=offset)) for offset, message in enumerate(messages)
    ]


def row(machine: str, number: int, values: dict[str, Any], **more: Any) -> Message:
    return Message(orjson.dumps({"machine": machine, "ts": START + number, "values": values, **more}), machine.encode())


@pytest.mark.parametrize("unknown", ["dead-letter", "ignore"])
def test_rows_read_by_shape_are_those_read_one_by_one(open_routes: OpenRoutes, unknown: str) -> None:
    routes = open_routes(ONE_ROW)
    taught = decoder(routes, unknown_channels=unknown)
    taught.decode(batch_of([row("m-1", number, {"a": 1.5, "b": 2, "c": None}) for number in range(10)]))

    @REPEATABLE
    @given(st.lists(st.tuples(text_of_row(), st.sampled_from([b"m-1", b"m-2", None])), min_size=1, max_size=80))
    def holds(found: list[tuple[bytes, bytes | None]]) -> None:
        messages = [Message(text, key) for text, key in found]
        by_shape = [taught.decode(batch_of(messages))]
        expected = one_by_one(routes, messages, unknown_channels=unknown)
        assert rows_of(by_shape) == rows_of(expected)
        assert letters(by_shape) == letters(expected)

    holds()


def test_runs_of_plain_rows_are_those_read_one_by_one(open_routes: OpenRoutes) -> None:
    # given rows of several machines, with an odd one here and there
    routes, random_ = open_routes(ONE_ROW), random.Random(3)
    messages = [
        row(f"m-{random_.randrange(5)}", number, {"a": random_.gauss(0, 99), "b": number, "c": random_.random()})
        for number in range(600)
    ]
    for place, text in (
        (200, b"{"),
        (201, b""),
        (390, b'{"machine":"m-1","ts":[%d],"channels":["a","b","c"],"values":[[1,2,3]]}' % START),
    ):
        messages[place] = Message(text, b"m-1")
    messages[450] = row("m-2", 450, {"a": 1e39, "b": 1, "c": 1})
    messages[455] = row("m-2", 455, {"a": 1e39, "b": None, "c": 1})

    # when they come in one batch, and one by one
    by_shape = [decoder(routes).decode(batch_of(messages))]
    expected = one_by_one(routes, messages)

    # then rows, and dead letters with their texts, are the same
    assert rows_of(by_shape) == rows_of(expected)
    assert letters(by_shape) == letters(expected)
    assert len(letters(by_shape)) == 4
    assert sum(len(offsets) for offsets, _, _ in rows_of(by_shape).values()) == 596


@pytest.mark.parametrize(
    ("settings", "write"),
    [
        ({}, lambda number, values: {"machine": "m", "ts": START + number, "values": values}),
        ({}, lambda number, values: {"values": values, "ts": "2023-11-14T22:13:20.5Z", "site": "hall", "machine": "m"}),
        ({"values": ""}, lambda number, values: {"machine": "m", "ts": START + number, **values}),
        ({"values": ""}, lambda number, values: {**values, "ts": (START + number) // 1000, "machine": "m"}),
        ({"unknown_channels": "ignore"}, lambda number, values: {"machine": "m", "ts": START, "values": {"z": "on", **values}}),
        ({"unknown_channels": "dead-letter"}, lambda number, values: {"machine": "m", "ts": START, "values": {"z": 1, **values}}),
        ({"rename": {"x": "a"}}, lambda number, values: {"machine": "m", "ts": START, "values": {"x": 5, "b": 1, "c": number}}),
        ({"missing_values": (-9999.0,)}, lambda number, values: {"machine": "m", "ts": START, "values": {**values, "b": -9999}}),
        ({"machine": "id", "time": "at", "values": "tags"}, lambda number, values: {"id": "m", "at": START, "tags": values}),
        ({"machine": "id", "values": "v"}, lambda number, values: {"id": number % 3, "ts": START, "v": values}),
    ],
)  # fmt: skip
def test_every_layout_is_read_alike(open_routes: OpenRoutes, settings: dict[str, Any], write: Any) -> None:
    routes = open_routes(ONE_ROW)
    orders: list[dict[str, Any]] = [
        {"a": 0.1, "b": 2, "c": -3.25},
        {"c": 1, "a": None, "b": 0.3},
        {"a": 5, "b": 6, "c": 7},
    ]
    messages = [Message(orjson.dumps(write(number, orders[number // 100])), b"m") for number in range(300)]
    by_shape = [decoder(routes, **settings).decode(batch_of(messages))]
    expected = one_by_one(routes, messages, **settings)
    assert rows_of(by_shape) == rows_of(expected)
    assert letters(by_shape) == letters(expected)
