"""Adaptive conformal inference (Gibbs and Candes, NeurIPS 2021), on openings of alarms.

The level is a quantile of the calibration scores' distribution, that with `alpha` alarms a day beyond it. Each opening lowers
alpha, each day without one raises it, so that in the long run alarms open at the asked rate. An error is an alarm that opens,
not a row above the level: counted by rows, the method learns a fault for as long as it lasts. Two-sided, no standing rule.
"""

from __future__ import annotations

from wheeltapper.stream.core.policies import AlarmRules
from wheeltapper.stream.core.thresholds.asked_level import AskedLevel
from wheeltapper.stream.core.thresholds.contract import Calibrated
from wheeltapper.stream.core.thresholds.opening_control import OpeningControl

# What an alarm takes from alpha, and the bounds of alpha, as shares of the asked rate.
GAIN = 0.5
LEAST, MOST = 1 / 16, 4.0


class AciThreshold(OpeningControl):
    """A `Threshold` whose exceedance probability follows the alarms."""

    def __init__(self, policy: AlarmRules, basis: Calibrated) -> None:
        asked, levels = policy.false_alarms_per_day, AskedLevel(basis)
        super().__init__(
            policy,
            basis,
            openings_per_day=asked,
            lowest=(1 - MOST) / GAIN,
            highest=(1 - LEAST) / GAIN,
            level_of=lambda alarms: levels.of(asked * min(max(1 - GAIN * alarms, LEAST), MOST)),
        )
