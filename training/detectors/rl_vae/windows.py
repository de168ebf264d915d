"""Windows of several sources in one list, each with the window that follows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

# A window that nothing follows: the last of a run, and every window that stands alone.
NOTHING_FOLLOWS = -1


@dataclass(frozen=True)
class WindowBank:
    """
    Attributes:
        rows: [n, C] float32, z-scores.
        ends: [m] int64, last row of each window.
        next: [m] int64, index of the window one row later, or `NOTHING_FOLLOWS`: there an episode ends.
        window: W, rows.
    """

    rows: np.ndarray
    ends: np.ndarray
    next: np.ndarray
    window: int

    def __len__(self) -> int:
        return len(self.ends)

    def take(self, index: np.ndarray) -> Tensor:
        """[b] indices -> [b, W, C] float32."""
        where = self.ends[index][:, None] + np.arange(1 - self.window, 1)
        return torch.from_numpy(self.rows[where])

    def subset(self, index: np.ndarray) -> WindowBank:
        """Those windows alone, in that order; a window keeps its successor where that was taken too."""
        place = np.full(len(self) + 1, NOTHING_FOLLOWS, dtype=np.int64)
        place[index] = np.arange(len(index))
        return WindowBank(self.rows, self.ends[index], place[self.next[index]], self.window)


def bank_of_runs(rows: np.ndarray, ends: np.ndarray, window: int) -> WindowBank:
    """Windows that end at `ends` (ascending); neighbours one row apart follow each other."""
    following = np.full(len(ends), NOTHING_FOLLOWS, dtype=np.int64)
    followed = np.flatnonzero(np.diff(ends) == 1)
    following[followed] = followed + 1
    return WindowBank(rows.astype(np.float32, copy=False), ends.astype(np.int64), following, window)


def bank_of_windows(windows: np.ndarray) -> WindowBank:
    """[m, W, C] z-scores that stand alone."""
    count, window, channels = windows.shape
    rows = np.ascontiguousarray(windows, dtype=np.float32).reshape(count * window, channels)
    ends = np.arange(1, count + 1, dtype=np.int64) * window - 1
    return WindowBank(rows, ends, np.full(count, NOTHING_FOLLOWS, dtype=np.int64), window)


def joined(banks: Sequence[WindowBank]) -> WindowBank:
    """All windows in order; none of one bank follows one of another."""
    row, place = 0, 0
    ends, following = [], []
    for bank in banks:
        ends.append(bank.ends + row)
        following.append(np.where(bank.next == NOTHING_FOLLOWS, NOTHING_FOLLOWS, bank.next + place))
        row, place = row + len(bank.rows), place + len(bank)
    return WindowBank(
        np.concatenate([bank.rows for bank in banks]),
        np.concatenate(ends),
        np.concatenate(following),
        banks[0].window,
    )
