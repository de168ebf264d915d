"""Loads a series for a command, and says what the loader left out of it, and why; what cannot be trained on is refused."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.text import first_names

if TYPE_CHECKING:
    from wheeltapper.training.datasets.series import SensorSeries


def load_told(
    dataset: str, data: Path | None, entity: str | None, *, start: str | None = None, file: TextIO | None = None
) -> SensorSeries:
    """As `load_series`; the series' notes go to `file`, a line each (default: standard error).

    Raises:
        InputError: as `load_series`.
    """
    from wheeltapper.training.datasets.registry import load_series

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", UserWarning)
        series = load_series(dataset, data, entity, start=start)
    for note in dict.fromkeys([*series.notes, *(str(warning.message) for warning in said)]):
        print(f"data         {note}", file=file or sys.stderr)
    return series


def load_for_training(dataset: str, data: Path | None, entity: str | None) -> SensorSeries:
    """As `load_told`, on standard output.

    Raises:
        InputError: as `load_series`, or a channel of a table has no value in the train part: a detector would take its first value for a
            fault that never ends.
    """
    import numpy as np

    series = load_told(dataset, data, entity, file=sys.stdout)
    empty = np.isnan(series.train).all(axis=0)
    unmeasured = [name for name, is_empty in zip(series.channels, empty, strict=True) if is_empty]
    if unmeasured and dataset == "csv":
        names = ", ".join(f'"{name}"' for name in unmeasured)
        raise InputError(
            f"{series.entity}: {first_names(unmeasured)} never measured in the train part of {len(series.train)} rows, expected values of every "
            f"channel; write ignore = [{names}] in the table's description, or choose other rows by train_rows, train_fraction or train_file"
        )
    return series
