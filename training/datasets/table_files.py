"""Any table: a file of text (CSV, tabs) or Parquet with a time column and numeric columns. An entity is a file without its ending, or a machine of it.

What the file does not say by itself is said by a small description next to it (`description.py`; docs/datasets.md has every key). What was
found, and what was left out and why, is in the series' `notes`.

Without a description: the time column is the one named time, timestamp, ts, datetime or date, else the first column
that holds times; the label column is one named label, anomaly, is_anomaly, attack or att_flag that holds 0 and 1.
"""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.text import first_names
from wheeltapper.training.datasets.clock import MADE_UP_INTERVAL_S, made_up_times
from wheeltapper.training.datasets.csv_source import open_csv
from wheeltapper.training.datasets.description import Description, describe, own_description
from wheeltapper.training.datasets.labels import segments_of
from wheeltapper.training.datasets.long_tables import widened
from wheeltapper.training.datasets.rising import is_clock, is_counter, is_index, rate_of
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.datasets.table_columns import Columns, columns_of_csv, columns_of_parquet
from wheeltapper.training.datasets.table_places import tables_of, tell_of_others
from wheeltapper.training.datasets.table_times import (
    check_order,
    named_times,
    read_times,
    time_column_of_parquet,
    time_columns,
)

_LABEL_NAMES = ("label", "anomaly", "is_anomaly", "attack", "att_flag")
RATE_SUFFIX = " per s"
"""Ends the name of a channel that is the rate of a counter: a message that carries the counter itself is then refused, not misread."""


@dataclass(frozen=True)
class _Content:
    """One machine of one file: times [T] or None, values [T, C] float32, labels [T] or None; `columns`: of the file, by channel."""

    channels: tuple[str, ...]
    columns: tuple[str, ...]
    units: dict[str, str]
    times: np.ndarray | None
    values: np.ndarray
    labels: np.ndarray | None
    notes: tuple[str, ...]


def entities(data: Path) -> tuple[str, ...]:
    """Tables of a folder without their ending, of a file its own; of tables with a column `machine`, the machines in it."""
    tell_of_others(data, tables_of(data)[1])
    return tuple(_places(data))


def load(data: Path, entity: str) -> SensorSeries:
    """One table, or one machine of it, split in time into train and test part."""
    path, description, machine = _places(data)[entity]
    content = _read(path, description, machine)
    notes = list(content.notes)
    if description.train_file is not None:
        train, test = _separate_train(path, description, content, machine)
        notes.extend(f"{description.train_file}: {note}" for note in train.notes)
    else:
        rows = _train_rows(path, description, len(content.values))
        train, test = _cut(content, slice(None, rows)), _cut(content, slice(rows, None))
    if train.times is None or test.times is None:
        interval = description.sampling_interval_s or MADE_UP_INTERVAL_S
        train_ts, test_ts = made_up_times(len(train.values), len(test.values), interval)
    else:
        train_ts, test_ts = train.times, test.times
        steps = np.diff(np.concatenate([train_ts, test_ts]) if description.train_file is None else test_ts)
        interval = description.sampling_interval_s or (float(np.median(steps)) / 1e6 if len(steps) else 1.0)
    unknown = sorted(set(description.units) - set(content.channels))
    if unknown:
        raise InputError(
            f"{path}: units name '{unknown[0]}', which is no channel; channels are {first_names(content.channels, 12)}"
        )
    unmeasured = [
        name for name, empty in zip(content.channels, np.isnan(train.values).all(axis=0), strict=True) if empty
    ]
    if unmeasured:
        notes.append(
            f"{_named(unmeasured)} never measured in the train part ({len(train.values)} rows): nothing can be learned of "
            f"{'it' if len(unmeasured) == 1 else 'them'} there"
        )
    return SensorSeries(
        dataset="csv",
        entity=entity,
        channels=content.channels,
        units=tuple(description.units.get(name, content.units.get(name, "")) for name in content.channels),
        sampling_interval_s=interval,
        train=train.values,
        train_ts=train_ts,
        test=test.values,
        test_ts=test_ts,
        test_labels=test.labels,
        segments=() if test.labels is None else segments_of(test.labels),
        made_up_clock=content.times is None,
        notes=tuple(dict.fromkeys(notes)),
    )


def _places(data: Path) -> dict[str, tuple[Path, Description, str | None]]:
    """Entity -> its file, description, and machine in it (None: all rows)."""
    files, _ = tables_of(data)
    found: dict[str, tuple[Path, Description, str | None]] = {}
    for name, path in files.items():
        description = describe(path, name)
        if description.machine is None:
            found[name] = (path, description, None)
            continue
        for machine in _machines(path, description):
            found[machine if len(files) == 1 else f"{name}/{machine}"] = (path, description, machine)
    return found


def _columns(path: Path, description: Description) -> tuple[Columns, tuple[str, ...]]:
    """The file's columns, and which of them are its time."""
    if description.machine is None:
        return _columns_of(path, description)
    # A fleet's file is read once for all of its machines, which are asked for one after the other.
    state = path.stat()
    columns, times = _remembered(path, description.model_dump_json(), state.st_mtime_ns, state.st_size)
    return columns.picked(slice(None)), times


@lru_cache(maxsize=1)
def _remembered(path: Path, description: str, _mtime_ns: int, _size: int) -> tuple[Columns, tuple[str, ...]]:
    return _columns_of(path, Description.model_validate_json(description))


def _columns_of(path: Path, description: Description) -> tuple[Columns, tuple[str, ...]]:
    apart = tuple(name for name in (description.machine, description.tag) if name is not None)
    if path.suffix.lower() == ".parquet":
        columns = columns_of_parquet(path, description)
        times = time_column_of_parquet(columns, description)
    else:
        source = open_csv(path, description)
        for key in ("machine", "tag", "value"):
            name = getattr(description, key)
            if name is not None:
                _must_have(path, source.names, name, key)
        for name in named_times(description) or ():
            _must_have(path, source.names, name, "time")
        times, said = time_columns(source, description)
        columns = columns_of_csv(source, description, (*times, *apart))
        columns.notes.extend([said] if said else [])
    for name, key in [(name, "time") for name in times] + [(name, "machine or tag") for name in apart]:
        _must_have(path, columns.names, name, key)
    if len(times) > 1 and any(name not in columns.texts for name in times):
        raise InputError(
            f"{path}: time names {len(times)} columns, expected texts of a day and of a time of day in them"
        )
    return columns, times


def _machines(path: Path, description: Description) -> tuple[str, ...]:
    columns, _ = _columns(path, description)
    return tuple(sorted(name for name in set(_machine_texts(columns, description)) if name))


def _machine_texts(columns: Columns, description: Description) -> list[str]:
    name = str(description.machine)
    if name in columns.texts:
        return [str(text) for text in pc.utf8_trim_whitespace(columns.texts[name]).to_pylist()]
    return [f"{number:g}" for number in columns.numbers[name].tolist()]


def _read(path: Path, description: Description, machine: str | None = None) -> _Content:
    columns, time_names = _columns(path, description)
    for name in (
        [*(description.values or ()), *description.rates, *description.rising] if description.tag is None else ()
    ):
        key = "values" if name in (description.values or ()) else "rates" if name in description.rates else "rising"
        _must_have(path, columns.names, name, key)
        if name in columns.texts:
            raise InputError(f"{path}: column '{name}' holds texts, expected numbers; leave it out of '{key}'")
    label_name = _label_column(path, columns, description)
    _leave_out_indices(columns, description, {*time_names, label_name, description.machine})
    if description.machine is not None:
        chosen = np.array([text == machine for text in _machine_texts(columns, description)], dtype=bool)
        columns = columns.picked(chosen)
    times = read_times(columns, time_names, description) if time_names else None
    if description.tag is not None:
        if times is None:
            raise InputError(
                f"{path}: readings by tag need times, but the description has time = false; name the column of the time"
            )
        columns, times = widened(columns, times, description, description.numbers())
    elif times is not None:
        order = check_order(columns, times, " + ".join(time_names), description)
        if order is not None:
            columns, times = columns.picked(order), times[order]
    apart = {*time_names, label_name, description.machine}
    channels = _channels(columns, description, apart)
    if times is not None:
        channels = _without_clocks(columns, channels, times, description)
    labels = None if label_name is None else (columns.numbers[label_name] > 0).astype(np.uint8)
    return _content(columns, channels, times, labels, description)


def _content(
    columns: Columns,
    channels: tuple[str, ...],
    times: np.ndarray | None,
    labels: np.ndarray | None,
    description: Description,
) -> _Content:
    values = np.empty((columns.rows, len(channels)), dtype=np.float32)
    names, units = [], {}
    with np.errstate(over="ignore"):
        for place, name in enumerate(channels):
            column = np.asarray(columns.numbers[name], dtype=np.float64)
            wrong = np.flatnonzero(np.isinf(column.astype(np.float32)))
            if len(wrong):
                raise InputError(
                    f"{columns.path}, {columns.place(int(wrong[0]))}, column '{name}': the value is infinite or beyond float32, expected a "
                    "finite number or an empty cell"
                )
            is_rate = name in description.rates
            if is_rate and times is None:
                raise InputError(
                    f"{columns.path}: rates needs times, but the file has none; leave '{name}' out of rates"
                )
            values[:, place] = rate_of(column, times) if is_rate and times is not None else column
            names.append(name + RATE_SUFFIX if is_rate else name)
            units[names[-1]] = columns.units.get(name, "") + ("/s" if is_rate and columns.units.get(name) else "")
    return _Content(tuple(names), channels, units, times, values, labels, tuple(columns.notes))


def _channels(columns: Columns, description: Description, apart: set[str | None]) -> tuple[str, ...]:
    """The channels; every other column is said."""
    own = own_description(columns.path)
    if description.values is not None:
        channels = description.values if description.tag is None else columns.names
    else:
        empty = [name for name in columns.unnamed if name in columns.numbers and np.isnan(columns.numbers[name]).all()]
        if empty:
            columns.notes.append(
                f"{_named(sorted(empty))} without a name or a value {'is' if len(empty) == 1 else 'are'} left out"
            )
        channels = tuple(
            name for name in columns.names if name in columns.numbers and name not in apart and name not in empty
        )
        for name in columns.texts:
            if name in apart or name not in columns.names:
                continue
            cells = [text.strip() for text in columns.texts[name].to_pylist()]
            said = [text for text in cells if text]
            if said:
                columns.notes.append(
                    f"column '{name}' is left out: {len(said)} of {len(cells)} cells hold texts such as '{' '.join(said[0].split())[:40]}'; numbers can be "
                    f"channels, and words for missing values are named in {own} as missing = [..]"
                )
        others = [name for name in columns.moments if name not in apart]
        if others:
            columns.notes.append(f"{_named(others)} left out: a further time is no channel")
    if not channels:
        raise InputError(
            f"{columns.path}: columns are {first_names(columns.names, 12)}, expected at least one numeric one"
            + "".join(f"; {note}" for note in columns.notes[:3])
        )
    return channels


def _leave_out_indices(columns: Columns, description: Description, apart: set[str | None]) -> None:
    """Columns that number the rows, as the file has them, are no channels."""
    kept = {*(description.values or ()), *description.rates, *description.rising} | apart
    for place, name in enumerate(columns.names, start=1):
        if name in columns.numbers and name not in kept and is_index(name, columns.numbers[name]):
            shown = f"column {place} (without a name)" if name in columns.unnamed else f"column '{name}'"
            columns.notes.append(
                f'{shown} is left out: it numbers the rows; write rising = ["{name}"] in {own_description(columns.path)} where it is a channel'
            )
            del columns.numbers[name]
    columns.names = tuple(name for name in columns.names if name in columns.numbers | columns.texts | columns.moments)


def _without_clocks(
    columns: Columns, channels: tuple[str, ...], times: np.ndarray, description: Description
) -> tuple[str, ...]:
    """The channels that do not merely tell the time.

    Raises:
        InputError: a counter among them that the description says nothing about.
    """
    own = own_description(columns.path)
    told = {*description.rates, *description.rising}
    rest = []
    for name in channels:
        values = np.asarray(columns.numbers[name], dtype=np.float64)
        if name not in told and is_clock(values, times):
            columns.notes.append(
                f"column '{name}' is left out: it rises with the time alone; write rising = [\"{name}\"] in {own} where it is a channel"
            )
            continue
        if name not in told and is_counter(values):
            raise InputError(
                f"{columns.path}: column '{name}' only rises, from {np.nanmin(values):g} to {np.nanmax(values):g}, so that no later value lies in "
                f'the range of the train part; write in {own} rates = ["{name}"] for its rise a second, ignore = ["{name}"], or '
                f'rising = ["{name}"] to keep it as it is'
            )
        rest.append(name)
    if not rest:
        raise InputError(f"{columns.path}: no channel is left; " + "; ".join(columns.notes))
    return tuple(rest)


def _label_column(path: Path, columns: Columns, description: Description) -> str | None:
    if description.label is False or description.tag is not None:
        return None
    if isinstance(description.label, str):
        _must_have(path, columns.names, description.label, "label")
        if description.label in columns.texts:
            raise InputError(f"{path}: label column '{description.label}' holds texts, expected 0 and 1; convert it")
        return description.label
    for name in columns.names:
        if name.lower() in _LABEL_NAMES and name in columns.numbers and name not in (description.values or ()):
            if np.isin(columns.numbers[name], (0.0, 1.0)).all():
                return name
            columns.notes.append(f"column '{name}' is a channel, no label: it holds other values than 0 and 1")
    return None


def _must_have(path: Path, names: tuple[str, ...], name: str, key: str) -> None:
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"columns are {first_names(names, 12)}"
        raise InputError(f"{path}: the description's {key} names column '{name}', which is not there; {hint}")


def _train_rows(path: Path, description: Description, rows: int) -> int:
    if description.train_rows is not None and description.train_fraction is not None:
        raise InputError(f"{path}: the description has train_rows and train_fraction, expected one of them; drop one")
    if description.train_fraction == 1:
        return rows
    wanted = description.train_rows or math.floor(rows * (description.train_fraction or 0.5))
    if not 0 < wanted < rows:
        raise InputError(
            f"{path}: {wanted} of {rows} rows would be the train part, expected at least one row on either side; "
            "set train_rows or train_fraction in the description"
        )
    return wanted


def _separate_train(
    path: Path, description: Description, content: _Content, machine: str | None
) -> tuple[_Content, _Content]:
    other = path.parent / str(description.train_file)
    if not other.is_file():
        raise InputError(f"{path}: the description's train_file {other} does not exist; correct it")
    same = description.model_copy(update={"values": content.columns, "label": False})
    train = _read(other, same, machine)
    if (train.times is None) != (content.times is None):
        raise InputError(
            f"{other}: only one of it and {path.name} has times, expected both; set time in the description"
        )
    return train, content


def _named(names: list[str]) -> str:
    return ("column " if len(names) == 1 else "columns ") + first_names([f"'{name}'" for name in names])


def _cut(content: _Content, rows: slice) -> _Content:
    return _Content(
        content.channels,
        content.columns,
        content.units,
        None if content.times is None else content.times[rows],
        content.values[rows],
        None if content.labels is None else content.labels[rows],
        content.notes,
    )
