"""Band events once it is fitted: the formulas in numpy, and the arrays of which graph and TorchScript twin are built.

e_bj = mean over block b's frames of L_j, less the median of L_j over the window          [blocks, D] dB
z_b = (e_b - m) T;  d_b = |z_b|
score = (log(max d_b) - centre) / spread
contribution of band j in block b: (e_b - m)_j (T z_b)_j, whose sum over j is d_b^2, where it is positive, times (d_b / max d)^4: the
    strangest moment speaks, the rest hardly; spread over the columns that the block's frames lie in
embedding = sqrt(mean over blocks of ((e_b - m) / s)^2)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from wheeltapper.models.band_events.settings import BandEventSettings
from wheeltapper.models.band_profile.fitted import without_offset
from wheeltapper.models.sound.detector import NumpySound

LEAST_DISTANCE = 1e-4
# How fast blame fades from the strangest moment to others.
FADING = 4


@dataclass(frozen=True, eq=False)
class Shape:
    """How blocks of normal windows vary.

    Attributes:
        mean, scale: m, s, [D] dB.
        transform: T, [D, D].
    """

    mean: np.ndarray
    scale: np.ndarray
    transform: np.ndarray

    def log_largest(self, events: np.ndarray) -> np.ndarray:
        """e [n, blocks, D] to log of the largest d, [n]."""
        whitened = (events - self.mean) @ self.transform
        return np.asarray(np.log(np.maximum(np.sqrt((whitened**2).sum(axis=2)).max(axis=1), LEAST_DISTANCE)))


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedBandEvents(NumpySound[BandEventSettings]):
    """What band events computes with.

    Attributes:
        shape: of normal blocks.
        centre, spread: of log(max d) on held-out normal windows.
    """

    shape: Shape
    centre: float
    spread: float

    @property
    def parameters(self) -> Mapping[str, Any]:
        return {**super().parameters, "centre": round(self.centre, 6), "spread": round(self.spread, 6)}

    @property
    def averaging(self) -> np.ndarray:
        """[frames, blocks] float64: from frames to the mean of each block."""
        return averaging(self.frames, self.settings.block_frames, self.settings.block_hop)

    @property
    def membership(self) -> np.ndarray:
        """[blocks, columns] float64: the share of each block's frames in each column; rows have the sum 1."""
        column = np.eye(self.time_columns)[self.frontend.columns(self.window, self.time_columns)]
        return np.asarray(self.averaging.T @ column)

    def score(self, window: np.ndarray) -> float:
        """Of one window [C * S]; the reference for graph and twin."""
        events = events_of(self.frontend.levels(without_offset(window, self.channels)), self.averaging)
        return (float(self.shape.log_largest(events[None])[0]) - self.centre) / self.spread

    def contribution(self, window: np.ndarray) -> np.ndarray:
        """[D, columns] of one window."""
        events = events_of(self.frontend.levels(without_offset(window, self.channels)), self.averaging)
        away = events - self.shape.mean
        whitened = away @ self.shape.transform
        distance = np.sqrt((whitened**2).sum(axis=1))
        parts = np.maximum(away * (whitened @ self.shape.transform.T), 0.0)
        weight = (distance / max(distance.max(), LEAST_DISTANCE)) ** FADING
        return np.asarray((parts * weight[:, None]).T @ self.membership)


def averaging(frames: int, block: int, hop: int) -> np.ndarray:
    """[frames, blocks] float64: blocks of `block` frames, `hop` apart; the last ends with the last frame, a short window has one."""
    length = min(block, frames)
    starts = list(range(0, frames - length + 1, hop))
    if starts[-1] + length < frames:
        starts.append(frames - length)
    found = np.zeros((frames, len(starts)))
    for at, start in enumerate(starts):
        found[start : start + length, at] = 1.0 / length
    return found


def events_of(levels: np.ndarray, blocks: np.ndarray) -> np.ndarray:
    """e of one window: L [C, frames, B] and `averaging` to [blocks, C * B]."""
    away = levels - np.median(levels, axis=1, keepdims=True)
    return np.asarray(np.concatenate([(channel.T @ blocks).T for channel in away], axis=1))
