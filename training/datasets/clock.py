"""Event time of a series: the made-up clock, and moving a series to another time.

A data set without timestamps gets the same clock everywhere, so that alert ids agree between an offline run and
any replay: row 0 of the test part is `MADE_UP_TEST_START`, the rows are one sampling interval apart, and the train
part ends one interval before it. Row i of the test part thus has the same time whatever the train part's length.
"""

from __future__ import annotations

import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np

from wheeltapper.schemas.clock import MAX_MICROS, MIN_MICROS, micros_from_iso
from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.series import SensorSeries

MADE_UP_TEST_START = micros_from_iso("2024-01-01T00:00:00Z")
MADE_UP_INTERVAL_S = 60.0
MICROS_PER_SECOND = 1_000_000
# A recording that stutters is repaired by dropping the repeated rows; more than this part of them is another fault.
_MOST_REPEATED = 0.01


def made_up_times(
    train_rows: int, test_rows: int, interval_s: float = MADE_UP_INTERVAL_S
) -> tuple[np.ndarray, np.ndarray]:
    """Times of the train and the test part, [train_rows] and [test_rows] int64 microseconds UTC."""
    step = round(interval_s * MICROS_PER_SECOND)
    train = MADE_UP_TEST_START + step * np.arange(-train_rows, 0, dtype=np.int64)
    test = MADE_UP_TEST_START + step * np.arange(test_rows, dtype=np.int64)
    return train, test


def median_interval_s(times: np.ndarray) -> float:
    """Median step of [T] times in seconds; 1 where there are fewer than two."""
    return float(np.median(np.diff(times))) / MICROS_PER_SECOND if len(times) > 1 else 1.0


def later_rows(path: Path, times: np.ndarray) -> np.ndarray:
    """[T] bool: rows later than all before them; says in a warning how many are not.

    Raises:
        InputError: more than 1 % of the rows are not.
    """
    before = np.maximum.accumulate(times)
    kept = np.ones(len(times), dtype=bool)
    kept[1:] = times[1:] > before[:-1]
    dropped = int(len(times) - kept.sum())
    if dropped > _MOST_REPEATED * len(times):
        row = int(np.flatnonzero(~kept)[0]) + 2
        raise InputError(
            f"{path}, line {row}: {dropped} of {len(times)} rows are not later than the row before, expected "
            "increasing times; copy the file again"
        )
    if dropped:
        warnings.warn(f"{path}: {dropped} rows with a repeated or earlier time were left out", stacklevel=2)
    return kept


def spread_repeats(times: np.ndarray) -> np.ndarray:
    """[T] strictly increasing times: rows not later than one before them are spread evenly up to the next that is.

    Keeps every row where a source's clock stood still or was set back (a change to or from summer time), so that row
    numbers stay those of the source.
    """
    before = np.maximum.accumulate(times)
    later = np.flatnonzero(np.concatenate([[True], times[1:] > before[:-1]]))
    if len(later) == len(times):
        return times
    # Where nothing later follows, the rows go on in the series' own step.
    step = round(median_interval_s(times[later]) * MICROS_PER_SECOND)
    rows = np.append(later, len(times))
    known = np.append(times[later], times[later[-1]] + step * (len(times) - int(later[-1])))
    segment = np.searchsorted(later, np.arange(len(times)), side="right") - 1
    gap, length = known[segment + 1] - known[segment], rows[segment + 1] - rows[segment]
    return np.asarray(known[segment] + gap * (np.arange(len(times)) - rows[segment]) // length)


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
