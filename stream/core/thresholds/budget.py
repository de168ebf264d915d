"""Budget: the level's logarithm rises with every alarm that opens and sinks while none is open.

It sinks as fast as `RATE` times the asked alarms raise it: true alarms count too. Without any assumption on the scores, at most
`RATE * asked * days + HIGHEST / STEP` alarms open while the level has not met its upper bound.
"""

from __future__ import annotations

import math

from wheeltapper.stream.core.policies import AlarmRules
from wheeltapper.stream.core.thresholds.asked_level import AskedLevel
from wheeltapper.stream.core.thresholds.contract import Calibrated
from wheeltapper.stream.core.thresholds.opening_control import OpeningControl

# Of the logarithm of the level: what an alarm adds, and the bounds of the lift (level / 2.7 to level x 7.4).
STEP = 0.35
LOWEST, HIGHEST = -1.0, 2.0
RATE = 2.0
STAND_S = 6 * 3_600.0
# Added to scores before the logarithm: a level of 0 could never rise.
OFFSET = 0.01


class BudgetThreshold(OpeningControl):
    """A `Threshold` that keeps the asked number of openings, with the standing rule."""

    def __init__(self, policy: AlarmRules, basis: Calibrated) -> None:
        start = AskedLevel(basis).of(policy.false_alarms_per_day)
        super().__init__(
            policy,
            basis,
            openings_per_day=RATE * policy.false_alarms_per_day,
            lowest=LOWEST / STEP,
            highest=HIGHEST / STEP,
            level_of=lambda alarms: start * ((1 + OFFSET) * math.exp(STEP * alarms) - OFFSET),
            stand_s=STAND_S,
        )
