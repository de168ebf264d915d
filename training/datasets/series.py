"""SensorSeries: one entity of a data set, the same shape for every source."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class LabelledSegment:
    """Rows [start, stop) of the test part that are anomalous, and the channels known to be involved."""

    start: int
    stop: int
    channels: tuple[int, ...]
    """0-based columns; empty where the source does not say."""
    kind: str = ""


@dataclass(frozen=True)
class SensorSeries:
    """One entity: its train part, its test part, and what is known of them.

    Attributes:
        dataset, entity: e.g. 'smd', 'machine-1-2'.
        channels: C distinct names; `units` as long, '' where unknown.
        sampling_interval_s: seconds between rows.
        train, test: [T, C] float32, raw units, NaN where the source has none.
        train_ts, test_ts: [T] int64, microseconds UTC, strictly increasing.
        test_labels: [T_test] uint8, 1 = anomalous; None where the source has no labels.
        segments: labelled segments of the test part, in order.
        notes: what the loader left out, and why, and what it found that the source does not say; a line each.
        made_up_clock: True where the source has no timestamps and `wheeltapper.training.datasets.clock` made them.
    """

    dataset: str
    entity: str
    channels: tuple[str, ...]
    units: tuple[str, ...]
    sampling_interval_s: float
    train: np.ndarray
    train_ts: np.ndarray
    test: np.ndarray
    test_ts: np.ndarray
    test_labels: np.ndarray | None = None
    segments: tuple[LabelledSegment, ...] = field(default=())
    made_up_clock: bool = False
    notes: tuple[str, ...] = ()
