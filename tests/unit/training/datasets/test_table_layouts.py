"""Tables with more than rows of values: counters, preambles, tags below each other, several machines, Parquet."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.unit.training.datasets.table_text import FIRST, MINUTE, ROWS, assert_flow, level, lines, plain, stamp
from wheeltapper.loaded import load_told
from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.registry import list_entities, load_series
from wheeltapper.training.datasets.series import SensorSeries


def test_a_counter_is_refused_or_becomes_a_rate(table: Callable[..., SensorSeries], tmp_path: Path) -> None:
    # given a counter of energy that starts anew once
    text = lines("time,flow,energy", lambda row: f"{stamp(row)},{level(row)},{row * 6 % 600 + row % 2 + 1}")
    # when nothing is said: then it is refused with the remedies
    with pytest.raises(InputError, match=r"column 'energy' only rises.*rates = \[\"energy\"\].*ignore.*rising"):
        table(text)
    # and when it is to be a rate, then it is one by another name, and missing where the counter started anew
    series = table(text, 'rates = ["energy"]\nunits = { "energy per s" = "kWh/s" }')
    assert series.channels == ("flow", "energy per s")
    rate = np.concatenate([series.train, series.test])[:, 1]
    assert np.flatnonzero(np.isnan(rate)).tolist() == [0, 100]
    np.testing.assert_allclose(rate[1:3], [7 / 60, 5 / 60], rtol=1e-6)
    assert table(text, 'rising = ["energy"]').channels == ("flow", "energy")
    assert table(text, 'ignore = ["energy"]').channels == ("flow",)
    # and the train part of another file is read alike
    (tmp_path / "normal.csv").write_text(text)
    assert table(text, 'rates = ["energy"]\ntrain_file = "normal.csv"').train.shape == (ROWS, 2)


def test_a_column_that_rises_with_the_time_alone_is_left_out(table: Callable[..., SensorSeries]) -> None:
    series = table(lines("time,flow,elapsed", lambda row: f"{stamp(row)},{level(row)},{row * 60 + 0.5}"))
    assert series.channels == ("flow",)
    assert any("column 'elapsed' is left out: it rises with the time alone" in note for note in series.notes)


def test_preamble_unit_row_and_footer(table: Callable[..., SensorSeries]) -> None:
    body = lines("time,flow,temp", lambda row: f"{stamp(row)},{level(row)},{level(row + 5)}").splitlines()
    text = (
        "\n".join(
            ["Plant 4", "exported by logger 7", "", body[0], ",m3/h,[degC]", *body[1:], "end of report", "total,1"]
        )
        + "\n"
    )
    with pytest.raises(
        InputError, match=r"line 1: found 1 column\(s\), but line 4 looks like the names of 3; write skip_lines = 3"
    ):
        table(text)
    with pytest.raises(InputError, match=r"line 126: found 1 columns, expected 3.*skip_footer = 2"):
        table(text, "skip_lines = 3\nunit_row = true")
    with pytest.raises(InputError, match=r"line 5, column 2 \(flow\): found 'm3/h'.*unit_row = true"):
        table(text, "skip_lines = 3\nskip_footer = 2")
    series = table(text, "skip_lines = 3\nunit_row = true\nskip_footer = 2")
    assert_flow(series)
    assert series.units == ("m3/h", "degC")


def test_a_quotation_mark_without_an_end_is_named_by_its_line(table: Callable[..., SensorSeries]) -> None:
    # given a mark before one row: the rest of the file, short or longer than a cell may be, is one cell
    body = lines("time,flow,temp", lambda row: f"{stamp(row)},{level(row)},{level(row + 5)}").splitlines()
    for repeats in (1, 60):
        text = "\n".join([*body[:30], '"' + body[30], *(body[31:] * repeats)])
        with pytest.raises(InputError, match=r"a quotation mark there may have no end: correct the file") as error:
            table(text)
        assert "skip_footer" not in str(error.value)


def test_a_preamble_above_two_columns_is_noticed(table: Callable[..., SensorSeries]) -> None:
    text = lines("time,flow", lambda row: f"{stamp(row)},{level(row)}")
    with pytest.raises(InputError, match=r"line 2 looks like the names of 2; write skip_lines = 1"):
        table("# exported\n" + text)
    assert_flow(table("# exported\n" + text, "skip_lines = 1"))


LONG = "".join(
    f"{stamp(row)};{tag};{level(row + shift)}\n"
    for row in range(ROWS)
    for shift, tag in enumerate(("flow", "pressure", "current"))
)


def test_the_long_format(table: Callable[..., SensorSeries]) -> None:
    text = "time;tag;value\n" + LONG
    with pytest.raises(
        InputError, match=r"'flow', 'pressure', 'current' in column 'tag'; write machine = .* or tag = \"tag\""
    ):
        table(text)
    series = table(text, 'tag = "tag"\nvalue = "value"')
    assert series.channels == ("flow", "pressure", "current")
    assert_flow(series)
    by_tag = "time;tag;value\n" + "".join(sorted(LONG.splitlines(keepends=True), key=lambda line: line.split(";")[1]))
    assert_flow(table(by_tag, 'tag = "tag"\nvalue = "value"'))


def test_tags_of_different_rates_become_rows_on_a_grid(table: Callable[..., SensorSeries]) -> None:
    # given a tag every 60 s and one every 10 minutes, which falls silent
    slow = "".join(f"{stamp(row)};slow;{row}.5\n" for row in range(0, 40, 10))
    fast = "".join(f"{stamp(row)};fast;{level(row)}\n" for row in range(ROWS))
    text = "time;tag;value\n" + fast + slow
    with pytest.raises(InputError, match="the 2 tags have readings at different times; write sampling_interval_s"):
        table(text, 'tag = "tag"\nvalue = "value"')
    series = table(text, 'tag = "tag"\nvalue = "value"\nsampling_interval_s = 60\nhold_s = 900')
    held = np.concatenate([series.train, series.test])[:, series.channels.index("slow")]
    # then it counts for a quarter of an hour, and is missing after
    assert held[:12].tolist() == [0.5] * 10 + [10.5] * 2
    assert held[45] == 30.5
    assert np.isnan(held[46:]).all()


def test_machines_in_one_file_are_entities(table: Callable[..., SensorSeries], tmp_path: Path) -> None:
    text = "time,asset,flow\n" + "".join(
        f"{stamp(row)},pump-{pump},{level(row + 10 * pump)}\n" for row in range(ROWS) for pump in (0, 1)
    )
    with pytest.raises(InputError, match=r"'pump-0', 'pump-1' in column 'asset'; write machine = \"asset\""):
        table(text)
    series = table(text, 'machine = "asset"', entity="pump-0")
    assert series.entity == "pump-0"
    assert_flow(series)
    assert list_entities("csv", tmp_path / "pump.csv") == ("pump-0", "pump-1")
    assert list_entities("csv", tmp_path) == ("pump-0", "pump-1")
    with pytest.raises(InputError, match="2 entities"):
        load_series("csv", tmp_path / "pump.csv")
    (tmp_path / "other.csv").write_text(plain())
    assert list_entities("csv", tmp_path) == ("other", "pump/pump-0", "pump/pump-1")


def test_parquet_says_what_it_leaves_out_too(tmp_path: Path) -> None:
    times = pa.array([FIRST + row * MINUTE for row in range(ROWS)], pa.timestamp("us"))
    values = pa.array([level(row) for row in range(ROWS)])
    states = pa.array(["run"] * ROWS).dictionary_encode()
    index = pa.array(range(ROWS), pa.int64())
    pq.write_table(
        pa.table({"__index": index, "time": times, "flow": values, "state": states, "lists": pa.array([[1]] * ROWS)}),
        tmp_path / "a.parquet",
    )
    series = load_series("csv", tmp_path, "a")
    assert series.channels == ("flow",)
    assert_flow(series)
    assert len(series.notes) == 3


def test_a_file_that_is_not_what_it_seems_is_refused(table: Callable[..., SensorSeries]) -> None:
    with pytest.raises(
        InputError, match=r"line 1: found '2024-05-01 08:00:00', '20.0', which is a row, expected column names"
    ):
        table("\n".join(plain().splitlines()[1:]))
    damaged = (
        lines("time,Förderung,Zähler,flow", lambda row: f"{stamp(row)},{level(row)},{level(row)},1").encode()
        + b"x,\xff,1,1\n"
    )
    with pytest.raises(InputError, match="is not UTF-8, though most of the file is"):
        table(damaged)


def test_a_day_with_midnight_beside_a_clock(table: Callable[..., SensorSeries]) -> None:
    series = table(lines("Date,Time,flow", lambda row: f"2024-05-01 00:00:00,{stamp(row)[11:]},{level(row)}"))
    assert_flow(series)
    assert any("times are read from the columns 'Date' and 'Time'" in note for note in series.notes)


def test_readings_of_several_machines_are_known_for_what_they_are(table: Callable[..., SensorSeries]) -> None:
    text = "time;asset;tag;value\n" + "".join(
        f"{stamp(row)};p{pump};{tag};{level(row)}\n"
        for row in range(ROWS)
        for pump in "12"
        for tag in ("flow", "speed")
    )
    with pytest.raises(InputError, match=r"write machine = \"asset\", tag = \"tag\" and value"):
        table(text)
    assert_flow(table(text, 'machine = "asset"\ntag = "tag"\nvalue = "value"', entity="p1"))


def test_commands_print_what_was_left_out(table: Callable[..., SensorSeries], tmp_path: Path) -> None:
    # given a table with a column of texts, and rows that repeat a time
    rows = [f"{stamp(row)},{level(row)},run" for row in range(ROWS)]
    table("\n".join(["time,flow,state", *rows, rows[7]]) + "\n", "sort = true")
    # when a command loads it
    told = io.StringIO()
    load_told("csv", tmp_path / "pump.csv", None, file=told)
    # then a line says each
    lines_told = told.getvalue().splitlines()
    assert len(lines_told) == 2
    assert "data         1 of 121 rows repeat a time and are left out" in lines_told[0]
    assert "column 'state' is left out" in lines_told[1]
