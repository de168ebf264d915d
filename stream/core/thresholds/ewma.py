"""EWMA control chart on the logarithm of the score: the level stands some standard deviations above a moving mean.

How many, the calibration and the asked rate say: before anything is learned the level is the one for that rate. Mean and
variance forget exponentially (Roberts 1959; West 1979 for the variance).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from wheeltapper.stream.core.policies import AlarmRules
from wheeltapper.stream.core.saved import level, number
from wheeltapper.stream.core.thresholds.asked_level import policy_level
from wheeltapper.stream.core.thresholds.contract import Calibrated, OperatorAction
from wheeltapper.stream.core.thresholds.learner import Learner

# How far back mean and variance reach.
DEPTH_DAYS = 7.0
# Added to scores before the logarithm.
OFFSET = 0.01
# A machine whose scores never move would have its level at its mean.
LEAST_SPREAD = 0.05


@dataclass(slots=True)
class EwmaState:
    """Of one machine: mean and variance of the logarithm of its quiet scores."""

    mean: float
    variance: float


class EwmaThreshold(Learner):
    """A `Threshold` that follows level and spread of quiet scores."""

    def __init__(self, policy: AlarmRules, basis: Calibrated) -> None:
        scores = basis.calibration_scores
        logs = np.log(scores + OFFSET) if len(scores) else np.zeros(0)
        start = math.log(policy_level(policy, basis) + OFFSET)
        # No further from the level than the scores' own range: of many that are 0 the mean says little.
        mean = float(logs.mean()) if len(logs) else start - 1.0
        variance = float(logs.var()) if len(logs) else 1.0
        self._first = EwmaState(mean, max(variance, LEAST_SPREAD**2))
        self._deviations = max(start - mean, LEAST_SPREAD) / math.sqrt(self._first.variance)
        self._weight = 1 / max(1.0, DEPTH_DAYS * basis.windows_per_day)

    def new(self) -> EwmaState:
        return EwmaState(self._first.mean, self._first.variance)

    def adopt(self, memory: EwmaState) -> EwmaState:
        """See `Threshold.adopt`: what the machine's scores are like says nothing of another bundle's, but is soon forgotten."""
        return memory

    def level(self, memory: EwmaState) -> float:
        return math.exp(memory.mean + self._deviations * math.sqrt(memory.variance)) - OFFSET

    def advance(self, memory: EwmaState, scores: np.ndarray, times: np.ndarray) -> np.ndarray:
        """See `Threshold.advance`."""
        levels = np.empty(len(scores))
        for position, score in enumerate(scores.tolist()):
            levels[position] = level = self.level(memory)
            if score >= level:
                return levels[: position + 1]
            away = math.log(score + OFFSET) - memory.mean
            memory.mean += self._weight * away
            spread = (1 - self._weight) * (memory.variance + self._weight * away * away)
            memory.variance = max(spread, LEAST_SPREAD**2)
        return levels

    def command(self, memory: EwmaState, action: OperatorAction, recent: float) -> EwmaState:
        """See `Threshold.command`."""
        if action == "reset":
            return self.new()
        if action == "accept":
            memory.mean += max(math.log((recent + OFFSET) / (self.level(memory) + OFFSET)), 0.0)
        return memory

    def dump(self, memory: EwmaState) -> Any:
        return asdict(memory)

    def load(self, saved: Any) -> EwmaState:
        memory = EwmaState(number(saved["mean"], -50.0, 50.0), number(saved["variance"], 0.0, 2_500.0))
        try:
            level(self.level(memory))
        except OverflowError as error:
            raise ValueError(f"mean {memory.mean} and variance {memory.variance} lead to no level") from error
        return memory
