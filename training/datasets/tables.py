"""Reads numbers and times from text files with pyarrow; errors name the exact place in the file.

The fast path parses whole files in C++. Only when it refuses a file is the file read again, line by line, to name
the line and the column at fault.
"""

from __future__ import annotations

import csv
import gzip
import itertools
import math
import warnings
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.reading_columns import parse_times, parse_times_of_numbers
from wheeltapper.schemas.readings import ReadingError, TimeStyle, TimeUnit

SEPARATORS = (",", ";", "\t", "|")

# Written first by 'git clone' where the real file is kept by Git LFS.
LFS_POINTER = "version https://git-lfs.github.com/spec"
# What reading a cut or damaged (compressed) text file raises.
BROKEN = (OSError, EOFError, zlib.error, csv.Error)

# Arrow's own names of a missing value, and cells of nothing but blanks.
_MISSING = (*pa_csv.ConvertOptions().null_values, *(" " * width for width in range(1, 9)))


def read_matrix(path: Path, *, columns: int, separator: str = ",") -> np.ndarray:
    """Numbers without a header: [T, columns] float32, NaN for empty cells.

    Raises:
        InputError: unreadable, empty, another number of columns, or a cell that is not a finite number.
    """
    names = [str(number) for number in range(1, columns + 1)]
    types = {name: pa.float64() for name in names}
    table = _read(path, separator, names, types, header=0)
    return as_float32(path, table, names)


def read_header(path: Path, separator: str | None = None) -> tuple[str, tuple[str, ...]]:
    """Separator (found in the first line unless given) and column names, without surrounding blanks, of a CSV file."""
    first = (first_lines(path, 1) or [""])[0]
    if not first.strip():
        raise InputError(f"{path}: the first line is empty, expected column names")
    separator = separator or max(SEPARATORS, key=first.count)
    names = tuple(name.strip() for name in next(csv.reader([first], delimiter=separator)))
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"{path}, line 1: column {twice[0]!r} occurs twice, expected distinct names; rename one")
    return separator, names


def first_lines(path: Path, most: int) -> list[str]:
    """The first lines of a text file, without their ends.

    Raises:
        InputError: unreadable, a broken .gz, or a Git LFS pointer.
    """
    try:
        with open_text(path) as file:
            lines = [line.rstrip("\r\n") for line in itertools.islice(file, most)]
    except BROKEN as error:
        raise InputError(f"{path}: cannot be read ({error}); copy the file again") from error
    if lines and lines[0].startswith(LFS_POINTER):
        raise InputError(f"{path} is a Git LFS pointer, not the data; run 'git lfs pull' in its repository")
    return lines


def read_columns(
    path: Path,
    separator: str,
    names: Sequence[str],
    *,
    numbers: Sequence[str],
    texts: Sequence[str] = (),
    header_lines: int = 1,
) -> pa.Table:
    """Some columns of a CSV file with a header.

    Args:
        names: every column of the file, as `read_header` gave them.
        numbers: columns to read as float64, null where the cell is empty.
        texts: columns to read as strings.
        header_lines: lines before the first row, the one with the names included.
    """
    types = {name: pa.float64() for name in numbers} | {name: pa.string() for name in texts}
    return _read(path, separator, names, types, header=header_lines)


def read_spaced(path: Path) -> np.ndarray:
    """Numbers separated by blanks, without a header: [rows, columns] float32, as many columns as the first line has.

    Raises:
        InputError: unreadable, empty, a line of another length, or a cell that is not a finite number.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # numpy's "input contained no data"; said below
            values = np.loadtxt(path, dtype=np.float64, ndmin=2, comments=None)
    except (ValueError, *BROKEN) as error:
        raise InputError(_explain_spaced(path, error)) from error
    if not values.size:
        raise InputError(f"{path}: has no rows, expected numbers separated by blanks; copy the file again")
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32)
    wrong = np.argwhere(~np.isfinite(narrow))
    if len(wrong):
        row, column = (int(part) + 1 for part in wrong[0])
        raise InputError(
            f"{path}, line {row}, column {column}: found {values[row - 1, column - 1]:g}, expected a finite number"
        )
    return narrow


def as_float32(path: Path, table: pa.Table, names: Sequence[str]) -> np.ndarray:
    """[T, len(names)] float32 of a table's columns; NaN for nulls.

    Raises:
        InputError: a value that is infinite, or too large for float32.
    """
    values = np.empty((table.num_rows, len(names)), dtype=np.float32)
    with np.errstate(over="ignore"):
        for position, name in enumerate(names):
            column = table.column(name)
            if not pa.types.is_floating(column.type):
                column = pc.cast(column, pa.float64())
            values[:, position] = column.to_numpy(zero_copy_only=False)
    wrong = np.isinf(values)
    if wrong.any():
        row, column_index = (int(part) for part in np.argwhere(wrong)[0])
        raise InputError(
            f"{path}, row {row + 1} of the data, column '{names[column_index]}': the value is infinite or beyond "
            "float32, expected a finite number or an empty cell"
        )
    return values


def times_from_text(path: Path, column: pa.ChunkedArray, name: str, formatting: str | None = None) -> np.ndarray:
    """[T] int64 microseconds UTC of a column of texts; a time without an offset is UTC.

    Args:
        formatting: strptime format; None: ISO 8601 and what `time_texts` lists.

    Raises:
        InputError: a cell that is none of these.
    """
    try:
        return parse_times(column, TimeStyle("iso", formatting))
    except ReadingError as error:
        raise InputError(_wrong_time(path, name, error)) from None


def times_from_numbers(path: Path, values: np.ndarray, name: str, unit: TimeUnit = "auto") -> np.ndarray:
    """[T] int64 microseconds UTC of numbers since 1970; `unit` auto guesses it from their size.

    Raises:
        InputError: a number that is no time of the unit.
    """
    try:
        return parse_times_of_numbers(values, TimeStyle(unit))
    except ReadingError as error:
        raise InputError(_wrong_time(path, name, error)) from None


def _wrong_time(path: Path, name: str, error: ReadingError) -> str:
    return f"{path}, row {(error.index or 0) + 1} of the data, column '{name}': found {error.found}, expected {error.expected}"


def _read(path: Path, separator: str, names: Sequence[str], types: dict[str, pa.DataType], *, header: int) -> pa.Table:
    try:
        table = pa_csv.read_csv(
            path,
            read_options=pa_csv.ReadOptions(column_names=list(names), skip_rows=header),
            parse_options=pa_csv.ParseOptions(delimiter=separator),
            convert_options=pa_csv.ConvertOptions(
                column_types=types,
                include_columns=list(types),
                null_values=list(_MISSING),
                strings_can_be_null=False,
            ),
        )
    except (pa.ArrowInvalid, pa.ArrowKeyError, OSError, UnicodeDecodeError) as error:
        raise InputError(_explain(path, separator, names, types, header=header, reason=error)) from error
    if not table.num_rows:
        raise InputError(f"{path}: has no rows, expected {len(names)} columns of numbers; copy the file again")
    return table


def open_text(path: Path) -> TextIO:
    """Open a plain or gzipped text file; bytes that are not UTF-8 become replacement characters."""
    try:
        if path.suffix.lower() == ".gz":
            return gzip.open(path, "rt", encoding="utf-8-sig", errors="replace", newline="")
        return path.open(encoding="utf-8-sig", errors="replace", newline="")
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror or error}); correct its permissions or path"
        ) from error


def _rows(path: Path, separator: str) -> Iterator[tuple[int, list[str]]]:
    with open_text(path) as file:
        reader = csv.reader(file, delimiter=separator)
        for cells in reader:
            yield reader.line_num, cells


def _explain(
    path: Path, separator: str, names: Sequence[str], types: dict[str, pa.DataType], *, header: int, reason: Exception
) -> str:
    """Which line and column made the fast reader refuse the file, as one line for a person."""
    numeric = {name for name, kind in types.items() if pa.types.is_floating(kind)}
    any_row = False
    try:
        for line, cells in _rows(path, separator):
            if not cells or line <= header:
                continue
            if cells[0].startswith(LFS_POINTER):
                return f"{path} is a Git LFS pointer, not the data; run 'git lfs pull' in its repository"
            any_row = True
            if len(cells) != len(names):
                return (
                    f"{path}, line {line}: found {len(cells)} columns, expected {len(names)} separated by "
                    f"'{separator}'; copy the file again"
                )
            for number, (name, cell) in enumerate(zip(names, cells, strict=True), start=1):
                if name in numeric and not is_number(cell):
                    named = f" ({name})" if header else ""
                    return (
                        f"{path}, line {line}, column {number}{named}: found '{cell.strip()[:40]}', expected a number "
                        "or an empty cell; correct the file"
                    )
    except BROKEN as error:
        return f"{path}: cannot be read ({error}); copy the file again"
    if not any_row:
        return f"{path}: has no rows, expected {len(names)} columns; copy the file again"
    detail = str(reason).splitlines()[0]
    return f"{path}: cannot be read ({detail}); expected {len(names)} columns separated by '{separator}'"


def _explain_spaced(path: Path, reason: Exception) -> str:
    """Which line and column made numpy refuse a file of numbers separated by blanks."""
    width = 0
    try:
        with open_text(path) as file:
            for line, text in enumerate(file, start=1):
                if text.startswith(LFS_POINTER):
                    return f"{path} is a Git LFS pointer, not the data; run 'git lfs pull' in its repository"
                cells = text.split()
                width = width or len(cells)
                for number, cell in enumerate(cells, start=1):
                    if not is_number(cell):
                        return f"{path}, line {line}, column {number}: found '{cell[:40]}', expected a number"
                if cells and len(cells) != width:
                    return f"{path}, line {line}: found {len(cells)} columns, expected {width}; copy the file again"
    except BROKEN as error:
        return f"{path}: cannot be read ({error}); copy the file again"
    return f"{path}: cannot be read ({reason}); expected numbers separated by blanks"


def is_number(cell: str) -> bool:
    """Whether the fast reader takes a cell as a number or as missing."""
    if cell in _MISSING:
        return True
    try:
        return not math.isnan(float(cell)) and "_" not in cell
    except ValueError:
        return False
