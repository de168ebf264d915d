"""SensorBlock: 1..n rows of one machine, the value of the `sensors` topic."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


# eq=False: a generated == would compare arrays and fail on their truth value.
@dataclass(frozen=True, slots=True, eq=False)
class SensorBlock:
    """Rows of one machine, oldest first as its sender wrote them.

    Attributes:
        machine: the machine's id; not empty.
        ts: [n] int64, event time of each row, microseconds UTC.
        channels: C distinct names, the columns of `values`.
        values: [n, C] float32, raw engineering units; NaN where a sensor gave nothing. Never infinite.
    """

    machine: str
    ts: np.ndarray
    channels: tuple[str, ...]
    values: np.ndarray

    def __len__(self) -> int:
        return len(self.ts)
