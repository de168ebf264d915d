"""Reads numbers and times as plants write them: one reader for tables (whole columns) and for messages (single values).

    parse_number("1.234,5", NumberStyle(decimal=",", thousands="."))      1234.5
    parse_number("No Data")                                               nan
    parse_time("2024-05-01T08:00:00.1234567Z")                            1714550400123456
    parse_time(1714550400000)                                             1714550400000000: its size tells the unit
    parse_time("27.10.2024 02:30", TimeStyle(zone="Europe/Berlin"), near=...)

`parse_numbers` and `parse_times` give for a column of texts what the single forms give for each of its cells, with pyarrow where
it can. A column knows one thing more: the order of its rows tells the two hours apart that a local clock shows twice in autumn.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from math import isfinite, nan
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from wheeltapper.schemas.clock import MAX_MICROS, MIN_MICROS
from wheeltapper.schemas.local_times import check_zone, local_to_utc, utc_column
from wheeltapper.schemas.time_texts import (
    INSTANT,
    check_format,
    column_of_format,
    column_of_known,
    micros_of_format,
    micros_of_iso,
    micros_of_text,
)

__all__ = [
    "MISSING_WORDS",
    "PLAIN_NUMBERS",
    "PLAIN_TIMES",
    "NumberStyle",
    "ReadingError",
    "TimeStyle",
    "TimeUnit",
    "guess_unit",
    "parse_number",
    "parse_numbers",
    "parse_time",
    "parse_times",
    "parse_times_of_numbers",
]

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
_MICROS_PER = {"us": 1, "ms": 1_000, "s": 1_000_000}
# A number as a time is an instant after 2001-09-09, so that its size tells its unit.
_SMALLEST = (("ns", 10**18), ("us", 10**15), ("ms", 10**12), ("s", 10**9))
_DIGITS = re.compile(r"[+-]?[0-9]+")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
# 20240501 and 20240501080000 are days and seconds written without separators, not seconds and milliseconds since 1970.
_COMPACT = re.compile(r"(?:19|20)[0-9]{6}(?:[0-9]{6})?")
_COMPACT_RANGES = ((19_000_101, 21_000_101), (19_000_101_000_000, 21_000_101_000_000))


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


def parse_numbers(
    column: pa.Array | pa.ChunkedArray | Iterable[str | None], style: NumberStyle = PLAIN_NUMBERS
) -> np.ndarray:
    """[T] float64 of a column of texts, each as `parse_number` reads it.

    Raises:
        ReadingError: with the position of the first cell that is no number.
    """
    texts = pc.utf8_trim_whitespace(_texts(column))
    lower = pc.utf8_lower(texts)
    missing = pc.or_kleene(pc.is_null(texts), pc.is_in(lower, pa.array(sorted(style.missing_words), pa.string())))
    true, false = pc.equal(lower, "true"), pc.equal(lower, "false")
    other = pc.or_kleene(missing, pc.or_kleene(true, false))
    plain = pc.if_else(other, pa.scalar("0"), texts)
    valid = pc.match_substring_regex(plain, f"^(?:{_number_pattern(style)})$")
    wrong = np.flatnonzero(~np.asarray(valid.to_numpy(zero_copy_only=False), dtype=bool))
    if len(wrong):
        index = int(wrong[0])
        raise ReadingError(texts[index].as_py(), _expected_number(style), index)
    plain = pc.utf8_ltrim(plain, "+")
    if style.thousands:
        plain = pc.replace_substring_regex(plain, f"[{_group(style)}]", "")
    if style.decimal == ",":
        plain = pc.replace_substring(plain, ",", ".")
    try:
        numbers = pc.cast(plain, pa.float64()).to_numpy(zero_copy_only=False).copy()
    except pa.ArrowInvalid:  # a form that only Python reads
        numbers = np.array([float(text) for text in plain.to_pylist()])
    numbers[true.to_numpy(zero_copy_only=False) == 1] = 1.0
    numbers[missing.to_numpy(zero_copy_only=False) == 1] = nan
    if style.missing_values:
        numbers[np.isin(numbers, style.missing_values)] = nan
    return numbers


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
        raise ReadingError(value, _expected_time(style))
    if not MIN_MICROS <= micros <= MAX_MICROS:
        raise ReadingError(value, "a time in the years 1 to 9999: is the unit right?")
    return micros


def parse_times(column: pa.Array | pa.ChunkedArray | Iterable[str], style: TimeStyle = PLAIN_TIMES) -> np.ndarray:
    """[T] int64 microseconds UTC of a column of texts, each as `parse_time` reads it.

    Of local times in an hour that the clock shows twice, those from the first step back on are of the second pass.

    Raises:
        ReadingError: with the position of the first cell that is no time, an empty one included.
    """
    texts = pc.utf8_trim_whitespace(_texts(column))
    if texts.null_count:
        index = int(np.flatnonzero(texts.is_null().to_numpy(zero_copy_only=False))[0])
        raise ReadingError("", f"{_expected_time(style)}: the time is missing", index)
    if not len(texts):
        return np.empty(0, dtype=np.int64)
    if (
        style.format is None
        and style.unit != "iso"
        and pc.all(pc.match_substring_regex(texts, r"^[+-]?[0-9]+$")).as_py()
    ):
        try:
            return parse_times_of_numbers(pc.cast(pc.utf8_ltrim(texts, "+"), pa.int64()).to_numpy(), style)
        except pa.ArrowInvalid:  # beyond 64 bits: the loop names it
            pass
    found = column_of_known(texts) if style.format is None else column_of_format(texts, style.format)
    if found is None:
        found = _one_by_one(texts.to_pylist(), style)
    local, is_local = found
    if style.zone is None or not is_local.any():
        micros = local
    else:
        micros = local.copy()
        micros[is_local] = utc_column(local[is_local], style.zone)
    _check_range(micros, texts)
    return micros


def parse_times_of_numbers(values: np.ndarray, style: TimeStyle = PLAIN_TIMES) -> np.ndarray:
    """[T] int64 microseconds UTC of integers or floats, each as `parse_time` reads it.

    Raises:
        ReadingError: with the position of the first that is no time.
    """
    if style.unit != "iso" and np.issubdtype(values.dtype, np.integer):
        values = values.astype(np.int64)
        unit = style.unit
        if unit == "auto" and len(values):
            units = {guess_unit(int(values.min())), guess_unit(int(values.max()))}
            unit = units.pop() if len(units) == 1 else "auto"  # type: ignore[assignment]
        compact = any((values >= low).any() and (values < high).any() for low, high in _COMPACT_RANGES)
        if unit == "ns":
            return np.asarray(values // 1_000)
        if unit in _MICROS_PER and not (style.unit == "auto" and compact):
            factor = _MICROS_PER[unit]
            if len(values) and MIN_MICROS // factor < values.min() and values.max() < MAX_MICROS // factor:
                return np.asarray(values * factor)
    micros = np.empty(len(values), dtype=np.int64)
    for index, value in enumerate(values.tolist()):
        try:
            micros[index] = parse_time(value, style)
        except ReadingError as error:
            raise ReadingError(value, error.expected, index) from None
    return micros


def guess_unit(value: float) -> str | None:
    """s, ms, us or ns by the size of a time since 1970; None where it is before 2001-09-09 in seconds."""
    return next((unit for unit, smallest in _SMALLEST if value >= smallest), None)


def _texts(column: pa.Array | pa.ChunkedArray | Iterable[str | None]) -> pa.Array:
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    texts = column if isinstance(column, pa.Array) else pa.array(list(column), pa.string())
    return texts if pa.types.is_string(texts.type) else pc.cast(texts, pa.string())


def _group(style: NumberStyle) -> str:
    return _BLANKS if style.thousands == " " else re.escape(style.thousands)


@lru_cache(maxsize=64)
def _number_pattern(style: NumberStyle) -> str:
    whole = f"[0-9]{{1,3}}(?:[{_group(style)}][0-9]{{3}})+|[0-9]+" if style.thousands else "[0-9]+"
    point = re.escape(style.decimal)
    return f"[+-]?(?:(?:{whole})(?:{point}[0-9]*)?|{point}[0-9]+)(?:[eE][+-]?[0-9]+)?|[+-]?(?i:inf(?:inity)?)"


@lru_cache(maxsize=64)
def _compiled(style: NumberStyle) -> re.Pattern[str]:
    return re.compile(_number_pattern(style))


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
        raise ReadingError(text, _expected_number(style))
    return boolean


def _expected_number(style: NumberStyle) -> str:
    extra = " with a decimal comma" if style.decimal == "," else ""
    return f"a number{extra}, true, false, or an empty cell or a word for missing"


def _time_of_number(value: float, style: TimeStyle) -> int:
    if isinstance(value, float) and not isfinite(value):
        raise ReadingError(value, _expected_time(style))
    unit: str | None = style.unit
    if unit == "auto":
        if isinstance(value, int) and any(low <= value < high for low, high in _COMPACT_RANGES):
            return _time_of_text(str(value), style, None)
        unit = guess_unit(value)
    if unit is None:
        raise ReadingError(value, "a time since 1970 in s, ms, us or ns after 2001-09-09 (or say its unit)")
    if unit == "iso":
        raise ReadingError(value, _expected_time(style))
    if unit == "ns":
        return int(value // 1_000)
    return int(value) * _MICROS_PER[unit] if isinstance(value, int) else round(value * _MICROS_PER[unit])


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
    micros, is_local = _moment(text, style)
    return local_to_utc(micros, style.zone, near) if is_local and style.zone is not None else micros


def _moment(text: str, style: TimeStyle) -> tuple[int, bool]:
    """Microseconds of the clock's digits, and whether they are local; of a text with an offset, microseconds UTC and False."""
    if style.format is not None:
        try:
            return micros_of_format(text, style.format)
        except ValueError:
            raise ReadingError(text, _expected_time(style)) from None
    if style.unit != "iso" and not (style.unit == "auto" and _COMPACT.fullmatch(text)):
        if _DIGITS.fullmatch(text) and len(text) < 30:
            return _number_as_text(text, int(text), style), False
        if _DECIMAL.fullmatch(text):
            return _number_as_text(text, float(text), style), False
    try:
        return micros_of_text(text)
    except ValueError:
        raise ReadingError(text, _expected_time(style)) from None


def _number_as_text(text: str, number: float, style: TimeStyle) -> int:
    try:
        return _time_of_number(number, style)
    except ReadingError as error:
        raise ReadingError(text, error.expected) from None


def _one_by_one(texts: list[str], style: TimeStyle) -> tuple[np.ndarray, np.ndarray]:
    micros, is_local = np.empty(len(texts), dtype=np.int64), np.empty(len(texts), dtype=bool)
    for index, text in enumerate(texts):
        try:
            micros[index], is_local[index] = _moment(text, style)
        except OverflowError:
            raise ReadingError(text, "a time in the years 1 to 9999: is the unit right?", index) from None
        except ReadingError as error:
            raise ReadingError(text, error.expected, index) from None
    return micros, is_local


def _check_range(micros: np.ndarray, texts: pa.Array) -> None:
    wrong = np.flatnonzero((micros < MIN_MICROS) | (micros > MAX_MICROS))
    if len(wrong):
        index = int(wrong[0])
        raise ReadingError(texts[index].as_py(), "a time in the years 1 to 9999: is the unit right?", index)


def _expected_time(style: TimeStyle) -> str:
    if style.format is not None:
        return f"a time as in '{style.format}'"
    number = {"auto": " or a number since 1970", "iso": ""}.get(style.unit, f" or a number of {style.unit} since 1970")
    return f"ISO 8601, e.g. {INSTANT}{number}, or a known format"
