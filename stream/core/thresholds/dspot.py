"""DSPOT: SPOT on what a score exceeds its own moving mean by (Siffer et al., KDD 2017, section 4.3).

The mean is exponential instead of the published window: one number instead of a window of scores in every snapshot. A fault
that rises slower than the mean follows is learned; SPOT itself and the budget do not have that weakness.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from wheeltapper.stream.core.policies import AlarmPolicy, AlarmRules
from wheeltapper.stream.core.saved import HIGHEST_SCORE, number
from wheeltapper.stream.core.thresholds.asked_level import policy_level
from wheeltapper.stream.core.thresholds.contract import Basis, Calibrated, OperatorAction
from wheeltapper.stream.core.thresholds.learner import Learner
from wheeltapper.stream.core.thresholds.spot import SpotState, SpotThreshold

# How far back the mean reaches.
DEPTH_DAYS = 1.0


@dataclass(slots=True)
class DspotState:
    """Of one machine: the moving mean of its quiet scores, and SPOT on what lies above it."""

    mean: float
    spot: SpotState


class DspotThreshold(Learner):
    """A `Threshold` that follows a slow change of the scores' mean."""

    def __init__(self, policy: AlarmRules, basis: Calibrated) -> None:
        scores = basis.calibration_scores
        self._mean = float(scores.mean()) if len(scores) else 0.0
        self._weight = 1 / max(1.0, DEPTH_DAYS * basis.windows_per_day)
        above = Basis(scores - self._mean, basis.windows_per_day, basis.calibrated_rate, basis.identity)
        inner = AlarmPolicy(
            false_alarms_per_day=policy.false_alarms_per_day,
            raise_level=policy_level(policy, basis) - self._mean,
            spot_tail=policy.spot_tail,
        )
        self._spot = SpotThreshold(inner, above)

    def new(self) -> DspotState:
        return DspotState(self._mean, self._spot.new())

    def adopt(self, memory: DspotState) -> DspotState:
        """See `Threshold.adopt`: as SPOT; a mean of other scores says nothing."""
        adopted = self._spot.adopt(memory.spot)
        return DspotState(memory.mean if adopted is memory.spot else self._mean, adopted)

    def level(self, memory: DspotState) -> float:
        return memory.mean + memory.spot.level

    def advance(self, memory: DspotState, scores: np.ndarray, times: np.ndarray) -> np.ndarray:
        """See `Threshold.advance`."""
        levels = np.empty(len(scores))
        for position, score in enumerate(scores.tolist()):
            levels[position] = level = memory.mean + memory.spot.level
            if score >= level:
                return levels[: position + 1]
            self._spot.learn(memory.spot, score - memory.mean)
            memory.mean += self._weight * (score - memory.mean)
        return levels

    def command(self, memory: DspotState, action: OperatorAction, recent: float) -> DspotState:
        """See `Threshold.command`: an accepted level moves the mean."""
        if action == "reset":
            return self.new()
        if action == "accept":
            memory.mean += max(recent - self.level(memory), 0.0)
        return memory

    def dump(self, memory: DspotState) -> Any:
        return asdict(memory)

    def load(self, saved: Any) -> DspotState:
        return DspotState(number(saved["mean"], -HIGHEST_SCORE, HIGHEST_SCORE), self._spot.load(saved["spot"]))
