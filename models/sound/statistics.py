"""Small statistics that sound detectors share: shrunk covariances, centres of many rows. numpy alone."""

from __future__ import annotations

import numpy as np

# Rounds of k-means: more move the mean distance to the nearest centre by less than a hundredth.
ROUNDS = 10
# Rows that centres are fitted on, evenly spaced.
FITTED_ROWS = 20_000
# float64 values of a block of distances.
_BLOCK_VALUES = 4_000_000


def ledoit_wolf(rows: np.ndarray) -> np.ndarray:
    """Covariance of rows [n, D], shrunk towards a multiple of the identity by Ledoit and Wolf's (2004) best amount.

    Returns:
        [D, D] float64.
    """
    count, width = rows.shape
    centered = rows - rows.mean(axis=0)
    sample = centered.T @ centered / count
    scale = float(np.trace(sample)) / width
    distance = float(np.sum((sample - scale * np.eye(width)) ** 2))
    squares = centered**2
    noise = float(np.sum(squares.T @ squares / count - sample**2)) / count
    share = min(noise, distance) / distance if distance > 0 else 0.0
    return np.asarray((1 - share) * sample + share * scale * np.eye(width))


def distances(rows: np.ndarray, references: np.ndarray) -> np.ndarray:
    """[n, K] float64: Euclidean, from differences: no digits are lost between rows that are near."""
    found = np.empty((len(rows), len(references)))
    step = max(1, _BLOCK_VALUES // max(1, references.size))
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        found[start : start + step] = np.sqrt(((part[:, None, :] - references[None, :, :]) ** 2).sum(axis=2))
    return found


def centres(rows: np.ndarray, count: int) -> np.ndarray:
    """At most `count` rows that stand for all: the rows themselves, or the centres of k-means, started evenly over time.

    Deterministic: no seed.
    """
    if len(rows) <= count:
        return rows
    if len(rows) > FITTED_ROWS:
        rows = rows[np.linspace(0, len(rows) - 1, FITTED_ROWS).astype(np.int64)]
    found = rows[np.linspace(0, len(rows) - 1, count).astype(np.int64)].copy()
    squares = (rows**2).sum(axis=1)
    owner = np.full(len(rows), -1)
    for _ in range(ROUNDS):
        near = np.empty(len(rows), dtype=np.int64)
        step = max(1, _BLOCK_VALUES // count)
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            far = squares[part, None] - 2 * rows[part] @ found.T + (found**2).sum(axis=1)
            near[part] = far.argmin(axis=1)
        if np.array_equal(near, owner):
            break
        owner = near
        sums = np.zeros_like(found)
        np.add.at(sums, owner, rows)
        members = np.bincount(owner, minlength=count)
        # A centre that lost all its rows stays where it is.
        found = np.where(members[:, None] > 0, sums / np.maximum(members, 1)[:, None], found)
    return found
