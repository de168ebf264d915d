"""The times of a table: which columns hold them, how they are written, and whether they are in order."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.reading_columns import parse_times, parse_times_of_numbers
from wheeltapper.schemas.readings import ReadingError, TimeStyle, parse_time
from wheeltapper.schemas.text import first_names
from wheeltapper.training.datasets.csv_source import CsvSource
from wheeltapper.training.datasets.description import Description, own_description
from wheeltapper.training.datasets.table_columns import Columns

TIME_NAMES = ("time", "timestamp", "ts", "datetime", "date", "date_time", "date/time", "zeitstempel")
_DAY = re.compile(
    r"(?:[0-9]{1,4}[-/.][0-9]{1,2}[-/.][0-9]{1,4}|[0-9]{1,2}[- /][A-Za-z]{3,9}[- /][0-9]{2,4})(?:[ T]00[:.]00(?:[:.]00(?:\.0+)?)?)?"
)
_CLOCK = re.compile(r"[0-9]{1,2}(?::[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]+)?)?|\.[0-9]{2}\.[0-9]{2})(?:\s*[AaPp][Mm])?")
# Days whose form does not say which number is what, and clocks that may follow: tried where nothing is said.
_DAYS = (
    "%d/%m/%Y",
    "%m/%d/%Y",
    "%d-%m-%Y",
    "%m-%d-%Y",
    "%d/%m/%y",
    "%m/%d/%y",
    "%d.%m.%y",
    "%d-%b-%y",
    "%d/%b/%Y",
    "%y-%m-%d",
    "%y/%m/%d",
)
_CLOCKS = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %H.%M.%S", " %I:%M %p", " %I:%M:%S %p", " %H")
_HOUR_US = 3_600_000_000


def time_columns(source: CsvSource, description: Description) -> tuple[tuple[str, ...], str | None]:
    """The columns that hold a CSV file's times together, none where the clock is to be made up; and what to say.

    Raises:
        InputError: no such column.
    """
    own = own_description(source.path)
    names = tuple(name for name in source.names if name not in description.ignore)
    told = named_times(description)
    if told is not None:
        return told, None
    candidates = [name for name in names if name.lower() in TIME_NAMES] or [
        name for name in names if _holds_times(source.cells(name), description)
    ]
    if not candidates:
        raise InputError(_no_time(source.path, names))
    clocks = [name for name in names if _all_match(_CLOCK, source.cells(name))]
    days = [name for name in names if name not in clocks and _all_match(_DAY, source.cells(name))]
    if candidates[0] in days + clocks and len(days) == len(clocks) == 1:
        both = (days[0], clocks[0])
        return (
            both,
            f"times are read from the columns '{both[0]}' and '{both[1]}'; write time in {own} where they are not",
        )
    if candidates[0] in clocks:
        raise InputError(
            f"{source.path}: column '{candidates[0]}' holds times of day without a day; name the column with the day too, as time = "
            f'["Date", "{candidates[0]}"] in {own}, or write time = false for a clock of one row a minute'
        )
    return (candidates[0],), None


def named_times(description: Description) -> tuple[str, ...] | None:
    """The columns that a description names; empty for none, None where it does not say."""
    if description.time is False:
        return ()
    if isinstance(description.time, str):
        return (description.time,)
    return description.time if isinstance(description.time, tuple) else None


def time_column_of_parquet(columns: Columns, description: Description) -> tuple[str, ...]:
    """As `time_columns`, of a table whose columns have types."""
    told = named_times(description)
    if told is not None:
        return told
    for name in columns.names:
        if name.lower() in TIME_NAMES:
            return (name,)
    for name in columns.names:
        if name in columns.moments or (
            name in columns.texts and _holds_times(columns.texts[name].slice(0, 10).to_pylist(), description)
        ):
            return (name,)
    raise InputError(_no_time(columns.path, columns.names))


def read_times(columns: Columns, names: tuple[str, ...], description: Description) -> np.ndarray:
    """[T] int64 microseconds UTC.

    Raises:
        InputError: with the place of a cell that is no time, or with the formats that fit where there are several.
    """
    own, shown = own_description(columns.path), " + ".join(names)
    style = description.times()
    if len(names) == 1 and names[0] in columns.moments:
        return columns.moments[names[0]]
    try:
        if len(names) == 1 and names[0] in columns.numbers:
            return parse_times_of_numbers(columns.numbers[names[0]], style)
    except ReadingError as error:
        found = "the time is missing" if error.found == "nan" else f"found {error.found}, expected {error.expected}"
        raise InputError(f"{_where(columns, shown, error)}: {found}; set time_unit in {own}") from None
    texts = _joined(columns, names)
    empty = np.flatnonzero(np.asarray(pc.equal(texts, "").to_numpy(zero_copy_only=False), dtype=bool))
    if len(empty):
        raise InputError(
            f"{columns.path}, {columns.place(int(empty[0]))}, column '{shown}': the time is missing ({len(empty)} such rows); fill or drop "
            f"the rows, or write skip_footer in {own} where they are no rows"
        )
    try:
        return parse_times(texts, style)
    except ReadingError as error:
        if style.format is None:
            times = _of_a_format_found(columns, texts, shown, style)
            if times is not None:
                return times
        remedy = (
            "correct time_format"
            if style.format
            else "set time_format (strptime), and time where it is another column,"
        )
        raise InputError(
            f"{_where(columns, shown, error)}: found {error.found}, expected {error.expected}; {remedy} in {own}"
        ) from None


def _of_a_format_found(columns: Columns, texts: pa.Array, shown: str, style: TimeStyle) -> np.ndarray | None:
    """Times in the one format that reads every row; None where none does.

    Raises:
        InputError: several do.
    """
    first, own = texts[0].as_py(), own_description(columns.path)
    fitting: dict[str, np.ndarray] = {}
    for formatting in (day + clock for day in _DAYS for clock in _CLOCKS):
        tried = TimeStyle(style.unit, formatting, style.zone)
        try:
            parse_time(first, tried)
            fitting[formatting] = parse_times(texts, tried)
        except ReadingError:
            continue
    if len(fitting) > 1:
        wanted = " or ".join(f'time_format = "{formatting}"' for formatting in fitting)
        raise InputError(
            f"{columns.path}, column '{shown}': '{first}' can be read in {len(fitting)} ways, as day and month may stand in either "
            f"order; write {wanted} in {own}"
        )
    if not fitting:
        return None
    formatting, times = next(iter(fitting.items()))
    columns.notes.append(f'times are read as "{formatting}", the only order of day and month that fits every row')
    return times


def check_order(columns: Columns, times: np.ndarray, shown: str, description: Description) -> np.ndarray | None:
    """Rows to take, in the order of time, where the description asks for sorting; None: all as they are.

    Raises:
        InputError: the times do not rise, with the likely cause.
    """
    steps = np.diff(times)
    if (steps > 0).all():
        return None
    unique, first = np.unique(times, return_index=True)
    repeated = len(times) - len(unique)
    if description.sort:
        if repeated:
            columns.notes.append(
                f"{repeated} of {len(times)} rows repeat a time and are left out (sort = true): {_cause(columns, times, description)}"
            )
        return np.asarray(first)
    row = int(np.flatnonzero(steps <= 0)[0]) + 1
    own = own_description(columns.path)
    backward = steps[steps < 0]
    if not repeated:
        remedy = f"sort the file, or write sort = true in {own}"
    else:
        remedy = f"{repeated} of {len(times)} rows repeat a time: {_cause(columns, times, description)}"
    if len(backward) <= 2 and description.time_zone is None and len(backward) and (backward >= -_HOUR_US).all():
        remedy += f'; a clock that goes back by up to an hour is a local one: write time_zone = "Europe/Berlin", say, in {own}'
    raise InputError(
        f"{columns.path}, {columns.place(row)}, column '{shown}': the time is not after that of the row before, expected increasing "
        f"times; {remedy}"
    )


def _cause(columns: Columns, times: np.ndarray, description: Description) -> str:
    """Why times repeat, as far as the other columns tell."""
    own = own_description(columns.path)
    known = {*(named_times(description) or ()), description.machine, description.tag}
    codes: dict[str, tuple[np.ndarray, list[str]]] = {}
    for name, texts in columns.texts.items():
        found = pc.dictionary_encode(texts)
        if name not in known and 1 < len(found.dictionary) <= len(times) / 2:
            codes[name] = (
                np.asarray(found.indices.to_numpy(zero_copy_only=False), dtype=np.int64),
                found.dictionary.to_pylist(),
            )
    for name, (which, words) in codes.items():
        if _is_key(times, which):
            shown = first_names([repr(word) for word in words], 3)
            return (
                f"each time occurs once for each of {shown} in column '{name}'; write machine = \"{name}\" in {own} where it names the "
                f'machine, or tag = "{name}" and value = ".." where it names the channel'
            )
    for one, other in itertools.combinations(list(codes)[:8], 2):
        if _is_key(times, codes[one][0], codes[other][0]):
            return (
                f"each time occurs once for each pair of columns '{one}' and '{other}'; write machine = \"{one}\", tag = \"{other}\" and value = "
                f'".." in {own}, or the two the other way round'
            )
    if len(np.unique(times)) < len(times) / 2:
        return f'times are coarser than rows, or another column holds the time of day: name both, as time = ["..", ".."] in {own}'
    return "rows written twice, or times coarser than rows; leave such rows out of the file, or give each its own time"


def _is_key(times: np.ndarray, *columns: np.ndarray) -> bool:
    return len(np.unique(np.stack([times, *columns], axis=1), axis=0)) == len(times)


def _where(columns: Columns, shown: str, error: ReadingError) -> str:
    return f"{columns.path}, {columns.place(error.index or 0)}, column '{shown}'"


def _joined(columns: Columns, names: tuple[str, ...]) -> pa.Array:
    parts = [pc.utf8_trim_whitespace(columns.texts[name]) for name in names]
    if len(parts) == 1:
        return parts[0]
    # A spreadsheet writes a day with the clock 00:00:00 where another column holds the clock.
    parts[0] = pc.replace_substring_regex(parts[0], r"^(.*[0-9])[ T]00[:.]00(?:[:.]00(?:\.0+)?)?$", r"\1")
    return pc.utf8_trim_whitespace(pc.binary_join_element_wise(*parts, " "))


def _holds_times(cells: list[str], description: Description) -> bool:
    style = TimeStyle("iso", description.time_format, description.time_zone)
    said = [cell for cell in cells if cell][:10]
    try:
        for cell in said:
            parse_time(cell, style)
    except ReadingError:
        return bool(said) and description.time_format is None and all(_DAY.match(cell) for cell in said)
    return bool(said)


def _all_match(pattern: re.Pattern[str], cells: list[str]) -> bool:
    return bool(cells) and all(pattern.fullmatch(cell) for cell in cells)


def _no_time(path: Path, names: tuple[str, ...]) -> str:
    return (
        f'{path}: found no time column among {first_names(names, 12)}; name it in {own_description(path)} as time = "column" (or '
        '["day", "clock"]), or write time = false for a clock of one row a minute'
    )
