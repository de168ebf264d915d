"""Tables as loggers, historians and spreadsheets write them: each is read right, or refused with its cause and what to do."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from tests.unit.training.datasets.table_text import FIRST, MINUTE, ROWS, assert_flow, level, lines, plain, stamp
from wheeltapper.loaded import load_for_training
from wheeltapper.schemas.clock import micros_from_iso
from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.series import SensorSeries

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
