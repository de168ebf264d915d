"""The largest scores of a machine's last hours: what its level would have to be if they were its new normal."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from wheeltapper.stream.core.saved import LONGEST_US, listed, score, text, whole

BLOCK_US = 30 * 60 * 1_000_000
BLOCKS = 8
# With so many blocks the largest of them is left out: what a change begins with is no part of what it leads to.
ENOUGH = 4


@dataclass(slots=True)
class RecentScores:
    """The largest score of each half hour that had one worth remembering.

    Attributes:
        of: the bundle that gave the scores.
        blocks: numbers of those half hours, in the order in which they came; largest: score of each.
    """

    of: str
    blocks: list[int] = field(default_factory=list)
    largest: list[float] = field(default_factory=list)

    def add(self, scores: np.ndarray, times: np.ndarray, least: float) -> None:
        """[k] scores at [k] event times (us), of which those below `least` are not worth remembering; k is 1 or more."""
        blocks = times // BLOCK_US
        starts = np.flatnonzero(np.diff(blocks, prepend=blocks[0] - 1))
        for block, top in zip(blocks[starts].tolist(), np.maximum.reduceat(scores, starts).tolist(), strict=True):
            if top < least:
                continue
            if self.blocks and self.blocks[-1] == block:
                self.largest[-1] = max(self.largest[-1], top)
            else:
                self.blocks.append(block)
                self.largest.append(top)
                del self.blocks[:-BLOCKS], self.largest[:-BLOCKS]

    def typical_peak(self, time: int) -> float:
        """What the scores of the hours before event time `time` (us) reach, but for one half hour; 0 where there were none."""
        newest = time // BLOCK_US
        known = zip(self.blocks, self.largest, strict=True)
        ordered = sorted(score for block, score in known if newest - BLOCKS < block <= newest)
        return ordered[-2] if len(ordered) >= ENOUGH else ordered[-1] if ordered else 0.0


class RecentSlot:
    """Recent scores in a snapshot; those of another bundle are of no use."""

    def __init__(self, bundle: str) -> None:
        self._bundle = bundle

    def new(self) -> RecentScores:
        return RecentScores(self._bundle)

    def adopt(self, memory: RecentScores) -> RecentScores:
        return memory if memory.of == self._bundle else self.new()

    def dump(self, memory: RecentScores) -> Any:
        return asdict(memory) if memory.blocks else None

    def load(self, saved: Any) -> RecentScores:
        # Blocks may be numbered before 1970.
        blocks = listed(lambda block: whole(block, -LONGEST_US, LONGEST_US), saved["blocks"], BLOCKS)
        largest = listed(score, saved["largest"], BLOCKS)
        if len(blocks) != len(largest):
            raise ValueError(f"{len(largest)} scores of {len(blocks)} half hours")
        return RecentScores(text(saved["of"]), blocks, largest)
