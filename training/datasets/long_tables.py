"""Tables in the long format, one reading a row: time, tag, value. They become rows of channels.

Where all tags have the same times, these are the rows. Elsewhere `sampling_interval_s` gives a grid at whole multiples of it since 1970, on
which a channel has its last reading at or before, for at most `hold_s` (default: 60 intervals): as [assembly] does it in the stream.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.reading_columns import parse_numbers
from wheeltapper.schemas.readings import NumberStyle, ReadingError
from wheeltapper.schemas.text import first_names
from wheeltapper.training.datasets.description import Description, own_description
from wheeltapper.training.datasets.table_columns import Columns

_HELD_INTERVALS = 60
_MOST_CELLS = 400_000_000


def widened(
    columns: Columns, times: np.ndarray, description: Description, style: NumberStyle
) -> tuple[Columns, np.ndarray]:
    """The table with a column for each tag, and its [T] times.

    Raises:
        InputError: tags have different times and no interval is given, or a tag's values are no numbers.
    """
    tag, value = str(description.tag), str(description.value)
    texts = pc.utf8_trim_whitespace(columns.texts[tag]) if tag in columns.texts else _as_texts(columns, tag)
    codes = pc.dictionary_encode(texts)
    which = np.asarray(codes.indices.to_numpy(zero_copy_only=False), dtype=np.int64)
    wanted = description.values
    readings: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    repeated = 0
    for code, name in enumerate(codes.dictionary.to_pylist()):
        if not name or name in description.ignore or (wanted is not None and name not in wanted):
            continue
        rows = np.flatnonzero(which == code)
        values = _values(columns, value, name, rows, style, named=wanted is not None)
        if values is None:
            continue
        order = np.argsort(times[rows], kind="stable")
        at, values = times[rows][order], values[order]
        last = np.append(at[1:] != at[:-1], True)
        repeated += int(len(at) - last.sum())
        readings[name] = (at[last], values[last])
    if not readings:
        raise InputError(
            f"{columns.path}: column '{tag}' names no tag whose values in column '{value}' are numbers; correct tag and value"
        )
    if repeated:
        columns.notes.append(f"{repeated} readings repeat the time of one of the same tag; the last of each counts")
    grid = _grid(columns.path, readings, description)
    wide = {name: _on(grid, *found, description) for name, found in readings.items()}
    names = tuple(name for name in wanted or readings if name in wide)
    rest = [name for name in columns.names if name not in (tag, value, description.machine)]
    left = [name for name in rest if name in columns.numbers]
    if left:
        columns.notes.append(
            f"columns {first_names([repr(name) for name in left])} are left out: the table's values are in '{value}'"
        )
    table = Columns(columns.path, names, wide, notes=columns.notes)
    return table, grid


def _as_texts(columns: Columns, name: str) -> pa.Array:
    return pa.array([f"{number:g}" for number in columns.numbers[name]], pa.string())


def _values(
    columns: Columns, value: str, tag: str, rows: np.ndarray, style: NumberStyle, *, named: bool
) -> np.ndarray | None:
    if value in columns.numbers:
        return np.asarray(columns.numbers[value][rows], dtype=np.float64)
    texts = columns.texts[value].take(pa.array(rows))
    try:
        return parse_numbers(texts, style)
    except ReadingError as error:
        if named:
            raise InputError(
                f"{columns.path}, {columns.place(int(rows[error.index or 0]))}: tag '{tag}': found {error.found}, expected {error.expected}"
            ) from None
        columns.notes.append(f"tag '{tag}' is left out: it holds texts such as {error.found}")
        return None


def _grid(path: Path, readings: dict[str, tuple[np.ndarray, np.ndarray]], description: Description) -> np.ndarray:
    times = [at for at, _ in readings.values()]
    if description.sampling_interval_s is None:
        if all(np.array_equal(at, times[0]) for at in times[1:]):
            return times[0]
        raise InputError(
            f"{path}: the {len(times)} tags have readings at different times; write sampling_interval_s = 60, say, in {own_description(path)} "
            "for a row every so many seconds with each tag's last value"
        )
    step = max(1, round(description.sampling_interval_s * 1e6))
    first, last = min(int(at[0]) for at in times), max(int(at[-1]) for at in times)
    count = last // step + 1 + (-first // step)
    if count * len(times) > _MOST_CELLS:
        raise InputError(
            f"{path}: {count} rows of {len(times)} channels at {description.sampling_interval_s:g} s; correct sampling_interval_s"
        )
    return (np.arange(count, dtype=np.int64) - (-first // step)) * step


def _on(grid: np.ndarray, at: np.ndarray, values: np.ndarray, description: Description) -> np.ndarray:
    place = np.searchsorted(at, grid, side="right") - 1
    found = np.where(place >= 0, values[np.maximum(place, 0)], np.nan)
    if description.sampling_interval_s is None:
        return found
    hold = description.hold_s or _HELD_INTERVALS * description.sampling_interval_s
    age = grid - at[np.maximum(place, 0)]
    return np.where(age <= hold * 1e6, found, np.nan)
