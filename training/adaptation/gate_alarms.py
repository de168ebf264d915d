"""How loud scores are: the alarms that they raise, and how many the asked rate makes likely."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from wheeltapper.stream.core.alert_life import alert_spans
from wheeltapper.training.adaptation.gate_terms import GatePolicy

ALARM_CLEARS = 4
"""An alarm that is one of those asked for lasts some clear durations."""


@dataclass(frozen=True, slots=True)
class Alarms:
    """Alarms that scores raise, and the windows with one open."""

    count: int
    windows: int


def alarms_of(scores: np.ndarray, policy: GatePolicy, level: float) -> Alarms:
    spans = alert_spans(np.nan_to_num(scores, nan=np.inf), policy.alarms, raise_level=level)
    return Alarms(len(spans), sum(stop - start for start, stop in spans))


def allowed_open(policy: GatePolicy, allowed: int, windows: int) -> int:
    """Windows that may have an alarm open: a share of them, or the allowed alarms' own where they are few."""
    return max(round(policy.most_open * windows), ALARM_CLEARS * allowed * policy.alarms.clear_windows)


def allowed_alarms(expected: float) -> int:
    """The number of alarms that is exceeded with a probability below 5 % where `expected` are (Poisson)."""
    count, total, term = 0, math.exp(-expected), math.exp(-expected)
    while total < 0.95:
        count += 1
        term *= expected / count
        total += term
    return count


def quiet_level(scores: np.ndarray, allowed: int, policy: GatePolicy) -> float:
    """The lowest level at which [n] scores raise no more alarms than allowed and none stands open."""
    levels = np.unique(scores)
    low, high = 0, len(levels) - 1  # above the largest score it is quiet
    while low < high:
        middle = (low + high) // 2
        alarms = alarms_of(scores, policy, math.nextafter(float(levels[middle]), math.inf))
        # Far below, alarms run into each other and are few: they then stand open.
        if alarms.count <= allowed and alarms.windows <= allowed_open(policy, allowed, len(scores)):
            high = middle
        else:
            low = middle + 1
    return math.nextafter(float(levels[high]), math.inf)
