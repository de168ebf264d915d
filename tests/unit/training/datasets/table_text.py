"""Text of a table with one measured value a minute, and a check that it was read right."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from wheeltapper.schemas.clock import iso_from_micros, micros_from_iso
from wheeltapper.training.datasets.series import SensorSeries

FIRST = micros_from_iso("2024-05-01T08:00:00Z")
MINUTE = 60_000_000
ROWS = 120


def level(row: int) -> float:
    """A measured value: it goes up and down."""
    return round(20 + 3 * np.sin(row / 7) + (row * 7919 % 13) / 10, 3)


def stamp(row: int) -> str:
    return iso_from_micros(FIRST + row * MINUTE)[:-1].replace("T", " ")


def lines(header: str, row: Callable[[int], str], rows: int = ROWS) -> str:
    return "\n".join([header, *(row(number) for number in range(rows))]) + "\n"


def plain(header: str = "time,flow") -> str:
    return lines(header, lambda row: f"{stamp(row)},{level(row)}")


def assert_flow(series: SensorSeries, rows: int = ROWS) -> None:
    """Every row of `level`, a minute apart."""
    assert "flow" in series.channels
    flow = np.concatenate([series.train, series.test])[:, series.channels.index("flow")]
    np.testing.assert_array_equal(flow, np.array([level(row) for row in range(rows)], dtype=np.float32))
    times = np.concatenate([series.train_ts, series.test_ts])
    np.testing.assert_array_equal(times, FIRST + MINUTE * np.arange(rows))
