"""Thresholds by the name that `threshold.method` takes. One more is one file and one entry here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from wheeltapper.stream.core.policies import AlarmRules
from wheeltapper.stream.core.thresholds.contract import Threshold
from wheeltapper.stream.core.thresholds.fixed import FixedThreshold
from wheeltapper.stream.core.thresholds.spot import SpotThreshold

__all__ = ["SECONDS_PER_DAY", "THRESHOLDS", "Threshold", "make_threshold"]

SECONDS_PER_DAY = 86_400.0

THRESHOLDS: Mapping[str, Callable[[AlarmRules, np.ndarray, float], Threshold[Any]]] = MappingProxyType(
    {"fixed": FixedThreshold, "spot": SpotThreshold}
)
"""Method -> what makes one from the policy, calibrated scores of held-out normal windows [n], and windows per machine and day."""


def make_threshold(policy: AlarmRules, calibration: np.ndarray, windows_per_day: float) -> Threshold[Any]:
    """The threshold of one rule by the policy's method."""
    return THRESHOLDS[policy.method](policy, calibration, windows_per_day)
