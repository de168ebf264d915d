"""Standardised rows, fitted with numpy: what L2 norm, PCA error and KMeansAD start from.

    z = clip((x - mean) / std, -clip, clip);  NaN becomes the channel's median of training first

The mean is subtracted in raw units before anything is scaled, so that channels far from zero keep their float32 digits;
`row_scaling_graph` writes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from wheeltapper.models.training_rows import TrainingRows
from wheeltapper.schemas.text import first_names

Scale = Literal["train", "given"]
"""'train': by mean and standard deviation of the train part. 'given': values are taken as they come."""

# What counts as one standard deviation of a channel that never moved: a share of its value, and where that is 0 ..
CONSTANT_STD_SHARE = 0.01
# .. of 1 unit. Nothing better is known of such a channel.
TINIEST_STD = 1e-30
# Standardised values are cut there, so that no reading, however wild, overflows float32.
CLIP = 1000.0


@dataclass(frozen=True)
class RowScaling:
    """
    Attributes:
        mean, std: [C] float64, raw units; mean is exact in float32, std above 0.
        typical: [C] float64, raw units: stands for NaN.
        varies: [C] bool, channels that move in the train part.
    """

    mean: np.ndarray
    std: np.ndarray
    typical: np.ndarray
    varies: np.ndarray

    @property
    def channels(self) -> int:
        return len(self.mean)

    def apply(self, rows: np.ndarray, clip: float) -> np.ndarray:
        """[.., C] raw units without NaN to z-scores, float64."""
        return np.clip((rows.astype(np.float64) - self.mean) / self.std, -clip, clip)

    def constant_names(self, channels: Sequence[str] | None) -> str:
        """The channels that never moved, for a warning; '' where there are none."""
        names = list(channels) if channels is not None else [f"channel {index}" for index in range(self.channels)]
        constant = [names[index] for index in np.flatnonzero(~self.varies)]
        return first_names(constant, 8)


def fit_row_scaling(rows: TrainingRows, scale: Scale = "train") -> RowScaling:
    """Mean and standard deviation of the training rows, channel by channel in double precision."""
    mean, std = np.zeros(rows.channels), np.zeros(rows.channels)
    varies = np.zeros(rows.channels, dtype=bool)
    for channel in range(rows.channels):
        values = np.concatenate(rows.column(channel))
        # Rounded to float32 here, so that the graph subtracts the very same number.
        mean[channel] = np.float32(values.mean())
        std[channel] = values.std()
        varies[channel] = values.max() > values.min() and std[channel] > TINIEST_STD
    if scale == "given":
        return RowScaling(np.zeros(rows.channels), np.ones(rows.channels), rows.typical, varies)
    return RowScaling(mean, np.where(varies, std, still_step(mean)), rows.typical, varies)


def still_step(level: np.ndarray) -> np.ndarray:
    """[C] float64, raw units: what counts as a step of a channel that never moved from `level` [C]."""
    return np.asarray(np.where(level != 0, np.abs(level), 1.0) * CONSTANT_STD_SHARE)


def recency_weights(window: int, half_life: float) -> np.ndarray:
    """w [W] float64, sum 1: 0.5^((W - 1 - i) / half_life), the newest row weighs most."""
    weights = 0.5 ** (np.arange(window)[::-1] / half_life)
    return np.asarray(weights / weights.sum())
