"""Small machines with known behaviour, for tests of detectors; deterministic by seed."""

from __future__ import annotations

import numpy as np

from wheeltapper.models.training_rows import TrainingRows
from wheeltapper.training.datasets.clock import made_up_times
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.fitting.training_rows import training_rows


def normal_rows(rows: int, channels: int, *, seed: int = 0, offset: float = 0.0) -> np.ndarray:
    """[rows, channels] float32: channels that follow three common swings with a little noise of their own."""
    generator = np.random.default_rng(seed)
    time = np.arange(rows)[:, None]
    swings = np.sin(2 * np.pi * (time / np.array([97.0, 311.0, 1440.0]) + generator.random(3)))
    mixing = generator.normal(size=(3, channels))
    values = swings @ mixing + 0.1 * generator.standard_normal((rows, channels))
    scales = 10.0 ** generator.uniform(-1, 2, channels)
    return (offset + values * scales).astype(np.float32)


def make_series(
    train: np.ndarray, test: np.ndarray | None = None, *, entity: str = "machine", interval_s: float = 60.0
) -> SensorSeries:
    """Rows as a series of the made-up clock."""
    test = train[:0] if test is None else test
    train_ts, test_ts = made_up_times(len(train), len(test), interval_s)
    channels = tuple(f"sensor-{index}" for index in range(train.shape[1]))
    return SensorSeries(
        dataset="made",
        entity=entity,
        channels=channels,
        units=("",) * len(channels),
        sampling_interval_s=interval_s,
        train=train,
        train_ts=train_ts,
        test=test,
        test_ts=test_ts,
        made_up_clock=True,
    )


def windows_of(values: np.ndarray, window: int, step: int = 1) -> np.ndarray:
    """[n, window, C] float32, the windows that start every `step` rows."""
    view = np.lib.stride_tricks.sliding_window_view(values, window, axis=0)[::step]
    return np.ascontiguousarray(np.moveaxis(view, -1, 1), dtype=np.float32)


def rows_of(*runs: np.ndarray) -> TrainingRows:
    """Runs [T_i, C] as a detector is fitted on them."""
    return training_rows(runs, at_least=1, detector="the detector")
