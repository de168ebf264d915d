"""Event time of a series: the made-up clock, and moving a series to another time.

A data set without timestamps gets the same clock everywhere, so that alert ids agree between an offline run and
any replay: row 0 of the test part is `MADE_UP_TEST_START`, the rows are one sampling interval apart, and the train
part ends one interval before it. Row i of the test part thus has the same time whatever the train part's length.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from schemas.clock import MAX_MICROS, MIN_MICROS, micros_from_iso
from schemas.errors import InputError
from training.datasets.series import SensorSeries

MADE_UP_TEST_START = micros_from_iso("2024-01-01T00:00:00Z")
MADE_UP_INTERVAL_S = 60.0
MICROS_PER_SECOND = 1_000_000


def made_up_times(
    train_rows: int, test_rows: int, interval_s: float = MADE_UP_INTERVAL_S
) -> tuple[np.ndarray, np.ndarray]:
    """Times of the train and the test part, [train_rows] and [test_rows] int64 microseconds UTC."""
    step = round(interval_s * MICROS_PER_SECOND)
    train = MADE_UP_TEST_START + step * np.arange(-train_rows, 0, dtype=np.int64)
    test = MADE_UP_TEST_START + step * np.arange(test_rows, dtype=np.int64)
    return train, test


def start_at(series: SensorSeries, start: str | None) -> SensorSeries:
    """Move the whole series in time so that row 0 of the test part is at `start`; None changes nothing.

    Raises:
        InputError: as `shift_to`.
    """
    origin = series.test_ts if len(series.test_ts) else series.train_ts
    if start is None or not len(origin):
        return series
    shift = int(shift_to(origin, start)[0]) - int(origin[0])
    return replace(series, train_ts=series.train_ts + shift, test_ts=series.test_ts + shift)


def shift_to(times: np.ndarray, start: str | None) -> np.ndarray:
    """Move [T] times so that the first is at `start`; None changes nothing.

    Args:
        start: 'now' (the wall clock, whole seconds) or an ISO 8601 time; without an offset it is UTC.

    Raises:
        InputError: `start` is neither, or moves rows out of the years 1 to 9999.
    """
    if start is None or not len(times):
        return times
    if start == "now":
        first = int(time.time()) * MICROS_PER_SECOND
    else:
        try:
            first = micros_from_iso(start)
        except ValueError as error:
            raise InputError(
                f"start is '{start}', expected 'now' or an ISO 8601 time such as 2024-05-01T00:00:00Z"
            ) from error
    moved = times + (first - int(times[0]))
    if moved[0] < MIN_MICROS or moved[-1] > MAX_MICROS:
        raise InputError(f"start '{start}' puts rows outside of the years 1 to 9999; choose another start")
    return moved
