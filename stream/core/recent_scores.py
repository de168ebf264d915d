"""The largest scores of a machine's last hours: what its level would have to be if they were its new normal."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

BLOCK_US = 30 * 60 * 1_000_000
BLOCKS = 8
# With so many blocks the largest of them is left out: what a change begins with is no part of what it leads to.
ENOUGH = 4


@dataclass(slots=True)
class RecentScores:
    """The largest score of each half hour in which there was one, the newest last.

    Attributes:
        of: the bundle that gave the scores.
        block: number of the newest half hour.
    """

    of: str
    block: int = 0
    largest: list[float] = field(default_factory=list)

    def add(self, scores: np.ndarray, times: np.ndarray, peak: float) -> None:
        """[k] scores at [k] event times (us), the largest of which is `peak`; k is 1 or more."""
        first, last = times.item(0) // BLOCK_US, times.item(-1) // BLOCK_US
        if first == last == self.block and self.largest:
            if peak > self.largest[-1]:
                self.largest[-1] = peak
        elif first == last:
            self._begin(last, peak)
        else:
            blocks = times // BLOCK_US
            starts = np.flatnonzero(np.diff(blocks, prepend=blocks[0] - 1))
            for start, top in zip(starts.tolist(), np.maximum.reduceat(scores, starts).tolist(), strict=True):
                if blocks[start] == self.block and self.largest:
                    self.largest[-1] = max(self.largest[-1], top)
                else:
                    self._begin(int(blocks[start]), top)

    def typical_peak(self) -> float:
        """What the scores of these hours reach, but for one half hour; 0 where there were none."""
        ordered = sorted(self.largest)
        return ordered[-2] if len(ordered) >= ENOUGH else ordered[-1] if ordered else 0.0

    def _begin(self, block: int, peak: float) -> None:
        self.block = block
        self.largest.append(peak)
        del self.largest[:-BLOCKS]


class RecentSlot:
    """Recent scores in a snapshot; those of another bundle are of no use."""

    def __init__(self, bundle: str) -> None:
        self._bundle = bundle

    def new(self) -> RecentScores:
        return RecentScores(self._bundle)

    def adopt(self, memory: RecentScores) -> RecentScores:
        return memory if memory.of == self._bundle else self.new()

    def dump(self, memory: RecentScores) -> Any:
        return asdict(memory)

    def load(self, saved: Any) -> RecentScores:
        return RecentScores(str(saved["of"]), int(saved["block"]), [float(score) for score in saved["largest"]])
