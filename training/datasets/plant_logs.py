"""Logs of the iTrust testbeds (SWaT, WADI): headers of several lines, and columns that say normal or attack.

A spreadsheet program wrote these files: a line or more stands above the column names, names and cells begin with blanks,
and clocks are written with AM and PM.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.tables import SEPARATORS, first_lines, times_from_text

# Lines above the column names in the longest preamble known (WADI of 2017), and some to spare.
_MOST_HEADER_LINES = 12
_NOON = re.compile(r"\b[ap]m\b", re.IGNORECASE)


@dataclass(frozen=True)
class Header:
    """Where a log's rows begin: names of all columns, and how many lines come before the first row."""

    separator: str
    names: tuple[str, ...]
    lines: int

    def line(self, row: int) -> int:
        """Line of the file that holds row `row`, counted from 0."""
        return self.lines + row + 1


def find_header(path: Path, first_names: Sequence[str]) -> Header:
    """The line that holds a log's column names: the first with a cell among `first_names`, whatever its case.

    Names lose surrounding blanks and a path before them (`\\\\HOST\\LOG_DATA\\1_AIT_001_PV`); unnamed columns at the end are
    called 'unnamed 1', ..

    Raises:
        InputError: no such line among the first twelve, or a name twice.
    """
    wanted = {name.lower() for name in first_names}
    for number, line in enumerate(first_lines(path, _MOST_HEADER_LINES), start=1):
        separator = max(SEPARATORS, key=line.count)
        cells = [cell.strip() for cell in next(csv.reader([line], delimiter=separator), [])]
        if not wanted & {cell.lower() for cell in cells}:
            continue
        names = [cell.rpartition("\\")[2].strip() or f"unnamed {position}" for position, cell in enumerate(cells, 1)]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InputError(f"{path}, line {number}: column '{twice[0]}' occurs twice, expected distinct names")
        return Header(separator, tuple(names), number)
    raise InputError(
        f"{path}: none of the first {_MOST_HEADER_LINES} lines has a column '{first_names[0]}', expected the line with the "
        "column names; export the whole sheet as CSV"
    )


def log_times(path: Path, column: pa.ChunkedArray, name: str, date: str, seconds_fraction: bool = False) -> np.ndarray:
    """[T] int64 microseconds UTC of a log's clock.

    Args:
        date: strptime format of the day, e.g. '%d/%m/%Y'; a text that starts with the year is read as ISO 8601.
        seconds_fraction: whether seconds have decimals, which are cut off.

    Raises:
        InputError: a cell of another form.
    """
    column = pc.utf8_trim_whitespace(column)
    if seconds_fraction:
        column = pc.replace_substring_regex(column, r"(:\d\d)\.\d+", r"\1")
    first = str(column[0].as_py())
    if re.match(r"\d{4}-", first):
        return times_from_text(path, column, name)
    return times_from_text(path, column, name, f"{date} %I:%M:%S %p" if _NOON.search(first) else f"{date} %H:%M:%S")


def same_channels(path: Path, channels: Sequence[str], other: Path, expected: Sequence[str]) -> None:
    """Raises InputError: not the same channels, whatever their order."""
    differing = sorted(set(channels) ^ set(expected))
    if differing:
        raise InputError(
            f"{path} has other channels than {other.name}, expected the same; they differ in "
            f"{', '.join(differing[:5])}: take both from one release"
        )
