"""Windows of one machine under one condition: what a source or a target of adaptation is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from wheeltapper.schemas.errors import InputError

NORMAL, ANOMALOUS, UNLABELLED = 0, 1, -1


@dataclass(frozen=True)
class WindowDomain:
    """
    Attributes:
        name: for tables and errors.
        windows: [n, W, F] float32, raw units; a missing value (NaN) counts as its channel's mean.
        labels: [n] int8, 0 normal, 1 anomalous, -1 unlabelled.
        order: [n] int64, position of each window's last row in its recording; windows of one recording ascend.
        recording: [n] int64, which recording a window is from.

    Raises:
        InputError: lengths that differ, or another label.
    """

    name: str
    windows: np.ndarray
    labels: np.ndarray
    order: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    recording: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    def __post_init__(self) -> None:
        if self.windows.ndim != 3 or len(self.windows) != len(self.labels):
            raise InputError(
                f"{self.name}: windows have shape {self.windows.shape} and there are {len(self.labels)} labels, expected "
                "[n, W, F] and one label a window"
            )
        wrong = np.setdiff1d(self.labels, (NORMAL, ANOMALOUS, UNLABELLED))
        if len(wrong):
            raise InputError(f"{self.name}: label {wrong[0]}, expected 0 (normal), 1 (anomalous) or -1 (unlabelled)")
        if not len(self.order):
            object.__setattr__(self, "order", np.arange(len(self.windows), dtype=np.int64))
        if not len(self.recording):
            object.__setattr__(self, "recording", np.zeros(len(self.windows), dtype=np.int64))

    def __len__(self) -> int:
        return len(self.windows)

    @property
    def anomalous_share(self) -> float:
        """Of the labelled windows; NaN where there are none."""
        known = self.labels != UNLABELLED
        return float((self.labels[known] == ANOMALOUS).mean()) if known.any() else float("nan")

    def unlabelled(self) -> WindowDomain:
        """The same windows with every label taken off."""
        return replace(self, labels=np.full(len(self), UNLABELLED, dtype=np.int8))

    def take(self, index: np.ndarray) -> WindowDomain:
        return replace(
            self,
            windows=self.windows[index],
            labels=self.labels[index],
            order=self.order[index],
            recording=self.recording[index],
        )


def joined(name: str, domains: Sequence[WindowDomain]) -> WindowDomain:
    """Several domains as one; recordings stay apart."""
    recordings, first = [], 0
    for domain in domains:
        recordings.append(domain.recording + first)
        first += int(domain.recording.max(initial=-1)) + 1
    return WindowDomain(
        name,
        np.concatenate([domain.windows for domain in domains]),
        np.concatenate([domain.labels for domain in domains]),
        np.concatenate([domain.order for domain in domains]),
        np.concatenate(recordings),
    )


@dataclass(frozen=True)
class Scaler:
    """z = (x - mean) / deviation, [F] each, raw units; a channel that never moved has deviation 1."""

    mean: np.ndarray
    deviation: np.ndarray

    def apply(self, windows: np.ndarray, clip: float) -> np.ndarray:
        """[n, W, F] raw to z-scores cut to +-clip, NaN to 0."""
        scaled = np.clip((windows - self.mean) / self.deviation, -clip, clip)
        return np.where(np.isnan(windows), 0, scaled).astype(np.float32)


def fit_scaler(windows: np.ndarray) -> Scaler:
    """Mean and standard deviation by channel of [n, W, F], NaN left out."""
    rows = windows.reshape(-1, windows.shape[2])
    known = ~np.isnan(rows)
    count = np.maximum(known.sum(axis=0), 1)
    wide = np.where(known, rows, 0).astype(np.float64)
    mean = wide.sum(axis=0) / count
    deviation = np.sqrt((np.where(known, wide - mean, 0) ** 2).sum(axis=0) / count)
    # Rounding alone must not pass for movement: float32 keeps about 7 digits.
    moves = deviation > 1e-6 * np.maximum(np.abs(mean), 1e-6)
    return Scaler(mean.astype(np.float32), np.where(moves, deviation, 1.0).astype(np.float32))


def given_scaler(channels: int) -> Scaler:
    """Values as they come."""
    return Scaler(np.zeros(channels, np.float32), np.ones(channels, np.float32))


def split_in_time(domain: WindowDomain, share: float) -> tuple[WindowDomain, WindowDomain]:
    """The first windows of every recording, and the last `share` of them, without any that overlaps the first.

    Windows overlap where their last rows are less than W apart.
    """
    first, last = [], []
    window = domain.windows.shape[1]
    for recording in np.unique(domain.recording):
        index = np.flatnonzero(domain.recording == recording)
        index = index[np.argsort(domain.order[index], kind="stable")]
        cut = max(1, int(len(index) * (1 - share)))
        later = index[cut:]
        first.append(index[:cut])
        last.append(later[domain.order[later] >= domain.order[index[cut - 1]] + window])
    return domain.take(np.concatenate(first)), domain.take(np.concatenate(last))
