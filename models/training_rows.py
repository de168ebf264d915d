"""Training rows as the numpy detectors take them: contiguous runs, finite, without a missing value."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class TrainingRows:
    """What a detector is fitted on.

    Attributes:
        runs: [T_i, C] float32, raw units, no NaN; rows of one run follow each other in time, runs do not.
        typical: [C] float64, each channel's median over the measured values; 0 for a channel that was never measured.
        never_measured: [C] bool.
    """

    runs: tuple[np.ndarray, ...]
    typical: np.ndarray
    never_measured: np.ndarray

    @property
    def rows(self) -> int:
        return sum(len(run) for run in self.runs)

    @property
    def channels(self) -> int:
        return len(self.typical)

    def column(self, channel: int) -> list[np.ndarray]:
        """One channel of every run as float64, so that a fit needs one channel in double precision at a time."""
        return [run[:, channel].astype(np.float64) for run in self.runs]


def moving_channels(train: np.ndarray) -> np.ndarray:
    """[C] bool: which columns of [n, C] take at least two values; NaN is left out."""
    low = np.fmin.reduce(train, axis=0)
    return np.asarray(np.fmax.reduce(train, axis=0) > low)
