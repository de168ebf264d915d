"""Recent rows of a machine that are presumed normal: what an adaptation learns from, and what it is judged on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from wheeltapper.schemas.errors import InputError
from wheeltapper.stream.core.imputation import carry_forward
from wheeltapper.stream.core.windows import windows_of
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.fitting.calibration import contiguous_runs
from wheeltapper.training.fitting.training_rows import channel_medians

HELD_OUT_SHARE = 0.3


@dataclass(frozen=True)
class RecentRows:
    """Rows of one machine, presumed normal, in time order; holes in time are allowed.

    Attributes:
        values: [n, C] float32, raw units, NaN where a sensor gave nothing; channels in the bundle's order.
        times: [n] int64, microseconds UTC, strictly increasing.
        held_out_share: the last share of the rows, which no step learns from: the gate judges on them.
        accepted: True where a person said that this state is the new normal.

    Raises:
        InputError: lengths that differ, or times that do not increase.
    """

    values: np.ndarray
    times: np.ndarray
    held_out_share: float = HELD_OUT_SHARE
    accepted: bool = False

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or len(self.values) != len(self.times):
            raise InputError(
                f"recent rows have shape {self.values.shape} and {len(self.times)} times, expected [n, C] and n times"
            )
        if len(self.times) > 1 and not (np.diff(self.times) > 0).all():
            raise InputError("the times of the recent rows do not increase; sort the rows by time, without doubles")
        if not 0 < self.held_out_share < 1:
            raise InputError(f"held_out_share is {self.held_out_share}, expected between 0 and 1")

    def __len__(self) -> int:
        return len(self.values)

    def split(self) -> tuple[RecentRows, RecentRows]:
        """The rows to learn from, and the held-out ones behind them."""
        first = int(len(self) * (1 - self.held_out_share))
        return (
            replace(self, values=self.values[:first], times=self.times[:first]),
            replace(self, values=self.values[first:], times=self.times[first:]),
        )

    def runs(self, sampling_interval_s: float) -> list[tuple[np.ndarray, np.ndarray]]:
        """Stretches without a hole: [T_i, C] float32 with missing values carried forward, and [T_i] times."""
        if not len(self):
            return []
        typical = channel_medians([self.values])
        return [
            (carry_forward(self.values[run], typical).astype(np.float32), self.times[run])
            for run in contiguous_runs(self.times, sampling_interval_s)
        ]

    def windows(self, window: int, sampling_interval_s: float, stride: int = 1) -> list[np.ndarray]:
        """Of every stretch that is long enough the windows [k, W, C] float32, views, `stride` rows apart."""
        return [
            windows_of(values, window)[::stride]
            for values, _ in self.runs(sampling_interval_s)
            if len(values) >= window
        ]


def recent_part(series: SensorSeries, rows: slice = slice(None)) -> RecentRows:
    """Rows of a series' test part, those with a label of 1 left out."""
    values, times = series.test[rows], series.test_ts[rows]
    if series.test_labels is not None:
        normal = series.test_labels[rows] == 0
        values, times = values[normal], times[normal]
    return RecentRows(np.asarray(values, dtype=np.float32), np.asarray(times, dtype=np.int64))
