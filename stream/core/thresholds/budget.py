"""Budget: the level's logarithm rises with every alarm that opens and sinks while none is open.

It sinks as fast as `RATE` times the asked alarms raise it: true alarms count too. The higher it stands, the more an alarm adds and
the faster it sinks: a burst is answered at once, and a level far above its own is gone in a week. Without any assumption on
the scores, at most `RATE * asked * days + HIGHEST / STEP` alarms open while the level has not met its upper bound, 3.7 more than
time allows.

The constants were chosen on half of the machines and judged on the other: docs/operating.md.
"""

from __future__ import annotations

import math

from wheeltapper.stream.core.policies import AlarmRules
from wheeltapper.stream.core.thresholds.asked_level import AskedLevel
from wheeltapper.stream.core.thresholds.contract import Calibrated
from wheeltapper.stream.core.thresholds.opening_control import OpeningControl

# What an alarm adds, and the bounds of the sum: level / 2.7 to level x 20.
STEP = 0.35
LOWEST, HIGHEST = -1.0, 1.303
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
            level_of=lambda alarms: start * ((1 + OFFSET) * math.exp(lift_of(STEP * alarms)) - OFFSET),
            stand_s=STAND_S,
        )


def lift_of(total: float) -> float:
    """The lift of the level's logarithm for a sum of what alarms added and time took: steeper the higher it stands."""
    return total + total * total if total > 0 else total
