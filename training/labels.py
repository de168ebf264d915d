"""Windows that a person has judged: what training reads back from operators."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NORMAL, ANOMALOUS = 0, 1


@dataclass(frozen=True)
class LabelledWindows:
    """
    Attributes:
        windows: [n, W, C] float32, raw units, NaN where a sensor gave nothing; channels in the series' order.
        labels: [n] uint8, `NORMAL` or `ANOMALOUS`, of each window's last row.
        times: [n] int64, event time of that row, microseconds UTC.
    """

    windows: np.ndarray
    labels: np.ndarray
    times: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)
