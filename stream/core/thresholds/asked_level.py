"""The level for the asked rate of false alarms, where the bundle's alarm level was chosen for another."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property

import numpy as np

from wheeltapper.stream.core.policies import AlarmRules
from wheeltapper.stream.core.tail import fit_tail
from wheeltapper.stream.core.thresholds.contract import Calibrated

# Share of the calibration scores that count as their tail.
TAIL = 0.02
# The tail of a few thousand scores says nothing about levels further from the bundle's own than that.
LOWEST, HIGHEST = 0.3, 10.0


class AskedLevel:
    """Rates of false alarms to calibrated scores, for one bundle."""

    def __init__(self, basis: Calibrated) -> None:
        self._basis = basis

    def of(self, rate: float) -> float:
        """The calibrated score for `rate` false alarms a day: 1.0 for the bundle's own rate; for another as far from 1.0 as
        the tail of the calibration scores says; 1.0 where there is no tail."""
        here = self._basis.calibrated_rate
        if math.isclose(rate, here, rel_tol=1e-6):
            return 1.0
        levels = self._tail_levels
        own = 0.0 if levels is None else levels(here)
        # The bundle's level comes from alarms among all its scores, the tail from windows of a sample: the ratio counts.
        return min(max(levels(rate) / own, LOWEST), HIGHEST) if levels is not None and own > 0 else 1.0

    @cached_property
    def _tail_levels(self) -> Callable[[float], float] | None:
        scores, windows = self._basis.calibration_scores, self._basis.windows_per_day
        if not len(scores):
            return None
        start = float(np.quantile(scores, 1 - TAIL))
        excesses = scores[scores > start] - start
        tail = fit_tail(excesses)
        share = len(excesses) / len(scores)
        return None if tail is None else lambda rate: tail.level(start, share, rate / windows)


def policy_level(policy: AlarmRules, basis: Calibrated) -> float:
    """The level that the policy starts from: its own, or that for the asked rate."""
    return AskedLevel(basis).of(policy.false_alarms_per_day) if policy.raise_level is None else policy.raise_level
