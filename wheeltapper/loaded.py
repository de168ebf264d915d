"""Loads a series for a command, and says what the loader left out of it, and why; what cannot be trained on is refused."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.text import first_names

if TYPE_CHECKING:
    from wheeltapper.training.datasets.series import SensorSeries


def load_told(
    dataset: str,
    data: Path | None,
    entity: str | None,
    *,
    start: str | None = None,
    file: TextIO | None = None,
    told: set[str] | None = None,
) -> SensorSeries:
    """As `load_series`; the series' notes go to `file`, a line each (default: standard error).

    Args:
        told: what the loader has said before of other machines, and need not say again; new warnings are added.

    Raises:
        InputError: as `load_series`.
    """
    from wheeltapper.training.datasets.registry import load_series

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", UserWarning)
        series = load_series(dataset, data, entity, start=start)
    _tell([*series.notes, *_new(said, told)], file or sys.stderr)
    return series


def entities_told(dataset: str, data: Path | None, told: set[str] | None = None) -> tuple[str, ...]:
    """As `list_entities`; what the loader has to say goes to standard output, and is added to `told`."""
    from wheeltapper.training.datasets.registry import list_entities

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", UserWarning)
        names = list_entities(dataset, data)
    _tell(_new(said, told), sys.stdout)
    return names


def _new(said: list[warnings.WarningMessage], told: set[str] | None) -> list[str]:
    lines = [str(warning.message) for warning in said]
    if told is not None:
        lines = [line for line in lines if line not in told]
        told.update(lines)
    return lines


def _tell(notes: Iterable[str], file: TextIO) -> None:
    for note in dict.fromkeys(notes):
        print(f"data         {note}", file=file)


def load_for_training(
    dataset: str, data: Path | None, entity: str | None, told: set[str] | None = None
) -> SensorSeries:
    """As `load_told`, on standard output.

    Raises:
        InputError: as `load_series`, or a channel of a table has no value in the train part: a detector would take its first value for a
            fault that never ends.
    """
    import numpy as np

    series = load_told(dataset, data, entity, file=sys.stdout, told=told)
    empty = np.isnan(series.train).all(axis=0)
    unmeasured = [name for name, is_empty in zip(series.channels, empty, strict=True) if is_empty]
    if unmeasured and dataset == "csv":
        names = ", ".join(f'"{name}"' for name in unmeasured)
        raise InputError(
            f"{series.entity}: {first_names(unmeasured)} never measured in the train part of {len(series.train)} rows, expected values of every "
            f"channel; write ignore = [{names}] in the table's description, or choose other rows by train_rows, train_fraction or train_file"
        )
    return series
