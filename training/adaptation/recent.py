"""A machine's recent rows, presumed normal: what is learnt from, and what is held out to judge by."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from wheeltapper.models.training_rows import moving_channels
from wheeltapper.schemas.bundle import Bundle, Graph, GraphOutput
from wheeltapper.schemas.bundle.graph import joined
from wheeltapper.schemas.errors import InputError
from wheeltapper.stream.core.imputation import carry_forward
from wheeltapper.stream.core.row_memory import usual_values
from wheeltapper.stream.core.windows import windows_of
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.fitting.calibration import contiguous_runs

HELD_OUT_SHARE = 0.35
MOST_STRETCHES = 4
LEAST_STRETCH_WINDOWS = 3
"""Rows that judge lie in so many stretches of at least so many windows' length: a machine is in one mode for hours, and judges of
one mode do not know the others."""
# Of the reference windows: a channel that moves in so many of them does not stand still for all of the recent rows.
LIVELY_SHARE = 0.95


@dataclass(frozen=True)
class RecentRows:
    """
    Attributes:
        values: [n, C] float32, raw units, columns in the bundle's order; NaN where a sensor gave nothing.
        times: [n] int64 event time (us), rising; rows that are not presumed normal are left out, so there are gaps.
        held_out_share: of the rows: no step learns from them, the gate judges by them.
        accepted: True where a person said that this is the new normal.
    """

    values: np.ndarray
    times: np.ndarray
    held_out_share: float = HELD_OUT_SHARE
    accepted: bool = False

    def __post_init__(self) -> None:
        """
        Raises:
            InputError: times that do not fit the values, or do not rise.
        """
        if self.values.ndim != 2 or len(self.values) != len(self.times):
            raise InputError(
                f"recent rows have shape {self.values.shape} and {len(self.times)} times, expected [n, C] and n"
            )
        if len(self.times) > 1 and not (np.diff(self.times) > 0).all():
            raise InputError("the times of recent rows do not rise; leave repeated and late rows out")
        if not 0 < self.held_out_share < 1:
            raise InputError(f"held_out_share is {self.held_out_share}, expected between 0 and 1")

    def __len__(self) -> int:
        return len(self.values)

    def split(self, window: int) -> tuple[RecentRows, RecentRows]:
        """The rows to learn from, and those that judge: stretches from all over the rows, the newest rows in the last of them.

        Args:
            window: rows. No window has rows of both.
        """
        count = round(self.held_out_share * len(self.values))
        stretches = min(max(count // (LEAST_STRETCH_WINDOWS * window), 1), MOST_STRETCHES)
        judges = np.zeros(len(self.values), np.bool_)
        for part in np.array_split(np.arange(len(self.values)), stretches):
            judges[part[len(part) - round(self.held_out_share * len(part)) :]] = True
        return (
            replace(self, values=self.values[~judges], times=self.times[~judges]),
            replace(self, values=self.values[judges], times=self.times[judges]),
        )


@dataclass(frozen=True)
class WindowSource:
    """Windows of some rows as a bundle's graph takes them, missing values carried forward as the stream does.

    Attributes:
        rows: where they come from; no window spans a gap.
    """

    bundle: Bundle
    rows: RecentRows

    @cached_property
    def runs(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """(values [k, C] without NaN, times [k]) of each stretch without a gap."""
        usual = usual_values(self.bundle.reference_rows())
        return [
            (carry_forward(self.rows.values[run], usual).astype(np.float32), self.rows.times[run])
            for run in contiguous_runs(self.rows.times, self.bundle.manifest.sampling_interval_s)
        ]

    def windows(self) -> np.ndarray:
        """[k, W, C] float32: every window, `stride` rows apart within a run, in time order."""
        manifest = self.bundle.manifest
        parts = [
            windows_of(values, manifest.window)[:: manifest.stride]
            for values, _ in self.runs
            if len(values) >= manifest.window
        ]
        if not parts:
            return np.empty((0, *manifest.sample_shape), np.float32)
        return np.concatenate(parts)

    def scored(self, graph: Graph) -> GraphOutput:
        """What a graph with the bundle's window says of `windows`, without making them."""
        manifest = self.bundle.manifest
        parts = [
            graph.run_rows(values[None], manifest.stride) for values, _ in self.runs if len(values) >= manifest.window
        ]
        return joined(parts) if parts else graph.run(self.windows())

    def ends(self) -> np.ndarray:
        """[k] int64 event time (us) of each window's last row."""
        manifest = self.bundle.manifest
        parts = [times[manifest.window - 1 :: manifest.stride] for _, times in self.runs]
        return np.concatenate(parts) if parts else np.empty(0, np.int64)


def reference_windows(bundle: Bundle) -> np.ndarray:
    """[k, W, C] float32: the bundle's reference windows, missing values filled as the stream does."""
    rows = bundle.reference_rows()
    usual = usual_values(rows)
    windows = rows.reshape(-1, *bundle.manifest.sample_shape)
    return np.stack([carry_forward(window, usual) for window in windows]).astype(np.float32)


def dead_channels(bundle: Bundle, recent: RecentRows) -> list[str]:
    """Names of channels that moved in nearly every reference window, and hang or are missing in all recent rows."""
    windows = bundle.reference_rows().reshape(-1, *bundle.manifest.sample_shape)
    moves = np.fmax.reduce(windows, axis=1) > np.fmin.reduce(windows, axis=1)  # [k, C]
    lively = moves.mean(axis=0) >= LIVELY_SHARE
    still = ~moving_channels(recent.values)
    # Fewer rows than a window may well stand still.
    if len(recent) < bundle.manifest.window:
        return []
    return [name for name, dead in zip(bundle.manifest.channel_names, lively & still, strict=True) if dead]


def recent_part(series: SensorSeries, rows: slice = slice(None)) -> RecentRows:
    """Rows of a series' test part, those that are labelled as anomalous left out."""
    values, times = series.test[rows], series.test_ts[rows]
    if series.test_labels is not None:
        normal = series.test_labels[rows] == 0
        values, times = values[normal], times[normal]
    return RecentRows(np.asarray(values, dtype=np.float32), np.asarray(times, dtype=np.int64))
