"""Columns that cannot have a range, as they only rise: row numbers, clocks, counters.

A detector that learns the range of such a column in the train part finds every later row outside of it, for ever.
"""

from __future__ import annotations

import re

import numpy as np

_INDEX_NAMES = re.compile(
    r"unnamed: ?\d+(\.\d+)?|column \d+|index|level_0|#|no\.?|nr\.?|n|id|row|row_?(id|no|nr|number|names?)|rowid|record|record_?(id|no)|"
    r"sample|sample_?(id|no)|seq|sequence|lfd\.? ?nr\.?|uid|rec_?id",
    re.IGNORECASE,
)
_FEWEST_ROWS = 50
"""With fewer rows a measured value may well have risen all along."""
_FEWEST_RISES = 20
_MOST_RESETS = 0.01
_RESET_BELOW = 0.1
"""A counter that starts anew, starts below this part of where it was."""


def is_index(name: str, values: np.ndarray) -> bool:
    """Whether [T] values, in the order of the file, are row numbers: whole, one more each row, or rising under such a name."""
    if len(values) < 3 or not np.isfinite(values).all() or (values != np.rint(values)).any():
        return False
    steps = np.diff(values)
    if _INDEX_NAMES.fullmatch(name):
        return bool((steps > 0).all())
    return len(values) >= _FEWEST_ROWS and values[0] in (0, 1) and bool((steps == 1).all())


def is_clock(values: np.ndarray, times: np.ndarray) -> bool:
    """Whether [T] values rise with [T] times (us) and nothing else: seconds since a start, a time in another unit."""
    if len(values) < _FEWEST_ROWS or not np.isfinite(values).all():
        return False
    span, rise = float(times[-1] - times[0]), float(values[-1] - values[0])
    if rise <= 0 or span <= 0:
        return False
    ahead = (values - values[0]) - rise * ((times - times[0]) / span)
    return bool(np.abs(ahead).max() < 1e-6 * rise + 1e-9 * np.abs(values).max())


def is_counter(values: np.ndarray) -> bool:
    """Whether [T] values only rise, in every quarter of the rows, but for starting anew near zero now and then."""
    values = values[np.isfinite(values)]
    if len(values) < _FEWEST_ROWS:
        return False
    steps = np.diff(values)
    falls = np.flatnonzero(steps < 0)
    if len(falls) > max(1, _MOST_RESETS * len(values)):
        return False
    if len(falls) and ((values[falls + 1] < 0) | (values[falls + 1] > _RESET_BELOW * values[falls])).any():
        return False
    rises = np.flatnonzero(steps > 0)
    quarters = np.unique(rises * 4 // len(steps))
    return len(rises) >= _FEWEST_RISES and len(quarters) == 4


def rate_of(values: np.ndarray, times: np.ndarray) -> np.ndarray:
    """[T] rise a second since the row before; NaN in the first row, beside a missing value, and where the counter starts anew."""
    rate = np.full(len(values), np.nan)
    with np.errstate(invalid="ignore"):
        steps = np.diff(values)
        rate[1:] = np.where(steps < 0, np.nan, steps / (np.diff(times) / 1e6))
    return rate
