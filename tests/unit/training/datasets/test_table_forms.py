"""Tables as loggers, historians and spreadsheets write them: each is read right, or refused with its cause and what to do."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from wheeltapper.loaded import load_for_training, load_told
from wheeltapper.schemas.clock import iso_from_micros, micros_from_iso
from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.registry import list_entities, load_series
from wheeltapper.training.datasets.series import SensorSeries

FIRST = micros_from_iso("2024-05-01T08:00:00Z")
MINUTE = 60_000_000
ROWS = 120


def level(row: int) -> float:
    """A measured value: it goes up and down."""
    return round(20 + 3 * np.sin(row / 7) + (row * 7919 % 13) / 10, 3)


def stamp(row: int) -> str:
    return iso_from_micros(FIRST + row * MINUTE)[:-1].replace("T", " ")


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., SensorSeries]:
    """Writes a file, its description, and reads both."""

    def write(
        text: str | bytes, description: str = "", name: str = "pump.csv", entity: str | None = None
    ) -> SensorSeries:
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        (tmp_path / "pump.toml").write_text(description)
        return load_series("csv", tmp_path / name, entity)

    return write


def lines(header: str, row: Callable[[int], str], rows: int = ROWS) -> str:
    return "\n".join([header, *(row(number) for number in range(rows))]) + "\n"


def plain(header: str = "time,flow") -> str:
    return lines(header, lambda row: f"{stamp(row)},{level(row)}")


def assert_flow(series: SensorSeries, rows: int = ROWS) -> None:
    """Every row of `level`, a minute apart."""
    assert "flow" in series.channels
    flow = np.concatenate([series.train, series.test])[:, series.channels.index("flow")]
    np.testing.assert_array_equal(flow, np.array([level(row) for row in range(rows)], dtype=np.float32))
    times = np.concatenate([series.train_ts, series.test_ts])
    np.testing.assert_array_equal(times, FIRST + MINUTE * np.arange(rows))


NAMES = ("Durchfluss (m³/h)", "Temperatur (°C)", "Strom (µA)")
WIDE = lines(f"time;{';'.join(NAMES)}", lambda row: f"{stamp(row)};{level(row)};{level(row + 1)};{level(row + 2)}")


@pytest.mark.parametrize(
    ("data", "description"),
    [
        (WIDE.encode(), ""),
        (b"\xef\xbb\xbf" + WIDE.encode(), ""),
        (WIDE.encode("windows-1252"), ""),
        (WIDE.encode("latin-1"), 'encoding = "latin-1"'),
        (WIDE.encode("utf-16"), ""),
        (WIDE.replace(";", "\t").encode("utf-16"), ""),
        (WIDE.encode("utf-16-be"), ""),
        (WIDE.encode("utf-16-le"), ""),
        (WIDE.encode("utf-32"), ""),
        (WIDE.encode("cp850"), 'encoding = "cp850"'),
        (WIDE.replace("\n", "\r\n").encode("windows-1252"), ""),
        (("sep=;\n" + WIDE).encode("utf-8-sig"), ""),
    ],
)
def test_encodings_are_found_or_set(table: Callable[..., SensorSeries], data: bytes, description: str) -> None:
    series = table(data, description)
    assert series.channels == NAMES
    assert series.test[0, 0] == np.float32(level(ROWS // 2))
    zipped = table(gzip.compress(data), description, "pump.csv.gz")
    assert zipped.channels == NAMES


def test_an_encoding_that_was_guessed_is_said_and_one_that_cannot_be_is_refused(
    table: Callable[..., SensorSeries],
) -> None:
    assert any("windows-1252" in note for note in table(WIDE.encode("windows-1252")).notes)
    with pytest.raises(InputError, match=r"byte 5 is not UTF-8, UTF-16 or Windows-1252.*encoding = "):
        table(b"time,\x81\x8d\n2024-05-01,1\n")
    with pytest.raises(InputError, match="byte 18 is not utf-8"):
        table(WIDE.encode("windows-1252"), 'encoding = "utf-8"')
    with pytest.raises(InputError, match="encoding 'klingon' is not known"):
        table(WIDE, 'encoding = "klingon"')


@pytest.mark.parametrize(
    ("form", "description"),
    [
        ("%Y-%m-%dT%H:%M:%S.0000000Z", ""),
        ("%Y-%m-%dT%H:%M:%S.000000000+00:00", ""),
        ("%Y-%m-%d %H:%M:%S UTC", ""),
        ("%d.%m.%Y %H:%M", ""),
        ("%d.%m.%Y %H:%M:%S.000", 'time_format = "%d.%m.%Y %H:%M:%S.%f"'),
        ("%d/%m/%Y %H.%M.%S", 'time_format = "%d/%m/%Y %H.%M.%S"'),
        ("%d %B %Y %I:%M %p", 'time_format = "%d %B %Y %I:%M %p"'),
        ("%s", ""),
        ("%s000", ""),
        ("%s000000", 'time_unit = "us"'),
        ("%s123456789", ""),
        ("%Y%m%d%H%M%S", ""),
    ],
)
def test_times_of_every_form(table: Callable[..., SensorSeries], form: str, description: str) -> None:
    def written(row: int) -> str:
        moment = datetime.fromtimestamp((FIRST + row * MINUTE) / 1e6, UTC)
        return moment.strftime(form.replace("%s", str(int(moment.timestamp()))))

    text = lines("time,flow", lambda row: f"{written(row)},{level(row)}")
    series = table(text, description)
    if form == "%s123456789":
        np.testing.assert_array_equal(series.train_ts - FIRST, np.arange(ROWS // 2) * MINUTE + 123_456)
    else:
        assert_flow(series)


@pytest.mark.parametrize(
    ("description", "said"),
    [
        ('time_format = "%Q"', "pump.toml: time_format '%Q' is no strptime format: 'Q' is a bad directive"),
        ('time_format = "%H:%M"', "pump.toml: time_format '%H:%M' has no year or no day"),
        ('time_zone = "Berlin"', "pump.toml: time zone 'Berlin' is not known"),
        ('tag = "flow"', "pump.toml: tag and value belong together"),
        ('decimal = ";"', "pump.toml: decimal: String should match pattern"),
        ('decimal = "."\nthousands = "."', "pump.toml: thousands is '.'"),
    ],
)
def test_a_description_that_cannot_be_followed_is_refused_as_such(
    table: Callable[..., SensorSeries], description: str, said: str
) -> None:
    with pytest.raises(InputError) as refused:
        table(plain(), description)
    assert said in str(refused.value)


def test_both_hours_of_autumn_are_kept_apart(table: Callable[..., SensorSeries]) -> None:
    # given a day of rows every half hour by the clock on the wall in Berlin, on which the clock goes back
    start = micros_from_iso("2024-10-26T20:00:00Z")
    instants = [start + row * 30 * MINUTE for row in range(24)]

    def shown(micros: int) -> str:
        return (
            datetime.fromtimestamp(micros / 1e6, UTC).astimezone(ZoneInfo("Europe/Berlin")).strftime("%Y-%m-%d %H:%M")
        )

    text = lines("time,flow", lambda row: f"{shown(instants[row])},{level(row)}", 24)
    # when it is read without its zone: then it is refused, and the zone is the remedy
    with pytest.raises(InputError, match=r"the time is not after that of the row before.*time_zone = "):
        table(text)
    # and with it every instant is itself
    series = table(text, 'time_zone = "Europe/Berlin"')
    assert [*series.train_ts, *series.test_ts] == instants


TWO_COLUMNS = (
    lines(
        "Date;Time;flow;pressure;;",
        lambda row: f"01/05/2024;{8 + row // 60:02d}.{row % 60:02d}.00;{f'{level(row):.3f}'.replace('.', ',')};1,5;;",
    )
    + ";;;;;\n;;;;;\n"
)
TOLD = 'decimal = ","\ntime = ["Date", "Time"]\ntime_format = "%d/%m/%Y %H.%M.%S"\n'


def test_day_and_clock_in_two_columns_with_a_decimal_comma(table: Callable[..., SensorSeries]) -> None:
    series = table(TWO_COLUMNS, TOLD)
    assert series.channels == ("flow", "pressure")
    assert_flow(series)
    assert any("2 row(s) without any value are left out, the first at line 122" in note for note in series.notes)
    assert any("'column 5', 'column 6' without a name or a value are left out" in note for note in series.notes)


def test_each_refusal_on_the_way_there_names_cause_and_setting(table: Callable[..., SensorSeries]) -> None:
    only_threes = TWO_COLUMNS.replace("1,5;", "1,500;")
    with pytest.raises(
        InputError, match=r"cells such as '20,000' can be read in two ways; write decimal = \",\" or thousands = \",\""
    ):
        table(only_threes)
    with pytest.raises(
        InputError,
        match=r"column 'Date \+ Time': '01/05/2024 08\.00\.00' can be read in 2 ways.*time_format = \"%d/%m/%Y %H\.%M\.%S\" or",
    ):
        table(only_threes, 'decimal = ","')
    with pytest.raises(InputError) as one_row_a_day:
        table(only_threes, 'decimal = ","\ntime = "Date"\ntime_format = "%d/%m/%Y"')
    assert "rows repeat a time" in str(one_row_a_day.value)
    assert "name both, as time = " in str(one_row_a_day.value)
    assert "sort = true" not in str(one_row_a_day.value)


def test_a_decimal_comma_that_cannot_be_anything_else_is_found_and_said(table: Callable[..., SensorSeries]) -> None:
    series = table(lines("time;flow", lambda row: f"{stamp(row)};{str(level(row)).replace('.', ',')}"))
    assert_flow(series)
    assert any('read with decimal = ","' in note for note in series.notes)


@pytest.mark.parametrize(
    ("write", "description"),
    [
        (lambda value: f"{value * 1000:,.1f}", 'thousands = ","'),
        (lambda value: f"{value * 1000:,.1f}".replace(",", "'"), 'thousands = "\'"'),
        (lambda value: f"{value * 1000:,.1f}".replace(",", " ").replace(".", ","), 'decimal = ","\nthousands = " "'),
        (
            lambda value: f"{value * 1000:,.1f}".replace(",", "x").replace(".", ",").replace("x", "."),
            'decimal = ","\nthousands = "."',
        ),
        (lambda value: f"{value * 1000:,.1f}".replace(",", "x").replace(".", ",").replace("x", "."), ""),
        (lambda value: f"{value * 1000:+.3e}", ""),
    ],
)
def test_groups_of_digits(table: Callable[..., SensorSeries], write: Callable[[float], str], description: str) -> None:
    series = table(lines("time;flow", lambda row: f"{stamp(row)};{write(level(row))}"), description)
    flow = np.concatenate([series.train, series.test])[:, 0]
    np.testing.assert_allclose(flow, [level(row) * 1000 for row in range(ROWS)], rtol=1e-3)


def test_true_and_false_are_one_and_zero(table: Callable[..., SensorSeries]) -> None:
    series = table(lines("time,flow,valve", lambda row: f"{stamp(row)},{level(row)},{row % 3 == 0}"))
    assert series.channels == ("flow", "valve")
    assert series.train[:4, 1].tolist() == [1.0, 0.0, 0.0, 1.0]
    lower = table(lines("time,flow,valve", lambda row: f"{stamp(row)},{level(row)},{str(row % 3 == 0).lower()}"))
    np.testing.assert_array_equal(lower.train, series.train)


@pytest.mark.parametrize("word", ["No Data", "Bad", "-", "#N/A", "I/O Timeout", "NULL", "", "  ", "nan", "BAD INPUT"])
def test_words_for_missing(table: Callable[..., SensorSeries], word: str) -> None:
    series = table(lines("time,flow,late", lambda row: f"{stamp(row)},{level(row)},{word if row % 4 else level(row)}"))
    assert series.channels == ("flow", "late")
    assert np.isnan(series.train[:, 1]).sum() == 45
    assert_flow(series)


def test_words_and_numbers_for_missing_where_set(table: Callable[..., SensorSeries]) -> None:
    text = lines(
        "time,flow,other",
        lambda row: f"{stamp(row)},{level(row)},{-9999 if row % 4 == 1 else 'Kabelbruch' if row % 4 == 2 else 1.5}",
    )
    with pytest.raises(
        InputError,
        match=r"line 4, column 3 \(other\): found 'Kabelbruch', expected a number.*missing = \[\"Kabelbruch\"\]",
    ):
        table(text)
    series = table(text, 'missing = ["kabelbruch", -9999]')
    assert np.isnan(series.train[:, 1]).sum() == 30


def test_a_sensor_that_comes_late_is_a_channel_and_training_without_values_of_it_is_refused(
    table: Callable[..., SensorSeries], tmp_path: Path
) -> None:
    series = table(
        lines("time,flow,late", lambda row: f"{stamp(row)},{level(row)},{'No Data' if row < 70 else level(row)}")
    )
    assert series.channels == ("flow", "late")
    assert any("'late' never measured in the train part" in note for note in series.notes)
    with pytest.raises(InputError, match=r'late never measured in the train part of 60 rows.*ignore = \["late"\]'):
        load_for_training("csv", tmp_path / "pump.csv", None)


def test_every_column_that_is_left_out_is_named_with_its_reason(table: Callable[..., SensorSeries]) -> None:
    series = table(
        lines("time,flow,state,mode", lambda row: f"{stamp(row)},{level(row)},run,{'auto' if row % 3 else 7}")
    )
    assert series.channels == ("flow",)
    assert any("column 'state' is left out: 120 of 120 cells hold texts such as 'run'" in note for note in series.notes)
    assert any("column 'mode' is left out" in note for note in series.notes)


@pytest.mark.parametrize("name", ["", "Unnamed: 0", "index", "id", "Row", "counted"])
@pytest.mark.parametrize("start", [0, 1])
def test_row_numbers_are_no_channel(table: Callable[..., SensorSeries], name: str, start: int) -> None:
    series = table(lines(f"{name},time,flow", lambda row: f"{row + start},{stamp(row)},{level(row)}"))
    assert series.channels == ("flow",)
    shown = "column 1 (without a name)" if not name else f"column '{name}'"
    assert any(f"{shown} is left out: it numbers the rows" in note for note in series.notes)


def test_row_names_without_a_header_as_r_writes_them(table: Callable[..., SensorSeries]) -> None:
    series = table(lines("time,flow", lambda row: f"{row + 1},{stamp(row)},{level(row)}"))
    assert series.channels == ("flow",)
    assert_flow(series)


def test_an_unnamed_column_can_be_ignored_or_kept(table: Callable[..., SensorSeries]) -> None:
    text = lines("time,flow,", lambda row: f"{stamp(row)},{level(row)},{level(row + 3)}")
    assert table(text).channels == ("flow", "column 3")
    assert table(text, 'ignore = [""]').channels == ("flow",)
    assert table(text, 'ignore = ["column 3"]').channels == ("flow",)
    index = lines(",time,flow", lambda row: f"{row},{stamp(row)},{level(row)}")
    assert table(index, 'rising = ["column 1"]').channels == ("column 1", "flow")


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
