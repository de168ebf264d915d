"""Thresholds by the name that `threshold.method` takes. One more is one file and one entry here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from wheeltapper.stream.core.policies import AlarmRules, ThresholdMethod
from wheeltapper.stream.core.thresholds.aci import AciThreshold
from wheeltapper.stream.core.thresholds.budget import BudgetThreshold
from wheeltapper.stream.core.thresholds.contract import Basis, Calibrated, OperatorAction, Threshold
from wheeltapper.stream.core.thresholds.dspot import DspotThreshold
from wheeltapper.stream.core.thresholds.ewma import EwmaThreshold
from wheeltapper.stream.core.thresholds.fixed import FixedThreshold
from wheeltapper.stream.core.thresholds.rolling_quantile import QuantileThreshold
from wheeltapper.stream.core.thresholds.spot import SpotThreshold

__all__ = ["SECONDS_PER_DAY", "THRESHOLDS", "Basis", "Calibrated", "OperatorAction", "Threshold", "make_threshold"]

SECONDS_PER_DAY = 86_400.0

THRESHOLDS: Mapping[ThresholdMethod, Callable[[AlarmRules, Calibrated], Threshold[Any]]] = MappingProxyType(
    {
        "budget": BudgetThreshold,
        "fixed": FixedThreshold,
        "spot": SpotThreshold,
        "dspot": DspotThreshold,
        "aci": AciThreshold,
        "quantile": QuantileThreshold,
        "ewma": EwmaThreshold,
    }
)
"""Method -> what makes one from the policy and what the bundle's calibration says."""


def make_threshold(policy: AlarmRules, basis: Calibrated) -> Threshold[Any]:
    """The threshold of one rule by the policy's method."""
    return THRESHOLDS[policy.method](policy, basis)
