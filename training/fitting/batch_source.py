"""What a network is trained on, batch by batch: windows cut from rows when they are asked for, or items by their numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from torch import Tensor


class BatchSource(Protocol):
    """What a network learns from: so many items, and batches of them."""

    def __len__(self) -> int: ...

    def take(self, index: Tensor) -> Tensor:
        """[b] indices of items -> a batch [b, ..]."""
        ...

    def batches(self, size: int, *, at_most: int | None = None) -> Iterator[Tensor]:
        """All items in order, or `at_most` of them evenly spread."""
        ...


class ItemSource:
    """Items by their numbers alone: what they are, the objective knows.

    Args:
        items: [n] int64.
    """

    def __init__(self, items: np.ndarray) -> None:
        self.items = torch.as_tensor(items, dtype=torch.int64)

    def __len__(self) -> int:
        return len(self.items)

    def take(self, index: Tensor) -> Tensor:
        """[b] places in `items` -> [b] int64."""
        return self.items[index]

    def batches(self, size: int, *, at_most: int | None = None) -> Iterator[Tensor]:
        """All items in order, or `at_most` of them evenly spread."""
        yield from (self.take(part) for part in evenly_spread(len(self), at_most).split(size))


def evenly_spread(count: int, at_most: int | None) -> Tensor:
    """[k] int64 places of at most so many items out of `count`, ascending; None takes all."""
    chosen = count if at_most is None else min(count, at_most)
    return torch.div(torch.arange(chosen) * count, max(chosen, 1), rounding_mode="floor")


class WindowSource:
    """Stride-1 windows over rows, cut when asked for: the rows are in memory once.

    Args:
        rows: [n, C] float32, as the network takes them.
        ends: [m] int64, index of each window's last row; `ends >= window - 1`.
        window: T.
        last_rows: [m] int64, which row of the series each window ends with, where `rows` are sorted otherwise; None: `ends`.
    """

    def __init__(
        self, rows: np.ndarray | Tensor, ends: np.ndarray, window: int, last_rows: np.ndarray | None = None
    ) -> None:
        self.rows = torch.as_tensor(rows, dtype=torch.float32)
        self.ends = torch.as_tensor(ends, dtype=torch.int64)
        self.last_rows = self.ends if last_rows is None else torch.as_tensor(last_rows, dtype=torch.int64)
        self.window = window
        self._offsets = torch.arange(1 - window, 1)

    def __len__(self) -> int:
        return len(self.ends)

    def take(self, index: Tensor) -> Tensor:
        """[b] indices into `ends` -> [b, T, C]."""
        return self.rows[self.ends[index][:, None] + self._offsets]

    def batches(self, size: int, *, at_most: int | None = None) -> Iterator[Tensor]:
        """All windows in time order, or `at_most` of them evenly spread."""
        yield from (self.take(part) for part in evenly_spread(len(self), at_most).split(size))
