"""What a table accepts a message accepts, and the other way round, with the same number and the same time."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.stream.bundles import Recipe
from tests.unit.stream.conftest import OpenRoutes
from tests.unit.stream.feeds import MINUTE, START, Message, feed, letters_of, row_message, scores_of
from wheeltapper.schemas.clock import micros_from_iso
from wheeltapper.schemas.codec.json_text import parse_json
from wheeltapper.schemas.errors import DecodeError, InputError
from wheeltapper.schemas.readings import MISSING_WORDS
from wheeltapper.stream.kinds.sensors.field_mapping import FieldMapping
from wheeltapper.stream.pipeline import Pipeline
from wheeltapper.stream.settings import InputSettings, Settings, load_settings
from wheeltapper.training.datasets.registry import load_series

ONE_ROW = Recipe(window=1, weighting="mean")
VALUES = {"a": 1.5, "b": 0.5, "c": 0.5}
FOLDER = settings(
    derandomize=True, deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def in_a_message(fields: dict[str, Any], timestamp_ms: int = -1, **chosen: Any) -> tuple[int, np.float32] | str:
    """Time and value of channel `x`, or why the message is refused."""
    message = json.dumps({"machine": "m", "ts": START, "values": {"x": 1}} | fields).encode()
    try:
        fields = parse_json(message)
        (block,) = FieldMapping(InputSettings(**chosen)).blocks(fields, None, timestamp_ms, lambda _: {"x"})
    except DecodeError as error:
        return str(error)
    return int(block.ts[0]), block.values[0, 0]


def in_a_table(
    folder: Path, time: str, value: str, description: str = "", later: str = "9999-01-01"
) -> tuple[int, np.float32] | str:
    """The same of a table of one such row and one after it."""
    (folder / "m.csv").write_text(f"time|x\n{time}|{value}\n{later}|1\n", encoding="utf-8")
    own = f'separator = "|"\nvalues = ["x"]\ntrain_rows = 1\n{description}\n'
    (folder / "m.toml").write_text(own, encoding="utf-8")
    try:
        series = load_series("csv", folder, "m")
    except InputError as error:
        return str(error)
    return int(series.train_ts[0]), series.train[0, 0]


def assert_same(message: tuple[int, np.float32] | str, table: tuple[int, np.float32] | str) -> None:
    if isinstance(message, str) or isinstance(table, str):
        assert isinstance(message, str), table
        assert isinstance(table, str), message
        return
    assert message[0] == table[0]
    np.testing.assert_array_equal(message[1], table[1])


STYLES = [
    ({}, ""),
    ({"decimal": ","}, 'decimal = ","'),
    ({"decimal": ",", "thousands": "."}, 'decimal = ","\nthousands = "."'),
    ({"thousands": " "}, 'thousands = " "'),
    ({"missing_words": ("Kabelbruch", "7"), "missing_values": (-9999.0, 0.25)}, 'missing = ["kabelbruch", "7", -9999, 0.25]'),
]  # fmt: skip
_CELLS = (
    st.text(alphabet="0123456789.,+-eE ", max_size=8)
    | st.sampled_from([*sorted(MISSING_WORDS), "true", "False", "TRUE", "Kabelbruch", "-9999", "0,25", "0.25", "on", "1e39", "-inf", "12 bar"])
    | st.floats(width=32, allow_infinity=False).map(str)
)  # fmt: skip


@given(cell=_CELLS, style=st.sampled_from(STYLES))
@FOLDER
def test_a_text_is_the_same_number_in_a_message_and_in_a_table(
    tmp_path: Path, cell: str, style: tuple[dict[str, Any], str]
) -> None:
    message = in_a_message({"ts": "2024-05-01", "values": {"x": cell}}, quoted_numbers="read", **style[0])
    assert_same(message, in_a_table(tmp_path, "2024-05-01", cell, style[1]))


_TOKENS = (
    st.floats(width=32, allow_nan=False, allow_infinity=False)
    | st.integers(-(10**20), 10**20)
    | st.booleans()
    | st.none()
)


@given(token=_TOKENS)
@FOLDER
def test_what_json_writes_is_the_same_number_in_a_table(tmp_path: Path, token: Any) -> None:
    message = in_a_message({"ts": "2024-05-01", "values": {"x": token}})
    assert not isinstance(message, str)
    assert_same(message, in_a_table(tmp_path, "2024-05-01", json.dumps(token)))


_FORMS = [
    "%Y-%m-%dT%H:%M:%S.%f0Z", "%Y-%m-%d %H:%M:%S.%f000 UTC", "%d.%m.%Y %H:%M:%S.%f", "%Y/%m/%d %H:%M", "%Y-%m-%dT%H:%M:%S+05:30", "%s", "%s%f",
    "%d-%b-%Y %I:%M:%S %p", "%Y%m%d%H%M%S", "%m/%d/%Y %H:%M", "%H:%M",
]  # fmt: skip
_TIMES = [
    ({}, ""),
    ({"time_zone": "Europe/Berlin"}, 'time_zone = "Europe/Berlin"'),
    ({"time_unit": "s"}, 'time_unit = "s"'),
    ({"time_format": "%d.%m.%Y %H:%M:%S.%f"}, 'time_format = "%d.%m.%Y %H:%M:%S.%f"'),
]


@given(
    moment=st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1)),
    form=st.sampled_from(_FORMS),
    style=st.sampled_from(_TIMES),
)
@FOLDER
def test_a_text_is_the_same_time_in_a_message_and_in_a_table(
    tmp_path: Path, moment: datetime, form: str, style: tuple[dict[str, Any], str]
) -> None:
    text = moment.strftime(form.replace("%s", str(int(moment.timestamp()))))
    later = "01.01.9999 00:00:00.0" if "time_format" in style[0] else "9999-01-01"
    assert_same(in_a_message({"ts": text}, **style[0]), in_a_table(tmp_path, text, "1", style[1], later))


def read(open_routes: OpenRoutes, messages: list[Message], **chosen: Any) -> tuple[dict[int, Any], list[str]]:
    """time -> score of machine press-1, and details of dead letters, of the whole pipeline."""
    outputs = feed(Pipeline(open_routes(ONE_ROW), Settings(input=InputSettings(**chosen))), messages)
    return {time: found[0] for (_, _, time), found in scores_of(outputs).items()}, [
        letter.detail for letter in letters_of(outputs)
    ]


@pytest.mark.parametrize("factor", [1_000_000, 1_000, 1])
def test_epoch_seconds_and_milliseconds_are_no_days_of_1970(open_routes: OpenRoutes, factor: int) -> None:
    # given rows and a block with times in a unit that no setting names
    rows = [row_message(machine="press-1", ts=(START + MINUTE * row) // factor, values=VALUES) for row in range(3)]
    times = [(START + MINUTE * row) // factor for row in (3, 4)]
    block = row_message(machine="press-1", ts=times, channels=["a", "b", "c"], values=[[1.5, 0.5, 0.5]] * 2)
    # when they are read: then their size tells the unit
    scores, letters = read(open_routes, [*rows, block])
    assert letters == []
    assert {time // factor for time in scores} == {(START + MINUTE * row) // factor for row in range(5)}


def test_a_time_that_no_unit_fits_is_refused_and_a_named_unit_takes_it(open_routes: OpenRoutes) -> None:
    message = row_message(machine="press-1", ts=86_400_000, values=VALUES)
    scores, (detail,) = read(open_routes, [message])
    assert scores == {}
    assert "time is 86400000, expected a time since 1970 in s, ms, us or ns after 2001-09-09" in detail
    scores, letters = read(open_routes, [message], time_unit="us")
    assert (list(scores), letters) == ([86_400_000], [])


def test_nan_is_missing_wherever_it_stands(open_routes: OpenRoutes) -> None:
    # given a row and a block as Python's json writes them, and their twins with null
    row = {"machine": "press-1", "ts": START, "values": {"a": 1.5, "b": float("nan"), "c": 0.5}}
    block = {
        "machine": "press-1",
        "ts": [START + MINUTE],
        "channels": ["a", "b", "c"],
        "values": [[float("nan"), 0.5, 0.5]],
    }
    texts = [json.dumps(row), json.dumps(block)]
    # when they are read
    scores, letters = read(open_routes, [Message(text.encode()) for text in texts])
    # then they are as with null
    assert letters == []
    nulls, _ = read(open_routes, [Message(text.replace("NaN", "null").encode()) for text in texts])
    assert {time: (score.raw, score.quality) for time, score in scores.items()} == {
        time: (score.raw, score.quality) for time, score in nulls.items()
    }
    assert all(score.quality < 1 for score in scores.values())


@pytest.mark.parametrize("layout", [{}, {"values": ""}, {"machine": "key"}])
def test_quoted_numbers_are_read_where_allowed(open_routes: OpenRoutes, layout: dict[str, Any]) -> None:
    # given rows with texts for values
    values = {"a": "1,5", "b": "Kein Wert", "c": -9999}
    fields: dict[str, Any] = {"ts": START, **({"values": values} if layout.get("values") is None else values)}
    message = row_message(machine="press-1", **fields)._replace(key=b"press-1")
    # when nothing allows it: then they are refused, and the setting is named
    scores, (detail,) = read(open_routes, [message], **layout)
    assert "input.quoted_numbers" in detail
    # and where it is allowed they are numbers, and missing
    chosen = {"quoted_numbers": "read", "decimal": ",", "missing_words": ["Kein Wert"], "missing_values": [-9999]}
    scores, letters = read(open_routes, [message], **layout, **chosen)
    assert letters == []
    assert scores[START].quality == pytest.approx(1 / 3)


def test_blocks_take_quoted_numbers_and_numbers_for_missing(open_routes: OpenRoutes) -> None:
    rows = [["1.5", "0.5", "true"], [-9999, "-", 0.5]]
    message = row_message(machine="press-1", ts=[START, START + MINUTE], channels=["a", "b", "c"], values=rows)
    scores, letters = read(open_routes, [message], quoted_numbers="read", missing_values=[-9999])
    assert letters == []
    assert [score.quality for score in scores.values()] == pytest.approx([1, 1 / 3])


def test_numbers_for_missing_count_in_rows_that_are_read_the_fast_way(open_routes: OpenRoutes) -> None:
    messages = [
        row_message(machine="press-1", ts=START + MINUTE * row, values={**VALUES, "b": -9999 if row else 0.5})
        for row in range(2)
    ]
    scores, letters = read(open_routes, messages, missing_values=[-9999])
    assert letters == []
    assert [score.quality for score in scores.values()] == pytest.approx([1, 2 / 3])


def test_local_times_of_both_hours_of_autumn(open_routes: OpenRoutes) -> None:
    # given a row every half hour by the clock on the wall, each record stamped when it was sent
    instants = [micros_from_iso("2024-10-26T23:00:00Z") + 30 * MINUTE * row for row in range(8)]
    shown = ["01:00", "01:30", "02:00", "02:30", "02:00", "02:30", "03:00", "03:30"]
    messages = [
        row_message(machine="press-1", ts=f"2024-10-27 {clock}", values=VALUES)._replace(
            timestamp_ms=instant // 1_000 + 40
        )
        for clock, instant in zip(shown, instants, strict=True)
    ]
    # when they are read with the zone: then every row has its own instant
    scores, letters = read(open_routes, messages, time_zone="Europe/Berlin")
    assert (sorted(scores), letters) == (instants, [])


def test_times_of_a_format_that_is_set(open_routes: OpenRoutes) -> None:
    message = row_message(machine="press-1", ts="05/01/2024 08:00:00.250 PM", values=VALUES)
    scores, letters = read(open_routes, [message], time_format="%m/%d/%Y %I:%M:%S.%f %p")
    assert (list(scores), letters) == ([micros_from_iso("2024-05-01T20:00:00.25Z")], [])
    scores, (detail,) = read(open_routes, [message])
    assert "input.time_format" in detail


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('time_format = "%Q"', "no strptime format"),
        ('time_zone = "Berlin"', "time zone 'Berlin' is not known"),
        ('decimal = ","\nthousands = ","', "thousands is ','"),
        ('quoted_numbers = "yes"', "quoted_numbers"),
    ],
)
def test_settings_that_cannot_be_followed_are_refused(tmp_path: Path, line: str, said: str) -> None:
    (tmp_path / "worker.toml").write_text(f"[input]\n{line}\n")
    with pytest.raises(InputError, match=said):
        load_settings(tmp_path / "worker.toml")
