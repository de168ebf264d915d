"""Blocks of event time and what is kept of them: a few numbers a channel, whatever the rate of the rows."""

from __future__ import annotations

import numpy as np

STATISTICS = ("mean", "spread", "q10", "q90")
"""What is kept of every channel; the first axis of a summary."""
MEAN, SPREAD = 0, 1

MAX_ROWS = 32
"""Rows of a block that are looked at, evenly spaced: neighbouring rows say almost the same."""
LEAST_ROWS = 4
"""A block with fewer says nothing."""

SHORTEST_BLOCK_S = 3_600.0
LEAST_INTERVALS = 120
"""A block is at least so many sampling intervals long, so that it holds rows enough also where windows are scored seldom."""

_LEAST_SCORE = 0.01


def block_length_us(interval_s: float, block_s: float | None = None) -> int:
    """Microseconds of a block.

    Args:
        interval_s: seconds between rows.
        block_s: what is asked for; None: an hour, or `LEAST_INTERVALS` intervals where that is longer.
    """
    seconds = max(SHORTEST_BLOCK_S, LEAST_INTERVALS * interval_s) if block_s is None else block_s
    return max(1, round(seconds * 1e6))


def row_step(block_us: int, between_us: float) -> int:
    """Every how many-th window of a block is looked at, where they come `between_us` apart."""
    return max(1, -(-round(block_us / between_us) // MAX_ROWS))


def summarise(rows: np.ndarray) -> np.ndarray:
    """[n, C] rows, NaN where nothing was measured, to their summary [S, C] float64; NaN where less than half was measured."""
    values = rows.astype(np.float64)
    if np.isnan(values).any():
        return _with_gaps(values)
    n = len(values)
    ordered = np.sort(values, axis=0)
    low = (n - 1) // 10
    summary = np.empty((len(STATISTICS), values.shape[1]))
    np.divide(np.add.reduce(values, axis=0), n, out=summary[0])
    values -= summary[0]
    values *= values
    np.sqrt(np.add.reduce(values, axis=0) / n, out=summary[1])
    summary[2] = ordered[low]
    summary[3] = ordered[n - 1 - low]
    # Rounding must not let a channel that never moved look as if it had.
    summary[1, ordered[0] == ordered[-1]] = 0.0
    return summary


def _with_gaps(values: np.ndarray) -> np.ndarray:
    summary = np.full((len(STATISTICS), values.shape[1]), np.nan)
    for channel in range(values.shape[1]):
        measured = values[~np.isnan(values[:, channel]), channel]
        if 2 * len(measured) >= len(values) and len(measured) >= LEAST_ROWS:
            summary[:, channel] = summarise_one(measured)
    return summary


def summarise_one(values: np.ndarray) -> np.ndarray:
    """[n] values without NaN to [S]."""
    return summarise(values[:, None])[:, 0]


def log_scores(scores: np.ndarray) -> np.ndarray:
    """[n] calibrated scores to what is averaged over a block: one wild score must not outweigh a day of others."""
    return np.log(np.maximum(scores, 0.0) + _LEAST_SCORE)


def block_edges(times: np.ndarray, block_us: int) -> tuple[np.ndarray, np.ndarray]:
    """Rising event times [n] to the numbers of their blocks [b] and the index of each block's first entry [b]."""
    numbers = times // block_us
    starts = (
        np.flatnonzero(np.concatenate(([True], np.diff(numbers) != 0))) if len(times) else np.zeros(0, dtype=np.int64)
    )
    return numbers[starts], starts
