"""Numbers and times: a column gives what the single reader gives for each of its cells, whatever way they are written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from math import isnan, nan
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wheeltapper.schemas.clock import micros_from_iso
from wheeltapper.schemas.reading_columns import parse_numbers, parse_times, parse_times_of_numbers
from wheeltapper.schemas.readings import MISSING_WORDS, NumberStyle, ReadingError, TimeStyle, parse_number, parse_time

EIGHT = micros_from_iso("2024-05-01T08:00:00Z")
BERLIN = TimeStyle(zone="Europe/Berlin")
EXHAUSTIVE = settings(derandomize=True, deadline=None, max_examples=150)


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("2024-05-01T08:00:00.1234567Z", EIGHT + 123_456),
        ("2024-05-01T08:00:00.123456789+00:00", EIGHT + 123_456),
        ("2024-05-01 08:00:00 UTC", EIGHT),
        ("2024-05-01 08:00:00 GMT", EIGHT),
        ("2024-05-01T10:00:00+02:00", EIGHT),
        ("2024-05-01T10:00:00+02:00[Europe/Berlin]", EIGHT),
        ("2024-05-01 10:00:00 +0200", EIGHT),
        ("2024/05/01 08:00", EIGHT),
        ("2024/5/1 8:00:00", EIGHT),
        ("20240501 08:00:00", EIGHT),
        ("20240501T080000Z", EIGHT),
        ("20240501080000", EIGHT),
        ("01.05.2024 08:00:00,250", EIGHT + 250_000),
        ("1.5.2024 8:00", EIGHT),
        ("01-May-2024 08:00:00", EIGHT),
        ("2024-05-01 08:00:00 AM", EIGHT),
        ("2024-05-01 08:00:00 PM", EIGHT + 12 * 3_600_000_000),
        (" 2024-05-01 08:00:00 ", EIGHT),
        ("1714550400", EIGHT),
        ("1714550400.25", EIGHT + 250_000),
        ("1.7145504E+09", EIGHT),
        ("1714550400000", EIGHT),
        ("1714550400000000", EIGHT),
        ("1714550400000000999", EIGHT),
    ],
)
def test_times_as_plants_write_them(text: str, micros: int) -> None:
    assert parse_time(text) == micros
    assert parse_times([text]).tolist() == [micros]
    assert parse_times([text, text]).tolist() == [micros] * 2


@pytest.mark.parametrize(
    "text", ["", "now", "01/02/2024", "2024-13-01", "2024-05-01 25:00", "13:00 PM", "Bad", "45413.33", "0"]
)
def test_texts_that_are_no_times_are_refused_with_their_place(text: str) -> None:
    with pytest.raises(ReadingError) as single:
        parse_time(text)
    with pytest.raises(ReadingError) as column:
        parse_times(["2024-05-01", text])
    assert column.value.index == 1
    assert column.value.found == single.value.found
    assert column.value.expected == single.value.expected


@pytest.mark.parametrize(
    ("value", "micros"),
    [
        (1_714_550_400, EIGHT),
        (1_714_550_400_000, EIGHT),
        (1_714_550_400_000_000, EIGHT),
        (1_714_550_400_000_000_123, EIGHT),
        (1_714_550_400.5, EIGHT + 500_000),
        (1_714_550_400_000.25, EIGHT + 250),
        (20_240_501_080_000, EIGHT),
    ],
)
def test_the_size_of_a_number_tells_its_unit(value: float, micros: int) -> None:
    assert parse_time(value) == micros
    assert parse_times_of_numbers(np.array([value])).tolist() == [micros]
    assert parse_time(str(value)) == micros
    assert parse_times([str(value)]).tolist() == [micros]


@pytest.mark.parametrize("value", [0, 86_400, -1_714_550_400, 1.5, float("nan"), float("inf"), 10**25, True, None, [1]])
def test_numbers_that_are_no_times_are_refused(value: object) -> None:
    with pytest.raises(ReadingError):
        parse_time(value)


@pytest.mark.parametrize(("unit", "factor"), [("s", 1_000_000), ("ms", 1_000), ("us", 1)])
def test_a_named_unit_holds_for_every_size(unit: str, factor: int) -> None:
    style = TimeStyle(unit=unit)  # type: ignore[arg-type]
    assert parse_time(86_400, style) == 86_400 * factor
    assert parse_times(["86400", "-5"], style).tolist() == [86_400 * factor, -5 * factor]


def test_a_named_unit_does_not_read_digits_as_a_day() -> None:
    assert parse_time("20240501", TimeStyle(unit="s")) == 20_240_501_000_000
    with pytest.raises(ReadingError):
        parse_time(20_240_501, TimeStyle(unit="iso"))


@pytest.mark.parametrize(
    ("formatting", "text", "micros"),
    [
        ("%d.%m.%Y %H:%M:%S.%f", "01.05.2024 08:00:00.250", EIGHT + 250_000),
        ("%d.%m.%Y %H:%M:%S.%f", "01.05.2024 08:00:00.1234567", EIGHT + 123_456),
        ("%d/%m/%Y %H.%M.%S", "01/05/2024 08.00.00", EIGHT),
        ("%m/%d/%Y %I:%M:%S %p", "05/01/2024 08:00:00 PM", EIGHT + 12 * 3_600_000_000),
        ("%d %B %Y %H:%M", "01 May 2024 08:00", EIGHT),
        ("%d-%b-%y %H:%M:%S", "01-May-24 08:00:00", EIGHT),
        ("%d/%m/%y %H", "01/05/24 08", EIGHT),
        ("%Y-%j %H:%M", "2024-122 08:00", EIGHT),
        ("%d.%m.%Y %H:%M:%S %z", "01.05.2024 10:00:00 +0200", EIGHT),
        ("%d.%m.%Y %H:%M:%S %Z", "01.05.2024 08:00:00 UTC", EIGHT),
        ("%f %d.%m.%Y %H:%M:%S", "5 01.05.2024 08:00:00", EIGHT + 500_000),
    ],
)
def test_formats_are_those_of_strptime(formatting: str, text: str, micros: int) -> None:
    style = TimeStyle(format=formatting)
    assert parse_time(text, style) == micros
    assert parse_times([text, text], style).tolist() == [micros] * 2


@pytest.mark.parametrize(
    ("formatting", "said"),
    [
        ("%Q", "no strptime format: 'Q' is a bad directive"),
        ("%d.%m.%Y %", "stray %"),
        ("%H:%M:%S", "no year or no day"),
    ],
)
def test_a_format_that_cannot_be_read_is_refused_as_such(formatting: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        TimeStyle(format=formatting)


def test_an_unknown_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="'Mars/Olympus' is not known"):
        TimeStyle(zone="Mars/Olympus")


@pytest.mark.parametrize(
    ("zone", "step_minutes"),
    [("Europe/Berlin", 1), ("Europe/Berlin", 15), ("Europe/Berlin", 60), ("America/New_York", 30), ("America/New_York", 60),
     ("Australia/Lord_Howe", 10), ("Asia/Kolkata", 60)],
)  # fmt: skip
def test_a_year_of_local_times_comes_back_whatever_the_clock_does(zone: str, step_minutes: int) -> None:
    # Given a year of instants (the autumn of it, where rows are dense), and what a local clock shows at each
    start, days = datetime(2024, 1 if step_minutes > 1 else 10, 1, 12, tzinfo=UTC), 366 if step_minutes > 1 else 50
    moments = [start + timedelta(minutes=step_minutes * row) for row in range(days * 1440 // step_minutes)]
    shown = [moment.astimezone(ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M") for moment in moments]
    # When they are read back in their order
    micros = parse_times(shown, TimeStyle(zone=zone))
    # Then every instant is itself, those of both passes of a repeated hour among them
    assert np.array_equal(micros, [round(moment.timestamp()) * 1_000_000 for moment in moments])


def test_of_two_equal_local_hours_the_one_near_the_record_counts() -> None:
    text = "2024-10-27 02:30:00"
    first, second = micros_from_iso("2024-10-27T00:30:00Z"), micros_from_iso("2024-10-27T01:30:00Z")
    assert parse_time(text, BERLIN) == first
    assert parse_time(text, BERLIN, near=first + 1_000_000) == first
    assert parse_time(text, BERLIN, near=second + 1_000_000) == second
    assert parse_time(text, BERLIN, near=second + 30 * 86_400_000_000) == first


def test_an_hour_that_the_clock_skips_is_read_with_the_offset_before() -> None:
    assert parse_time("2024-03-31 02:30:00", BERLIN) == micros_from_iso("2024-03-31T01:30:00Z")
    assert parse_times(["2024-03-31 02:30:00"], BERLIN).tolist() == [micros_from_iso("2024-03-31T01:30:00Z")]


def test_a_repeated_row_in_the_doubled_hour_is_no_second_pass() -> None:
    times = parse_times(["2024-10-27 02:10", "2024-10-27 02:11", "2024-10-27 02:11", "2024-10-27 02:12"], BERLIN)
    assert times.tolist() == [micros_from_iso(f"2024-10-27T00:{minute}:00Z") for minute in (10, 11, 11, 12)]


@pytest.mark.parametrize(
    ("text", "style", "number"),
    [
        ("3.25", NumberStyle(), 3.25),
        ("+3", NumberStyle(), 3.0),
        (".5", NumberStyle(), 0.5),
        ("5.", NumberStyle(), 5.0),
        ("-1.5E-3", NumberStyle(), -0.0015),
        ("True", NumberStyle(), 1.0),
        ("FALSE", NumberStyle(), 0.0),
        ("20,408", NumberStyle(decimal=","), 20.408),
        ("1.234.567,5", NumberStyle(decimal=",", thousands="."), 1_234_567.5),
        ("1 234,5", NumberStyle(decimal=",", thousands=" "), 1234.5),
        ("1\u00a0234,5", NumberStyle(decimal=",", thousands=" "), 1234.5),
        ("1'234.5", NumberStyle(thousands="'"), 1234.5),
        ("12,345.25", NumberStyle(thousands=","), 12_345.25),
        ("1234.5", NumberStyle(thousands=","), 1234.5),
        ("1e999", NumberStyle(), float("inf")),
        ("-Infinity", NumberStyle(), float("-inf")),
    ],
)
def test_numbers_as_plants_write_them(text: str, style: NumberStyle, number: float) -> None:
    assert parse_number(text, style) == number
    assert parse_numbers([text], style).tolist() == [number]


@pytest.mark.parametrize("word", [*sorted(MISSING_WORDS), "No Data", "BAD", " NaN ", "I/O Timeout"])
def test_words_for_missing(word: str) -> None:
    assert isnan(parse_number(word))
    assert np.isnan(parse_numbers([word, None])).all()


def test_numbers_for_missing_where_set() -> None:
    style = NumberStyle(missing_values=(-9999.0,))
    assert isnan(parse_number(-9999, style))
    assert isnan(parse_number("-9999.0", style))
    np.testing.assert_array_equal(parse_numbers(["-9999", "1"], style), [nan, 1.0])


@pytest.mark.parametrize(
    ("text", "style"),
    [
        ("12 bar", NumberStyle()), ("1_000", NumberStyle()), ("0x10", NumberStyle()), ("1,5", NumberStyle()), ("\u0663", NumberStyle()),
        ("1.5", NumberStyle(decimal=",")), ("1.23,5", NumberStyle(decimal=",", thousands=".")), ("on", NumberStyle()),
    ],
)  # fmt: skip
def test_what_is_no_number_is_refused_with_its_place(text: str, style: NumberStyle) -> None:
    with pytest.raises(ReadingError, match="expected a number"):
        parse_number(text, style)
    with pytest.raises(ReadingError) as column:
        parse_numbers(["1", None, text], style)
    assert column.value.index == 2


def test_quoted_numbers_only_where_allowed() -> None:
    with pytest.raises(ReadingError, match=r"found '1\.5', expected a number, true, false or null"):
        parse_number("1.5", NumberStyle(texts=False))
    assert parse_number(True, NumberStyle(texts=False)) == 1.0
    assert isnan(parse_number(None, NumberStyle(texts=False)))


STYLES = [
    NumberStyle(), NumberStyle(decimal=","), NumberStyle(decimal=",", thousands="."), NumberStyle(thousands=","), NumberStyle(thousands=" "),
    NumberStyle(thousands="'", missing_values=(0.0,)),
]  # fmt: skip
_NEARLY_NUMBERS = st.text(alphabet="0123456789.,+-eE' truefalsnn/aNDBb\u00a0", max_size=9) | st.floats(
    allow_nan=True
).map(str)


@given(
    texts=st.lists(_NEARLY_NUMBERS | st.sampled_from(sorted(MISSING_WORDS)), max_size=4), style=st.sampled_from(STYLES)
)
@EXHAUSTIVE
def test_a_column_of_numbers_is_its_cells(texts: list[str], style: NumberStyle) -> None:
    single: list[float] = []
    try:
        single.extend(parse_number(text, style) for text in texts)
    except ReadingError:
        with pytest.raises(ReadingError) as column:
            parse_numbers(texts, style)
        assert column.value.index == len(single)
        return
    np.testing.assert_array_equal(parse_numbers(texts, style), single)


_FORMS = [
    "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S.%f", "%Y-%m-%dT%H:%M:%S.%f7Z", "%Y-%m-%d %H:%M:%S UTC", "%d.%m.%Y %H:%M:%S", "%Y/%m/%d %H:%M",
    "%d.%m.%Y %H:%M:%S.%f", "%Y%m%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S+02:00", "%Y-%m-%d", "%d-%b-%Y %I:%M:%S %p", "%Y%m%d%H%M%S", "%s", "%s%f",
]  # fmt: skip
_MOMENTS = st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1))


@given(
    texts=st.lists(st.tuples(_MOMENTS, st.sampled_from(_FORMS)), min_size=1, max_size=3).map(
        lambda pairs: [moment.strftime(form) for moment, form in pairs]
    )
    | st.tuples(st.lists(_MOMENTS, min_size=1, max_size=4), st.sampled_from(_FORMS)).map(
        lambda pair: [moment.strftime(pair[1]) for moment in pair[0]]
    )
    | st.lists(st.text(alphabet="0123456789-:. TZ+/", max_size=24), min_size=1, max_size=2),
    style=st.sampled_from(
        [TimeStyle(), TimeStyle(unit="iso"), TimeStyle(unit="ms"), TimeStyle(format="%d.%m.%Y %H:%M:%S.%f")]
    ),
)
@EXHAUSTIVE
def test_a_column_of_times_is_its_cells(texts: list[str], style: TimeStyle) -> None:
    single: list[int] = []
    try:
        single.extend(parse_time(text, style) for text in texts)
    except ReadingError:
        with pytest.raises(ReadingError):
            parse_times(texts, style)
        return
    assert parse_times(texts, style).tolist() == single
