"""Readings of machines' channels that come one by one, and the rules by which `stream.core.assembly` makes rows of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

HOLD_INTERVALS = 60
"""Age limit of a held value where none is set, in intervals."""
MOST_INTERVALS = 100_000
"""Longest hold, and longest grace: bounds the rows that one reading can bring about, and the readings that wait."""


@dataclass(frozen=True, slots=True)
class AssemblyRules:
    """How readings become rows; microseconds of event time.

    Attributes:
        grace_us: how much newer than a row a reading must be for the row to come out without channels that are missing; None:
            one interval.
        hold_us: a value counts for so long after its time; None: `HOLD_INTERVALS` intervals.
        phase_us: the grid lies so far behind whole multiples of the interval.
    """

    grace_us: int | None = None
    hold_us: int | None = None
    phase_us: int = 0

    def limits(self, interval_us: int) -> tuple[int, int]:
        """(grace, hold) in microseconds for a grid, at most `MOST_INTERVALS` of it."""
        grace = interval_us if self.grace_us is None else self.grace_us
        hold = HOLD_INTERVALS * interval_us if self.hold_us is None else self.hold_us
        return min(grace, MOST_INTERVALS * interval_us), min(hold, MOST_INTERVALS * interval_us)


@dataclass(frozen=True, slots=True)
class ReadingBlock:
    """Readings of one machine out of one batch, in offset order.

    Attributes:
        offsets: [n] int64, input offset of the message that each reading came in.
        times: [n] int64, event time, microseconds UTC.
        columns: [n] int64, its channel: a column of the layout.
        values: [n] float32; NaN where the sensor gave nothing, or nothing good.
        stamps: [n] int64, timestamp (ms) of its record; negative where that has none.
        rules: how they become rows.
    """

    offsets: np.ndarray
    times: np.ndarray
    columns: np.ndarray
    values: np.ndarray
    stamps: np.ndarray
    rules: AssemblyRules

    def __len__(self) -> int:
        return len(self.offsets)

    @property
    def length(self) -> int:
        """Steps of time, as far as readings of one time stand side by side: about the rows that they make."""
        return 1 + int(np.count_nonzero(np.diff(self.times))) if len(self.times) else 0

    @property
    def size(self) -> int:
        """Values."""
        return len(self.offsets)

    def after(self, offset: int) -> ReadingBlock:
        """The readings of messages behind `offset`."""
        return self.only(self.offsets > offset)

    def only(self, kept: np.ndarray | slice) -> ReadingBlock:
        """The readings that [n] bool `kept` says, or a range of them."""
        return ReadingBlock(
            self.offsets[kept], self.times[kept], self.columns[kept], self.values[kept], self.stamps[kept], self.rules
        )
