"""Cells of a table as columns of numbers, texts and moments, and the words for what was found and left out.

pyarrow parses whole files in C++. Columns that it refuses are read again as texts, by the reader that messages have too.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from wheeltapper.schemas.arrow_arrays import own_copy
from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.reading_columns import parse_numbers
from wheeltapper.schemas.readings import NumberStyle, ReadingError, parse_number
from wheeltapper.schemas.text import first_names
from wheeltapper.training.datasets.csv_source import NO_END, CsvSource
from wheeltapper.training.datasets.description import Description, own_description

# How else numbers are written; those of which one alone fits are taken, and said.
_STYLES = ((",", ""), (".", ","), (",", "."), (",", " "), (".", " "), (".", "'"))


@dataclass
class Columns:
    """A table, column by column, [T] each.

    Attributes:
        names: in the order of the file; each is in one of `numbers`, `texts` and `moments`.
        numbers: float64, NaN for missing; integers of Parquet stay integers.
        texts: strings, "" for missing.
        moments: int64 microseconds UTC, of Parquet's own types of time.
        notes: what was left out, a line each.
    """

    path: Path
    names: tuple[str, ...]
    numbers: dict[str, np.ndarray] = field(default_factory=dict)
    texts: dict[str, pa.Array] = field(default_factory=dict)
    moments: dict[str, np.ndarray] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    unnamed: frozenset[str] = frozenset()
    notes: list[str] = field(default_factory=list)
    source: CsvSource | None = None
    kept: np.ndarray | None = None
    """[T] rows of the file that these are; None: all."""

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return next((len(found) for part in (self.numbers, self.texts, self.moments) for found in part.values()), 0)

    def place(self, row: int) -> str:
        """'line 19': where a row is in the file."""
        if self.kept is not None:
            row = int(self.kept[row])
        if self.source is None:
            return f"row {row + 1} of the data"
        for number, (line, _) in enumerate(self.source.rows()):
            if number == row:
                return f"line {line}"
        return f"row {row + 1} of the data"

    def picked(self, rows: np.ndarray | slice) -> Columns:
        """The same columns of some rows, by their numbers, a mask or a range, with notes of their own."""
        chosen = np.arange(self.rows)[rows]
        is_whole = isinstance(rows, slice) and rows == slice(None)
        return replace(
            self,
            numbers={name: values[rows] for name, values in self.numbers.items()},
            texts={name: values if is_whole else values.take(pa.array(chosen)) for name, values in self.texts.items()},
            moments={name: values[rows] for name, values in self.moments.items()},
            notes=list(self.notes),
            kept=chosen if self.kept is None else self.kept[rows],
        )


def columns_of_csv(source: CsvSource, description: Description, as_texts: Collection[str]) -> Columns:
    """Every column but those that the description ignores.

    Args:
        as_texts: columns that are no numbers, whatever their cells are: times, machines, tags.

    Raises:
        InputError: with line and column of a cell that is no number, or of a row of another width.
    """
    names = [name for name in source.names if name not in description.ignore]
    if "" in description.ignore:
        names = [name for name in names if name not in source.unnamed]
    others = [name for name in names if name not in as_texts]
    style, said = _style(source, description, others)
    chosen = set(description.values or ()) & set(names)
    numeric = [name for name in others if name in chosen or _is_numeric(source.cells(name), style)]
    try:
        table = _read(source, [name for name in names if name not in numeric], numeric, style)
    except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
        wrong = _wrong_width(source)
        if wrong:
            raise InputError(wrong) from error
        if not numeric:
            raise InputError(f"{source.path}: cannot be read ({str(error).splitlines()[0]})") from error
        table = _read(source, names, [], style)
    if not table.num_rows:
        raise InputError(f"{source.path}: has no rows, expected {len(source.names)} columns; copy the file again")
    columns = Columns(
        source.path,
        tuple(names),
        units=source.units,
        unnamed=source.unnamed,
        source=source,
        notes=[*source.notes, *said],
    )
    for name in names:
        found = table.column(name).combine_chunks()
        if name not in numeric:
            columns.texts[name] = found
            continue
        if pa.types.is_string(found.type):
            try:
                columns.numbers[name] = parse_numbers(found, style)
            except ReadingError as error:
                raise InputError(_wrong_cell(columns, name, error, style)) from None
        else:
            values = found.to_numpy(zero_copy_only=False)
            if style.missing_values:
                values = np.where(np.isin(values, style.missing_values), np.nan, values)
            columns.numbers[name] = values
    return _without_blank_rows(columns)


def columns_of_parquet(path: Path, description: Description) -> Columns:
    """Every column of a Parquet file but those that the description ignores.

    Raises:
        InputError: it is no Parquet, or is empty.
    """
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(
            f"{path}: cannot be read as Parquet ({str(error).splitlines()[0]}); copy the file again"
        ) from error
    if not table.num_rows:
        raise InputError(f"{path}: has no rows; copy the file again")
    names = tuple(str(name) for name in table.column_names if name not in description.ignore)
    columns, style = Columns(path, names), description.numbers()
    kinds = pa.types
    for name in names:
        found = table.column(name).combine_chunks()
        if kinds.is_dictionary(found.type):
            found = found.dictionary_decode()
        kind = found.type
        if kinds.is_timestamp(kind) or kinds.is_date(kind):
            if found.null_count:
                columns.texts[name] = pc.fill_null(pc.cast(found, pa.string()), "")
            else:
                zone = kind.tz if kinds.is_timestamp(kind) else None
                micros = pc.cast(pc.cast(found, pa.timestamp("us", tz=zone), safe=False), pa.int64())
                columns.moments[name] = np.asarray(micros.to_numpy())
        elif kinds.is_integer(kind) and not found.null_count:
            columns.numbers[name] = np.asarray(found.to_numpy())
        elif kinds.is_integer(kind) or kinds.is_floating(kind) or kinds.is_boolean(kind) or kinds.is_decimal(kind):
            columns.numbers[name] = pc.cast(found, pa.float64()).to_numpy(zero_copy_only=False)
        elif kinds.is_string(kind) or kinds.is_large_string(kind):
            columns.texts[name] = pc.fill_null(pc.cast(found, pa.string()), "")
        else:
            columns.notes.append(f"column '{name}' is left out: it holds {kind}, expected numbers")
    for name, values in columns.numbers.items():
        if style.missing_values and np.isin(values, style.missing_values).any():
            columns.numbers[name] = np.where(np.isin(values, style.missing_values), np.nan, values)
    columns.names = tuple(name for name in names if name in columns.numbers | columns.texts | columns.moments)
    return columns


def _read(source: CsvSource, texts: Sequence[str], numbers: Sequence[str], style: NumberStyle) -> pa.Table:
    if style.thousands:
        texts, numbers = [*texts, *numbers], []
    types = dict.fromkeys(texts, pa.string()) | dict.fromkeys(numbers, pa.float64())
    if not source.body.strip():
        return pa.table({name: pa.array([], kind) for name, kind in types.items()})
    words = {form for word in style.missing_words for form in (word, word.upper(), word.title(), word.capitalize())}
    return pa_csv.read_csv(
        pa.BufferReader(own_copy(source.body)),
        read_options=pa_csv.ReadOptions(column_names=list(source.names)),
        parse_options=pa_csv.ParseOptions(delimiter=source.separator, newlines_in_values=b'"' in source.body),
        convert_options=pa_csv.ConvertOptions(
            column_types=types,
            include_columns=list(types),
            null_values=sorted({*words, "NaN", "NoData", "#N/A N/A", *(" " * width for width in range(1, 9))}),
            strings_can_be_null=False,
            decimal_point=style.decimal,
        ),
    )


def _is_numeric(cells: list[str], style: NumberStyle) -> bool:
    """At least half of the cells that say something are numbers; so is a column that says nothing."""
    said = [number for number in (_number(cell, style) for cell in cells) if number is None or number == number]
    return 2 * sum(number is not None for number in said) >= len(said)


def _number(cell: str, style: NumberStyle) -> float | None:
    try:
        return parse_number(cell, style)
    except ReadingError:
        return None


def _style(source: CsvSource, description: Description, names: Sequence[str]) -> tuple[NumberStyle, list[str]]:
    """How the file writes its numbers, and what to say about it.

    Raises:
        InputError: several ways fit, and the description says none.
    """
    style = description.numbers()
    if description.decimal is not None or description.thousands:
        return style, []
    columns = {name: source.cells(name) for name in names}
    texts = {name: cells for name, cells in columns.items() if not _is_numeric(cells, style)}
    fits: dict[tuple[str, str], list[str]] = {}
    for decimal, thousands in _STYLES:
        other = replace(style, decimal=decimal, thousands=thousands)
        fitting = [name for name, cells in texts.items() if _all_numbers(cells, other)]
        if fitting:
            fits[decimal, thousands] = fitting
    if not fits:
        return style, []
    most = max(map(len, fits.values()))
    best = [settings for settings, fitting in fits.items() if len(fitting) == most]
    # Where no cell has groups of digits, ways that differ in the groups are the same.
    best = [settings for settings in best if not (settings[1] and (settings[0], "") in best)]
    own = own_description(source.path)
    named = fits[best[0]]
    shown = f"{'columns' if len(named) > 1 else 'column'} {first_names([repr(name) for name in named])}"
    cell = next(cell for cell in texts[named[0]] if _number(cell, style) is None)
    if len(best) > 1:
        wanted = " or ".join(_settings(*settings) for settings in best)
        raise InputError(
            f"{source.path}: {shown}: cells such as '{cell}' can be read in two ways; write {wanted} in {own}"
        )
    said = f"numbers such as '{cell}' in {shown} are read with {_settings(*best[0])}; write it in {own} where it is otherwise"
    return replace(style, decimal=best[0][0], thousands=best[0][1]), [said]


def _settings(decimal: str, thousands: str) -> str:
    parts = [f'decimal = "{decimal}"'] if decimal == "," else []
    return " and ".join([*parts, *([f'thousands = "{thousands}"'] if thousands else [])])


def _all_numbers(cells: list[str], style: NumberStyle) -> bool:
    numbers = [_number(cell, style) for cell in cells]
    return any(number is not None and number == number for number in numbers) and None not in numbers


def _wrong_width(source: CsvSource) -> str | None:
    """What is wrong with the first row that has not as many cells as the header."""
    wide, lines = len(source.names), 0
    wrong: list[tuple[int, int]] = []
    for line, cells in source.rows():
        lines += 1
        if len(cells) != wide and any("\n" in cell for cell in cells):
            return (
                f"{source.path}, line {line}: found {len(cells)} columns over several lines, expected {wide}; {NO_END}"
            )
        if len(cells) != wide:
            wrong.append((line, len(cells)))
    if not wrong:
        return None
    line, width = wrong[0]
    at_end = 0 < len(wrong) <= 20 and wrong[0][0] > source.header_lines + lines - len(wrong)
    own = own_description(source.path)
    hint = f"write skip_footer = {len(wrong)} in {own} where these are no rows" if at_end else "copy the file again"
    decimals = (
        f", or quote numbers with a comma or write separator in {own}"
        if source.separator == "," and width > wide
        else ""
    )
    return f"{source.path}, line {line}: found {width} columns, expected {wide} separated by '{source.separator}'; {hint}{decimals}"


def _wrong_cell(columns: Columns, name: str, error: ReadingError, style: NumberStyle) -> str:
    assert columns.source is not None
    assert error.index is not None
    number, own = columns.source.names.index(name) + 1, own_description(columns.path)
    cell = error.found
    hint = f"write missing = [{cell.replace(chr(39), chr(34))}] in {own} where it means no value"
    if error.index == 0 and not columns.source.units and all(map(_is_text, columns.source.probe[:1] or [[]])):
        hint += ", or unit_row = true where it is a unit"
    return f"{columns.path}, {columns.place(error.index)}, column {number} ({name}): found {cell}, expected a number or an empty cell; {hint}"


def _is_text(row: list[str]) -> bool:
    return not any(_number(cell, NumberStyle()) is not None and cell.strip() for cell in row)


def _without_blank_rows(columns: Columns) -> Columns:
    """Rows that hold nothing but separators are left out, and counted."""
    blank = np.ones(columns.rows, dtype=bool)
    for values in columns.numbers.values():
        blank &= np.isnan(values)
    for texts in columns.texts.values():
        if not blank.any():
            break
        blank &= np.asarray(pc.equal(pc.utf8_trim_whitespace(texts), "").to_numpy(zero_copy_only=False), dtype=bool)
    if not blank.any() or blank.all():
        return columns
    columns.notes.append(
        f"{int(blank.sum())} row(s) without any value are left out, the first at {columns.place(int(np.argmax(blank)))}"
    )
    return columns.picked(~blank)
