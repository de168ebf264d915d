"""How often which values occurred: the counts behind a histogram that Prometheus reads."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

SCORE_BOUNDS = (0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)
"""Of calibrated scores: 1 is the alarm level."""
LATENCY_BOUNDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0)
"""Seconds."""


class Distribution:
    """Counts of values by upper bounds, which are part of their bucket.

    Attributes:
        bounds: upper ends of the buckets but the last, rising.
        total: sum of the values.
    """

    __slots__ = ("_counts", "_edges", "bounds", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.total = 0.0
        self._edges = np.array(bounds)
        self._counts = np.zeros(len(bounds) + 1, dtype=np.int64)

    def observe(self, values: Any) -> None:
        """Count values [n], or one; what is no finite number counts as beyond all bounds and adds nothing to the sum."""
        values = np.atleast_1d(np.asarray(values, dtype=np.float64))
        places = np.searchsorted(self._edges, values)  # NaN comes behind all
        self._counts += np.bincount(places, minlength=len(self._counts))
        total = float(values.sum())
        self.total += total if np.isfinite(total) else float(values[np.isfinite(values)].sum())

    def cumulative(self) -> list[tuple[str, int]]:
        """(upper bound as Prometheus writes it, values up to it), the last bound being +Inf."""
        sums = np.cumsum(self._counts).tolist()
        return list(zip([*(f"{bound:g}" for bound in self.bounds), "+Inf"], sums, strict=True))

    def __eq__(self, other: object) -> bool:
        """The same values by bucket; their sum may differ by rounding."""
        if not isinstance(other, Distribution):
            return NotImplemented
        same = self.bounds == other.bounds and bool((self._counts == other._counts).all())
        return same and math.isclose(self.total, other.total, rel_tol=1e-5, abs_tol=1e-6)

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __add__(self, other: Any) -> Distribution:
        """Both together; nothing is added by 0, with which sums begin."""
        both = Distribution(self.bounds)
        both._counts = self._counts.copy()
        both.total = self.total
        if isinstance(other, Distribution):
            both._counts = both._counts + other._counts
            both.total += other.total
        return both

    __radd__ = __add__
