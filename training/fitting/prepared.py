"""A series made ready for a network: scaled, filled, split in time, and the windows of both parts.

The first part is trained on; the last `validation_share` of the train part, in time, is held out for early stopping, the
alarm level and whatever else must not come from rows that the network has seen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from wheeltapper.models.training_rows import moving_channels
from wheeltapper.schemas.errors import InputError
from wheeltapper.stream.core.imputation import carry_forward
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.fitting.calibration import contiguous_runs
from wheeltapper.training.fitting.training_rows import channel_medians

# Fewer windows than that on either side of the split say nothing about normal.
MINIMUM_WINDOWS = 30
VALIDATION_SHARE = 0.2
INPUT_CLIP = 1000.0

Scale = Literal["train", "given"]
"""'train': by mean and standard deviation of the train part. 'given': values are taken as they come; for a data set that was
published scaled over train and test together, this is what its leak earns, and reports show it beside the honest value."""


@dataclass(frozen=True)
class PreparedSeries:
    """
    Attributes:
        series: where it comes from.
        window: T, rows.
        mean, scale: [C] float32, raw units; z = (x - mean) / scale.
        moving: [C] bool, channels that are not constant in the train part.
        filled: [n, C] float32, raw units; missing values carried forward, as for a live machine.
        rows: [n, C] float32, z-scores cut to +-clip.
        train_ends, held_out_ends: [m] int64, last rows of the windows of both parts; no window spans a gap or the split.
    """

    series: SensorSeries
    window: int
    mean: np.ndarray
    scale: np.ndarray
    moving: np.ndarray
    filled: np.ndarray
    rows: np.ndarray
    train_ends: np.ndarray
    held_out_ends: np.ndarray
    validation_share: float

    @property
    def channels(self) -> int:
        return self.rows.shape[1]

    @property
    def sha256(self) -> str:
        """Of train rows and times: what a checkpoint must agree on."""
        digest = hashlib.sha256(np.ascontiguousarray(self.series.train, dtype=np.float32).tobytes())
        digest.update(np.ascontiguousarray(self.series.train_ts).tobytes())
        return digest.hexdigest()

    def constant_warnings(self) -> tuple[str, ...]:
        """One sentence on the channels that never moved, where there are any."""
        if self.moving.all():
            return ()
        names = ", ".join(np.asarray(self.series.channels)[~self.moving])
        return (f"constant in training, so one raw unit of change counts as one standard deviation: {names}",)


def prepare(
    series: SensorSeries,
    *,
    window: int,
    validation_share: float | None = None,
    clip: float = INPUT_CLIP,
    scale: Scale = "train",
    minimum_windows: int = MINIMUM_WINDOWS,
) -> PreparedSeries:
    """Make a series' train part ready.

    Mean and standard deviation are those of the whole train part.

    Args:
        validation_share: None is `VALIDATION_SHARE`.

    Raises:
        InputError: too few rows on either side of the split, an infinite value, or no channel that moves.
    """
    validation_share = VALIDATION_SHARE if validation_share is None else validation_share
    if not 0 < validation_share < 1:
        raise InputError(f"validation_share is {validation_share}, expected between 0 and 1")
    split = int(len(series.train) * (1 - validation_share))
    runs = contiguous_runs(series.train_ts, series.sampling_interval_s)
    train_ends = window_ends(runs, window, 0, split)
    held_out_ends = window_ends(runs, window, split, len(series.train))
    _check(series, window, len(train_ends), len(held_out_ends), minimum_windows)
    moving = moving_channels(series.train)
    if scale == "given":
        mean, deviation = np.zeros(len(moving), np.float32), np.ones(len(moving), np.float32)
    else:
        mean, deviation = scaling(series.train, moving)
    typical = channel_medians([series.train])
    filled = np.concatenate([carry_forward(series.train[run], typical) for run in runs]).astype(np.float32)
    rows = np.clip((filled - mean) / deviation, -clip, clip).astype(np.float32)
    return PreparedSeries(
        series, window, mean, deviation, moving, filled, rows, train_ends, held_out_ends, validation_share
    )


def scaling(train: np.ndarray, moving: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of [n, C], NaN left out: [C] float32 each.

    A constant channel gets scale 1: one raw unit of change counts as one standard deviation. A channel that was
    never measured gets mean 0.
    """
    known = ~np.isnan(train)
    count = np.maximum(known.sum(axis=0), 1)
    wide = np.where(known, train, 0).astype(np.float64)
    mean = wide.sum(axis=0) / count
    variance = (np.where(known, wide - mean, 0) ** 2).sum(axis=0) / count
    scale = np.where(moving, np.sqrt(variance), 1.0)
    # In float32 the deviation of a channel that hardly moves can vanish.
    return mean.astype(np.float32), np.maximum(scale, np.finfo(np.float32).tiny).astype(np.float32)


def window_ends(runs: Sequence[slice], window: int, start: int, stop: int) -> np.ndarray:
    """[m] int64: last rows of the windows that lie in rows [start, stop) and inside one of the runs."""
    parts = [np.arange(max(run.start, start) + window - 1, min(run.stop, stop), dtype=np.int64) for run in runs]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)


def _check(series: SensorSeries, window: int, training: int, held_out: int, least: int) -> None:
    name = f"{series.dataset} {series.entity}"
    if min(training, held_out) < least:
        raise InputError(
            f"{name}: {len(series.train)} train rows give {training} windows of {window} rows without a gap "
            f"to train on and {held_out} to hold out, expected at least {least} of each; give more rows or "
            "a smaller window"
        )
    if np.isinf(series.train).any():
        channel = series.channels[int(np.argwhere(np.isinf(series.train))[0, 1])]
        raise InputError(f"{name}: channel {channel} is infinite in a train row; write such values as empty (NaN)")
    if not moving_channels(series.train).any():
        raise InputError(
            f"{name}: all {series.train.shape[1]} channels are constant in the train part, expected at least one that "
            "varies; give other rows"
        )
