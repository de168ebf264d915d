"""Any table: a CSV or Parquet file with a time column and numeric columns. An entity is a file without its ending.

What the file does not say by itself is said by a small description next to it, `NAME.toml` (and, for every file of
the folder, `dataset.toml`; the file's own description wins). Every key is optional:

    time = "ts"                    column with the time; false: the file has none, a clock is made up
    time_unit = "ms"               s, ms, us or ns since 1970, for a numeric time column
    time_format = "%d.%m.%Y %H:%M" strptime format, for a textual one
    values = ["flow", "pressure"]  the channels; default: every numeric column that is neither time nor label
    ignore = ["changepoint"]       columns that are not channels
    units = { flow = "m3/h" }      by channel
    label = "anomaly"              column that is above 0 (or true) where a row is anomalous; false: none
    train_rows = 5000              the first rows are the train part, the others the test part
    train_fraction = 0.5           the same as a part of the rows; the default
    train_file = "normal.csv"      the train part is that file, and this file is all test
    sampling_interval_s = 60       default: the median step of the times
    separator = ";"                default: found in the first line
    sort = true                    sort by time and drop repeated times, instead of refusing the file

Without a description: the time column is the one named time, timestamp, ts, datetime or date, else the first column
that holds times; the label column is one named label, anomaly, is_anomaly, attack or att_flag that holds 0 and 1.
"""

from __future__ import annotations

import csv
import difflib
import itertools
import math
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.text import first_names
from wheeltapper.training.datasets.clock import MADE_UP_INTERVAL_S, made_up_times
from wheeltapper.training.datasets.labels import segments_of
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.datasets.tables import (
    as_float32,
    is_number,
    open_text,
    read_columns,
    read_header,
    times_from_numbers,
    times_from_text,
)

ENDINGS = (".csv", ".csv.gz", ".parquet")
SHARED_DESCRIPTION = "dataset.toml"
_TIME_NAMES = ("time", "timestamp", "ts", "datetime", "date", "date_time")
_LABEL_NAMES = ("label", "anomaly", "is_anomaly", "attack", "att_flag")
# Columns are told apart by their first rows; a wrong cell further down is then an error that names its place.
_PROBED_ROWS = 1000


class Description(BaseModel):
    """`NAME.toml`; see the module's text."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    time: str | bool | None = None
    time_unit: str | None = Field(default=None, pattern="^(s|ms|us|ns)$")
    time_format: str | None = None
    values: tuple[str, ...] | None = None
    ignore: tuple[str, ...] = ()
    units: dict[str, str] = Field(default_factory=dict)
    label: str | bool | None = None
    train_rows: int | None = Field(default=None, ge=1)
    train_fraction: float | None = Field(default=None, gt=0, lt=1)
    train_file: str | None = None
    sampling_interval_s: float | None = Field(default=None, gt=0)
    separator: str | None = Field(default=None, min_length=1, max_length=1)
    sort: bool = False


@dataclass(frozen=True)
class _Content:
    """One file: times [T] or None, values [T, C], labels [T] or None."""

    channels: tuple[str, ...]
    times: np.ndarray | None
    values: np.ndarray
    labels: np.ndarray | None


def entities(data: Path) -> tuple[str, ...]:
    """Tables of a folder without their ending; of a file, its own."""
    return tuple(_files(data))


def load(data: Path, entity: str) -> SensorSeries:
    """One table, split in time into train and test part."""
    path = _files(data)[entity]
    description = _describe(path, entity)
    content = _read(path, description)
    if description.train_file is not None:
        train, test = _separate_train(path, description, content)
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
    return SensorSeries(
        dataset="csv",
        entity=entity,
        channels=content.channels,
        units=tuple(description.units.get(name, "") for name in content.channels),
        sampling_interval_s=interval,
        train=train.values,
        train_ts=train_ts,
        test=test.values,
        test_ts=test_ts,
        test_labels=test.labels,
        segments=() if test.labels is None else segments_of(test.labels),
        made_up_clock=content.times is None,
    )


def _files(data: Path) -> dict[str, Path]:
    paths = [data] if data.is_file() else sorted(data.iterdir())
    found: dict[str, Path] = {}
    for path in paths:
        ending = next((ending for ending in reversed(ENDINGS) if path.name.endswith(ending)), None)
        if ending is None or not path.is_file():
            continue
        name = path.name[: -len(ending)]
        if name in found:
            raise InputError(
                f"{path.parent} holds {found[name].name} and {path.name}, expected one '{name}'; move one away"
            )
        found[name] = path
    if not found:
        raise InputError(f"{data} holds no table; expected files ending in {', '.join(ENDINGS)}: correct --data")
    return found


def _describe(path: Path, entity: str) -> Description:
    merged: dict[str, Any] = {}
    for file in dict.fromkeys((path.parent / SHARED_DESCRIPTION, path.parent / f"{entity}.toml")):
        if not file.is_file():
            continue
        try:
            keys = tomllib.loads(file.read_text(encoding="utf-8"))
            Description.model_validate(keys)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InputError(f"{file}: is not TOML ({error}); correct it") from error
        except ValidationError as error:
            first = error.errors()[0]
            key = str(first["loc"][0])
            if first["type"] == "extra_forbidden":
                near = difflib.get_close_matches(key, Description.model_fields, n=1)
                hint = f"did you mean '{near[0]}'?" if near else f"expected {', '.join(Description.model_fields)}"
                raise InputError(f"{file}: unknown key '{key}'; {hint}") from error
            raise InputError(f"{file}: {key}: {first['msg']}, found {first['input']!r}; correct it") from error
        merged |= keys
    return Description.model_validate(merged)


def _read(path: Path, description: Description) -> _Content:
    table, texts = _read_parquet(path) if path.suffix == ".parquet" else _read_csv(path, description)
    time_name = _time_column(path, table, texts, description)
    label_name = _label_column(path, table, texts, description)
    apart = {time_name, label_name, *description.ignore}
    if description.values is not None:
        for name in description.values:
            _must_have(path, table, name, "values")
            if name in texts:
                raise InputError(f"{path}: column '{name}' holds texts, expected numbers; leave it out of 'values'")
        channels = description.values
    else:
        channels = tuple(name for name in table.column_names if name not in apart and name not in texts)
    if not channels:
        raise InputError(
            f"{path}: columns are {first_names(table.column_names, 12)}, expected at least one numeric one"
        )
    times = None if time_name is None else _times(path, table, time_name, description)
    values = as_float32(path, table, channels)
    labels = None if label_name is None else (as_float32(path, table, [label_name])[:, 0] > 0).astype(np.uint8)
    if times is not None and description.sort:
        times, first = np.unique(times, return_index=True)
        values, labels = values[first], None if labels is None else labels[first]
    elif times is not None:
        wrong = np.flatnonzero(np.diff(times) <= 0)
        if len(wrong):
            raise InputError(
                f"{path}, row {wrong[0] + 2} of the data, column '{time_name}': the time is not after that of the row "
                f"before, expected increasing times; sort the file, or write sort = true in {_own(path)}"
            )
    return _Content(channels, times, values, labels)


def _read_csv(path: Path, description: Description) -> tuple[pa.Table, set[str]]:
    separator, names = read_header(path, description.separator)
    numeric = _probe(path, separator, names)
    chosen = description.values or ()
    numbers = [name for name in names if name in numeric or name in chosen]
    ignored = set(description.ignore)
    numbers = [name for name in numbers if name not in ignored]
    texts = [name for name in names if name not in numbers and name not in ignored]
    return read_columns(path, separator, names, numbers=numbers, texts=texts), set(texts)


def _probe(path: Path, separator: str, names: tuple[str, ...]) -> set[str]:
    """Columns of which at least half of the first cells are numbers (an empty column counts as numbers)."""
    with open_text(path) as file:
        reader = csv.reader(file, delimiter=separator)
        next(reader, None)
        rows = list(itertools.islice(reader, _PROBED_ROWS))
    numeric = set()
    for position, name in enumerate(names):
        cells = [row[position] for row in rows if position < len(row) and row[position].strip()]
        if 2 * sum(map(is_number, cells)) >= len(cells):
            numeric.add(name)
    return numeric


def _read_parquet(path: Path) -> tuple[pa.Table, set[str]]:
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(
            f"{path}: cannot be read as Parquet ({str(error).splitlines()[0]}); copy the file again"
        ) from error
    if not table.num_rows:
        raise InputError(f"{path}: has no rows; copy the file again")

    def is_value(kind: pa.DataType) -> bool:
        return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind))

    return table, {column.name for column in table.schema if not is_value(column.type)}


def _must_have(path: Path, table: pa.Table, name: str, key: str) -> None:
    if name not in table.column_names:
        near = difflib.get_close_matches(name, table.column_names, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"columns are {first_names(table.column_names, 12)}"
        raise InputError(f"{path}: the description's {key} names column '{name}', which is not there; {hint}")


def _time_column(path: Path, table: pa.Table, texts: set[str], description: Description) -> str | None:
    if description.time is False:
        return None
    if isinstance(description.time, str):
        _must_have(path, table, description.time, "time")
        return description.time
    for name in table.column_names:
        if name.lower() in _TIME_NAMES:
            return str(name)
    for name in table.column_names:
        kind = table.schema.field(name).type
        if pa.types.is_timestamp(kind) or (
            name in texts and pa.types.is_string(kind) and _holds_times(path, table, name)
        ):
            return str(name)
    raise InputError(
        f"{path}: found no time column among {first_names(table.column_names, 12)}; name it in {_own(path)} as "
        'time = "column", or write time = false for a clock of one row a minute'
    )


def _holds_times(path: Path, table: pa.Table, name: str) -> bool:
    try:
        times_from_text(path, table.column(name).slice(0, 10), name)
    except InputError:
        return False
    return True


def _times(path: Path, table: pa.Table, name: str, description: Description) -> np.ndarray:
    column = table.column(name)
    kind = column.type
    if column.null_count:
        row = int(np.flatnonzero(column.is_null().to_numpy())[0]) + 1
        raise InputError(f"{path}, row {row} of the data, column '{name}': the time is missing; fill or drop the row")
    if pa.types.is_timestamp(kind):
        return np.asarray(column.cast(pa.timestamp("us", tz=kind.tz), safe=False).cast(pa.int64()).to_numpy())
    if pa.types.is_date(kind):
        return np.asarray(column.cast(pa.timestamp("us")).cast(pa.int64()).to_numpy())
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return times_from_numbers(path, np.asarray(column.to_numpy()), name, description.time_unit)
    try:
        return times_from_text(path, column.cast(pa.string()), name, description.time_format)
    except InputError as error:
        raise InputError(f"{error}; set time_format in {_own(path)}") from error


def _label_column(path: Path, table: pa.Table, texts: set[str], description: Description) -> str | None:
    if description.label is False:
        return None
    if isinstance(description.label, str):
        _must_have(path, table, description.label, "label")
        if description.label in texts:
            raise InputError(f"{path}: label column '{description.label}' holds texts, expected 0 and 1; convert it")
        return description.label
    for name in table.column_names:
        if name.lower() in _LABEL_NAMES and name not in texts and name not in (description.values or ()):
            values = np.asarray(table.column(name).cast(pa.float64()).to_numpy())
            if np.isin(values, (0.0, 1.0)).all():
                return str(name)
    return None


def _train_rows(path: Path, description: Description, rows: int) -> int:
    if description.train_rows is not None and description.train_fraction is not None:
        raise InputError(f"{path}: the description has train_rows and train_fraction, expected one of them; drop one")
    wanted = description.train_rows or math.floor(rows * (description.train_fraction or 0.5))
    if not 0 < wanted < rows:
        raise InputError(
            f"{path}: {wanted} of {rows} rows would be the train part, expected at least one row on either side; "
            "set train_rows or train_fraction in the description"
        )
    return wanted


def _separate_train(path: Path, description: Description, content: _Content) -> tuple[_Content, _Content]:
    other = path.parent / str(description.train_file)
    if not other.is_file():
        raise InputError(f"{path}: the description's train_file {other} does not exist; correct it")
    same = description.model_copy(update={"values": content.channels, "label": False})
    train = _read(other, same)
    if (train.times is None) != (content.times is None):
        raise InputError(
            f"{other}: only one of it and {path.name} has times, expected both; set time in the description"
        )
    return train, content


def _own(path: Path) -> Path:
    """Where a table's own description lies."""
    ending = next(ending for ending in reversed(ENDINGS) if path.name.endswith(ending))
    return path.with_name(path.name[: -len(ending)] + ".toml")


def _cut(content: _Content, rows: slice) -> _Content:
    return _Content(
        content.channels,
        None if content.times is None else content.times[rows],
        content.values[rows],
        None if content.labels is None else content.labels[rows],
    )
