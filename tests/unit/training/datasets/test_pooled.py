"""Machines of a kind as one series."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.pooled import PIECES, WEEK_US, pool
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.fitting.calibration import contiguous_runs

MINUTE = 60_000_000


def machine(name: str, rows: int, *, start: int = 0, channels: tuple[str, ...] = ("flow", "power")) -> SensorSeries:
    """Values tell channel (thousands) and row."""
    values = np.array([[1000.0 * (1 + len(channel)) + row for channel in channels] for row in range(rows)], np.float32)
    times = start + MINUTE * np.arange(rows, dtype=np.int64)
    return SensorSeries("csv", name, channels, ("",) * len(channels), 60.0, values, times, values[:0], times[:0])


def test_all_rows_are_there_once_in_rising_time_with_a_hole_at_each_seam() -> None:
    # given machines of different length and time, one with its columns in another order
    fleet = [machine("a", 1000), machine("b", 503, start=-10 * WEEK_US, channels=("power", "flow")), machine("c", 3)]
    # when they are pooled
    pooled = pool(fleet, "pump-*")
    # then every row is in it once, in the first one's columns
    assert (pooled.entity, pooled.channels) == ("pump-*", ("flow", "power"))
    for column, thousands in enumerate((5000, 6000)):
        assert sorted((pooled.train[:, column] - thousands).tolist()) == sorted([*range(1000), *range(503), *range(3)])
    # and time rises, hours and weekdays are as they were, and no stretch holds two pieces
    assert (np.diff(pooled.train_ts) > 0).all()
    runs = contiguous_runs(pooled.train_ts, 60.0)
    assert len(runs) == 2 * PIECES + 3
    for run in runs:
        rows = pooled.train[run, 0] - 5000
        assert (np.diff(rows) == 1).all()
        assert (pooled.train_ts[run] % WEEK_US == rows.astype(np.int64) * MINUTE % WEEK_US).all()


def test_each_fifth_holds_rows_of_every_machine() -> None:
    pooled = pool([machine("a", 500), machine("b", 500)], "*")
    for block in np.array_split(pooled.train[:, 0], PIECES):
        assert sorted(block.tolist()) == sorted([*np.unique(block), *np.unique(block)])  # twice each: once a machine


@pytest.mark.parametrize(
    ("other", "found"),
    [
        (machine("b", 9, channels=("flow",)), "lacks power"),
        (machine("b", 9, channels=("flow", "power", "speed")), "also has speed"),
        (replace(machine("b", 9), sampling_interval_s=10.0), "a row every 10 s, expected 60 s"),
        (replace(machine("b", 9), units=("l/s", "")), "'flow' is in 'l/s', expected ''"),
    ],
)
def test_machines_that_are_not_of_a_kind_are_refused(other: SensorSeries, found: str) -> None:
    with pytest.raises(InputError, match=f"b cannot be pooled with a: .*{found}"):
        pool([machine("a", 9), other], "*")
