"""How a GPU's batches are padded to few sizes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def padded(rows: np.ndarray, size: int) -> np.ndarray:
    """[n, ..] to [size, ..]: repeating a real window keeps padding free of NaN and of denormal slow paths."""
    padded = np.empty((size, *rows.shape[1:]), dtype=np.float32)
    padded[: len(rows)] = rows
    padded[len(rows) :] = rows[:1]
    return padded


def split_padded(count: int, sizes: Sequence[int]) -> list[tuple[int, int, int]]:
    """(start, length, padded size) of the runs that score `count` windows: padding never doubles a run's work."""
    runs = []
    start = 0
    while start < count:
        left = count - start
        larger = next((size for size in sizes if size >= left), None)
        size = larger if larger is not None and larger <= 2 * left else max(size for size in sizes if size <= left)
        length = min(size, left)
        runs.append((start, length, size))
        start += length
    return runs
