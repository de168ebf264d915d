"""Reads numbers and times as plants write them: one reader for tables (whole columns) and for messages (single values).

    parse_number("1.234,5", NumberStyle(decimal=",", thousands="."))      1234.5
    parse_number("No Data")                                               nan
    parse_time("2024-05-01T08:00:00.1234567Z")                            1714550400123456
    parse_time(1714550400000)                                             1714550400000000: its size tells the unit
    parse_time("27.10.2024 02:30", TimeStyle(zone="Europe/Berlin"), near=...)

Columns of tables are read by `reading_columns`, cell for cell with the same result; messages need none of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from math import isfinite, nan
from typing import Any, Literal, get_args

from wheeltapper.schemas.clock import MAX_MICROS, MIN_MICROS
from wheeltapper.schemas.local_times import check_zone, local_to_utc
from wheeltapper.schemas.time_texts import (
    INSTANT,
    check_format,
    micros_of_format,
    micros_of_iso,
    micros_of_text,
)

TimeUnit = Literal["auto", "s", "ms", "us", "ns", "iso"]

# What spreadsheets, historians (the digital states of PI among them) and loggers write where there is no value; in lower case.
MISSING_WORDS = frozenset(
    (
        "", "-", "--", "---", "?", "na", "n/a", "n.a.", "#n/a", "#na", "#n/a n/a", "nan", "-nan", "1.#ind", "-1.#ind", "1.#qnan",
        "-1.#qnan", "1.#snan", "null", "(null)", "none", "nil", "missing", "bad", "bad input", "bad data", "no data", "nodata",
        "no value", "no result", "no good data", "i/o timeout", "pt created", "calc failed", "calc overflow", "scan off",
        "scan timeout", "shutdown", "comm fail", "comm error", "intf shut", "not connect", "out of serv", "configure", "over range",
        "under range", "invalid", "#value!", "#ref!", "#div/0!", "#num!", "#name?", "#null!",
    )
)  # fmt: skip
_BOOLEANS = {"true": 1.0, "false": 0.0}
_BLANKS = " \u00a0\u202f"
MICROS_PER = {"us": 1, "ms": 1_000, "s": 1_000_000}
# A number as a time is an instant after 2001-09-09, so that its size tells its unit.
_SMALLEST = (("ns", 10**18), ("us", 10**15), ("ms", 10**12), ("s", 10**9))
_DIGITS = re.compile(r"[+-]?[0-9]+")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
# 20240501 and 20240501080000 are days and seconds written without separators, not seconds and milliseconds since 1970.
_COMPACT = re.compile(r"(?:19|20)[0-9]{6}(?:[0-9]{6})?")
COMPACT_RANGES = ((19_000_101, 21_000_101), (19_000_101_000_000, 21_000_101_000_000))


class ReadingError(ValueError):
    """A value that is not what it should be.

    Attributes:
        found: the value, as one line that is not long.
        expected: what it should have been, and where it helps, what to do.
        index: its position in the column; None of a single value.
    """

    def __init__(self, found: object, expected: str, index: int | None = None) -> None:
        shown = f"'{' '.join(found.split())}'" if isinstance(found, str) else repr(found)
        self.found = shown if len(shown) <= 60 else shown[:57] + "..."
        self.expected = expected
        self.index = index
        super().__init__(f"found {self.found}, expected {expected}")


@dataclass(frozen=True)
class NumberStyle:
    """How a source writes numbers.

    Attributes:
        decimal: "." or ",".
        thousands: "", or what stands between groups of three digits: ".", ",", "'" or " " (any blank).
        missing_words: texts that say that there is no value, in lower case.
        missing_values: numbers that say so, e.g. -9999.
        texts: whether a number in a message may be a text ("3.2"); columns of tables are texts anyway.
    """

    decimal: str = "."
    thousands: str = ""
    missing_words: frozenset[str] = MISSING_WORDS
    missing_values: tuple[float, ...] = ()
    texts: bool = True

    def __post_init__(self) -> None:
        if self.decimal not in (".", ","):
            raise ValueError(f"decimal is {self.decimal!r}, expected '.' or ','")
        if self.thousands not in ("", ".", ",", "'", " ") or self.thousands == self.decimal:
            raise ValueError(
                f"thousands is {self.thousands!r}, expected '.', ',', \"'\" or ' ', and another than decimal {self.decimal!r}"
            )


@dataclass(frozen=True)
class TimeStyle:
    """How a source writes times.

    Attributes:
        unit: of numbers since 1970-01-01 UTC; auto: their size tells it. iso: numbers are refused.
        format: strptime format of texts; None: ISO 8601 and what `time_texts` lists.
        zone: IANA name of the zone of texts without an offset; None: UTC.
    """

    unit: TimeUnit = "auto"
    format: str | None = None
    zone: str | None = None

    def __post_init__(self) -> None:
        if self.unit not in get_args(TimeUnit):
            raise ValueError(f"unit is {self.unit!r}, expected one of {', '.join(get_args(TimeUnit))}")
        if self.format is not None:
            check_format(self.format)
        if self.zone is not None:
            check_zone(self.zone)


PLAIN_NUMBERS = NumberStyle()
PLAIN_TIMES = TimeStyle()


def parse_number(value: Any, style: NumberStyle = PLAIN_NUMBERS) -> float:
    """A number, a boolean (1 and 0), None or a text as float; NaN for what is missing, infinite where it is beyond float64.

    Raises:
        ReadingError: anything else.
    """
    if value is None:
        return nan
    if isinstance(value, int | float):
        try:
            number = float(value)
        except OverflowError:
            return float("inf") if value > 0 else float("-inf")
    elif isinstance(value, str) and style.texts:
        number = _number_of_text(value, style)
    else:
        raise ReadingError(value, "a number, true, false or null")
    return nan if number in style.missing_values else number


def parse_time(value: Any, style: TimeStyle = PLAIN_TIMES, near: int | None = None) -> int:
    """A number since 1970 or a text as microseconds UTC; digits after the microseconds are cut off.

    Args:
        near: a time near which it must be, e.g. the record's own: tells which of two equal local hours is meant. Without it, or
            where neither is within a day of it, the first of the two counts.

    Raises:
        ReadingError: no such time, or outside of the years 1 to 9999.
    """
    if isinstance(value, str):
        micros = _iso(value, style) if value[4:5] == "-" else None  # the commonest form, without a detour
        if micros is None:
            micros = _time_of_text(value.strip(), style, near)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        micros = _time_of_number(value, style)
    else:
        raise ReadingError(value, expected_time(style))
    if not MIN_MICROS <= micros <= MAX_MICROS:
        raise ReadingError(value, "a time in the years 1 to 9999: is the unit right?")
    return micros


def guess_unit(value: float) -> str | None:
    """s, ms, us or ns by the size of a time since 1970; None where it is before 2001-09-09 in seconds."""
    return next((unit for unit, smallest in _SMALLEST if value >= smallest), None)


def group(style: NumberStyle) -> str:
    return _BLANKS if style.thousands == " " else re.escape(style.thousands)


@lru_cache(maxsize=64)
def number_pattern(style: NumberStyle) -> str:
    whole = f"[0-9]{{1,3}}(?:[{group(style)}][0-9]{{3}})+|[0-9]+" if style.thousands else "[0-9]+"
    point = re.escape(style.decimal)
    return f"[+-]?(?:(?:{whole})(?:{point}[0-9]*)?|{point}[0-9]+)(?:[eE][+-]?[0-9]+)?|[+-]?(?i:inf(?:inity)?)"


@lru_cache(maxsize=64)
def _compiled(style: NumberStyle) -> re.Pattern[str]:
    return re.compile(number_pattern(style))


def _number_of_text(text: str, style: NumberStyle) -> float:
    stripped = text.strip()
    if _compiled(style).fullmatch(stripped):
        if style.thousands:
            for separator in _BLANKS if style.thousands == " " else style.thousands:
                stripped = stripped.replace(separator, "")
        return float(stripped.replace(",", ".") if style.decimal == "," else stripped)
    word = stripped.lower()
    if word in style.missing_words:
        return nan
    boolean = _BOOLEANS.get(word)
    if boolean is None:
        raise ReadingError(text, expected_number(style))
    return boolean


def expected_number(style: NumberStyle) -> str:
    extra = " with a decimal comma" if style.decimal == "," else ""
    return f"a number{extra}, true, false, or an empty cell or a word for missing"


def _time_of_number(value: float, style: TimeStyle) -> int:
    if isinstance(value, float) and not isfinite(value):
        raise ReadingError(value, expected_time(style))
    unit: str | None = style.unit
    if unit == "auto":
        if isinstance(value, int) and any(low <= value < high for low, high in COMPACT_RANGES):
            return _time_of_text(str(value), style, None)
        unit = guess_unit(value)
    if unit is None:
        raise ReadingError(value, "a time since 1970 in s, ms, us or ns after 2001-09-09 (or say its unit)")
    if unit == "iso":
        raise ReadingError(value, expected_time(style))
    if unit == "ns":
        return int(value // 1_000)
    return int(value) * MICROS_PER[unit] if isinstance(value, int) else round(value * MICROS_PER[unit])


def _iso(text: str, style: TimeStyle) -> int | None:
    """Microseconds UTC of ISO 8601, where nothing else has to be known to tell; else None."""
    if style.format is not None:
        return None
    try:
        micros, is_local = micros_of_iso(text)
    except ValueError:
        return None
    return None if is_local and style.zone is not None else micros


def _time_of_text(text: str, style: TimeStyle, near: int | None) -> int:
    micros, is_local = moment(text, style)
    return local_to_utc(micros, style.zone, near) if is_local and style.zone is not None else micros


def moment(text: str, style: TimeStyle) -> tuple[int, bool]:
    """Microseconds of the clock's digits, and whether they are local; of a text with an offset, microseconds UTC and False."""
    if style.format is not None:
        try:
            return micros_of_format(text, style.format)
        except ValueError:
            raise ReadingError(text, expected_time(style)) from None
    if style.unit != "iso" and not (style.unit == "auto" and _COMPACT.fullmatch(text)):
        if _DIGITS.fullmatch(text) and len(text) < 30:
            return _number_as_text(text, int(text), style), False
        if _DECIMAL.fullmatch(text):
            return _number_as_text(text, float(text), style), False
    try:
        return micros_of_text(text)
    except ValueError:
        raise ReadingError(text, expected_time(style)) from None


def _number_as_text(text: str, number: float, style: TimeStyle) -> int:
    try:
        return _time_of_number(number, style)
    except ReadingError as error:
        raise ReadingError(text, error.expected) from None


def expected_time(style: TimeStyle) -> str:
    if style.format is not None:
        return f"a time as in '{style.format}'"
    number = {"auto": " or a number since 1970", "iso": ""}.get(style.unit, f" or a number of {style.unit} since 1970")
    return f"ISO 8601, e.g. {INSTANT}{number}, or a known format"
