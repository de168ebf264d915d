"""Whole columns of a table: numbers and times as `wheeltapper.schemas.readings` reads each of their cells, with pyarrow where it can.

A column knows one thing more than a cell: the order of its rows tells the two hours apart that a local clock shows twice in autumn.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import nan

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from wheeltapper.schemas.clock import MAX_MICROS, MIN_MICROS
from wheeltapper.schemas.readings import (
    COMPACT_RANGES,
    MICROS_PER,
    PLAIN_NUMBERS,
    PLAIN_TIMES,
    NumberStyle,
    ReadingError,
    TimeStyle,
    expected_number,
    expected_time,
    group,
    guess_unit,
    moment,
    number_pattern,
    parse_time,
)
from wheeltapper.schemas.time_columns import column_of_format, column_of_known, utc_column


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
    valid = pc.match_substring_regex(plain, f"^(?:{number_pattern(style)})$")
    wrong = np.flatnonzero(~np.asarray(valid.to_numpy(zero_copy_only=False), dtype=bool))
    if len(wrong):
        index = int(wrong[0])
        raise ReadingError(texts[index].as_py(), expected_number(style), index)
    plain = pc.utf8_ltrim(plain, "+")
    if style.thousands:
        plain = pc.replace_substring_regex(plain, f"[{group(style)}]", "")
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


def parse_times(column: pa.Array | pa.ChunkedArray | Iterable[str], style: TimeStyle = PLAIN_TIMES) -> np.ndarray:
    """[T] int64 microseconds UTC of a column of texts, each as `parse_time` reads it.

    Of local times in an hour that the clock shows twice, those from the first step back on are of the second pass.

    Raises:
        ReadingError: with the position of the first cell that is no time, an empty one included.
    """
    texts = pc.utf8_trim_whitespace(_texts(column))
    if texts.null_count:
        index = int(np.flatnonzero(texts.is_null().to_numpy(zero_copy_only=False))[0])
        raise ReadingError("", f"{expected_time(style)}: the time is missing", index)
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
        compact = any((values >= low).any() and (values < high).any() for low, high in COMPACT_RANGES)
        if unit == "ns":
            return np.asarray(values // 1_000)
        if unit in MICROS_PER and not (style.unit == "auto" and compact):
            factor = MICROS_PER[unit]
            if len(values) and MIN_MICROS // factor < values.min() and values.max() < MAX_MICROS // factor:
                return np.asarray(values * factor)
    micros = np.empty(len(values), dtype=np.int64)
    for index, value in enumerate(values.tolist()):
        try:
            micros[index] = parse_time(value, style)
        except ReadingError as error:
            raise ReadingError(value, error.expected, index) from None
    return micros


def _texts(column: pa.Array | pa.ChunkedArray | Iterable[str | None]) -> pa.Array:
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    texts = column if isinstance(column, pa.Array) else pa.array(list(column), pa.string())
    return texts if pa.types.is_string(texts.type) else pc.cast(texts, pa.string())


def _one_by_one(texts: list[str], style: TimeStyle) -> tuple[np.ndarray, np.ndarray]:
    micros, is_local = np.empty(len(texts), dtype=np.int64), np.empty(len(texts), dtype=bool)
    for index, text in enumerate(texts):
        try:
            micros[index], is_local[index] = moment(text, style)
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
