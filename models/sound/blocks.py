"""Blocks of time inside of a fit: a detector that scores in units of its own held-out scores finds them by these."""

from __future__ import annotations

import itertools

import numpy as np

BLOCKS = 6
# Of scores that hardly differ, as after a few clips of a steady machine.
LEAST_SPREAD = 0.1


def blocks_of_time(
    recording: np.ndarray, overlap: int = 0, blocks: int = BLOCKS
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Windows in order of time, cut into consecutive blocks.

    Args:
        recording: [n] int64, of each window.
        overlap: a window shares samples with so many before and after it in its recording.

    Returns:
        (held out, fitted on), indices: no recording is on both sides where there are two or more, no sample where there is one.
    """
    # Recordings by when they began.
    _, begins, number = np.unique(recording, return_index=True, return_inverse=True)
    if len(begins) > 1:
        place = np.argsort(np.argsort(begins))[number]
        block = place * min(blocks, len(begins)) // len(begins)
        return [(np.flatnonzero(block == index), np.flatnonzero(block != index)) for index in range(block.max() + 1)]
    count = len(recording)
    edges = np.linspace(0, count, min(blocks, count) + 1).astype(np.int64)
    rows = np.arange(count)
    found = []
    for low, high in itertools.pairwise(edges.tolist()):
        away = (rows < low - overlap) | (rows >= high + overlap)
        if not away.any():  # so short that every other window overlaps
            away = (rows < low) | (rows >= high)
        found.append((rows[low:high], rows[away]))
    return found


def centre_and_spread(held_out: np.ndarray) -> tuple[float, float]:
    """Median, and sqrt(var + .1^2), of held-out logarithms of distances."""
    return float(np.median(held_out)), float(np.sqrt(held_out.var() + LEAST_SPREAD**2))
