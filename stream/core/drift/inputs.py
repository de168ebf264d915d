"""Inputs: smoothed summaries of every channel against the summaries of the normal blocks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wheeltapper.stream.core.drift.blocks import MEAN, SPREAD

CLIP = 4.0
"""In standard deviations of normal blocks: no single block pulls harder."""
LEAST_MOVE = 0.1
"""In standard deviations of the channel's rows, added to the standard error: smaller moves matter to nobody."""
STUCK_SHARE = 0.02
"""A channel that stood still in no more than so many normal blocks is stuck when it stands still."""


@dataclass(frozen=True)
class InputNormal:
    """What normal blocks look like.

    Attributes:
        center: [S, C] mean of the summaries, raw units.
        reach: [S, C] how far one block may pull, raw units.
        error: [S, C] standard error of the smoothed summary, raw units.
        sigma: [C] standard deviation of the rows, raw units.
        moves: [C] bool, channels that never stand still for a whole block.
        decay: share of the newest block in the smoothed summary.
    """

    center: np.ndarray
    reach: np.ndarray
    error: np.ndarray
    sigma: np.ndarray
    moves: np.ndarray
    decay: float

    def step(self, smoothed: np.ndarray, summary: np.ndarray, silent: np.ndarray | None = None) -> np.ndarray:
        """The smoothed summary [S, C] after one more block's.

        Args:
            silent: [C] bool, channels that give no evidence in this block; None: all do.
        """
        pulled = np.minimum(np.maximum(summary, self.center - self.reach), self.center + self.reach)
        pulled -= smoothed
        pulled *= self.decay
        if silent is not None:
            pulled[:, silent] = 0.0
        pulled += smoothed
        return pulled

    def distances(self, smoothed: np.ndarray) -> np.ndarray:
        """[S, C]: how far each summary lies from normal, in standard errors."""
        away: np.ndarray = smoothed - self.center
        np.abs(away, out=away)
        away /= self.error
        return away

    def statistics(self, smoothed: np.ndarray) -> tuple[float, float]:
        """Of the whole machine and of its strangest channel, from each channel's largest distance d.

        The first is the mean of log(1 + d) over channels: many that moved a little weigh more than one that moved much.
        The second is the largest log(1 + d).
        """
        largest = np.log1p(np.maximum.reduce(self.distances(smoothed), axis=0))
        return float(np.add.reduce(largest)) / len(largest), float(np.maximum.reduce(largest))

    def course(self, summaries: np.ndarray) -> np.ndarray:
        """[b, 2]: both statistics after each of the blocks [b, S, C]."""
        smoothed = self.center
        found = np.empty((len(summaries), 2))
        for index, summary in enumerate(summaries):
            gaps = np.isnan(summary[MEAN])
            smoothed = self.step(smoothed, np.nan_to_num(summary), gaps if gaps.any() else None)
            found[index] = self.statistics(smoothed)
        return found


def input_normal(summaries: np.ndarray, decay: float) -> InputNormal:
    """Fit on normal blocks [b, S, C] in time order, NaN where a channel was not measured."""
    known = ~np.isnan(summaries)
    counts = np.maximum(known.sum(axis=0), 1)
    center = np.where(known, summaries, 0.0).sum(axis=0) / counts
    away = np.where(known, summaries - center, 0.0)
    width = np.sqrt((away**2).sum(axis=0) / counts)
    squares = np.where(known[:, SPREAD], summaries[:, SPREAD] ** 2, 0.0).sum(axis=0) / counts[SPREAD]
    sigma = np.sqrt(squares + width[MEAN] ** 2)
    # A channel that never moved: a thousandth of its value is a move, or anything at all where it is zero.
    sigma = np.maximum(sigma, np.maximum(1e-3 * np.abs(center[MEAN]), 1e-9))
    smoothed, total = np.zeros_like(center), np.zeros_like(center)
    for block in away:
        smoothed = smoothed + decay * (block - smoothed)
        total += smoothed**2
    still = (summaries[:, SPREAD] == 0.0).sum(axis=0) / max(1, len(summaries))
    return InputNormal(
        center=center,
        reach=CLIP * (width + LEAST_MOVE * sigma),
        error=np.sqrt(total / max(1, len(away))) + LEAST_MOVE * sigma,
        sigma=sigma,
        moves=still <= STUCK_SHARE,
        decay=decay,
    )
