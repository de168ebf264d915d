"""Rolling quantile: the level keeps its distance, as a ratio, from a high quantile of the machine's quiet scores.

The quantile is followed by stochastic approximation (Robbins and Monro, 1951) on its logarithm: a score above it lifts it, one
beneath lowers it, each by what keeps the wanted share above. One whole number of steps is all that is remembered.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from wheeltapper.stream.core.policies import AlarmRules
from wheeltapper.stream.core.saved import LARGEST, level, whole
from wheeltapper.stream.core.thresholds.asked_level import policy_level
from wheeltapper.stream.core.thresholds.contract import Calibrated, OperatorAction
from wheeltapper.stream.core.thresholds.learner import Learner

# The quantile that is followed: 1 - 1 / ABOVE.
ABOVE = 100
# By what the quantile sinks in a day in which no score lies above it, in the logarithm; and its bounds.
SINK = math.log(2)
MOST = math.log(30)


@dataclass(slots=True)
class QuantileState:
    """Of one machine: steps of the quantile's logarithm away from the calibration's; `accepted` moves the level besides."""

    steps: int = 0
    accepted: float = 1.0


class QuantileThreshold(Learner):
    """A `Threshold` at a multiple of a rolling quantile; how large a multiple, the asked rate says."""

    def __init__(self, policy: AlarmRules, basis: Calibrated) -> None:
        scores = basis.calibration_scores
        level = policy_level(policy, basis)
        quantile = float(np.quantile(scores, 1 - 1 / ABOVE)) if len(scores) else 0.0
        # A detector that mostly says nothing at all has its quantile at 0; somewhere beneath the level it must lie.
        self._quantile = min(max(quantile, level / 100), level)
        self._factor = level / self._quantile
        self._step = SINK / max(1.0, basis.windows_per_day)
        self._most = round(MOST / self._step)

    def new(self) -> QuantileState:
        return QuantileState()

    def adopt(self, memory: QuantileState) -> QuantileState:
        """See `Threshold.adopt`: a distance from the calibration holds under any."""
        memory.steps = min(max(memory.steps, -self._most), self._most)
        return memory

    def level(self, memory: QuantileState) -> float:
        return self._factor * self._quantile_of(memory) * memory.accepted

    def advance(self, memory: QuantileState, scores: np.ndarray, times: np.ndarray) -> np.ndarray:
        """See `Threshold.advance`."""
        levels = np.empty(len(scores))
        for position, score in enumerate(scores.tolist()):
            quantile = self._quantile_of(memory) * memory.accepted
            levels[position] = level = self._factor * quantile
            if score >= level:
                return levels[: position + 1]
            moved = memory.steps + (ABOVE - 1 if score > quantile else -1)
            memory.steps = min(max(moved, -self._most), self._most)
        return levels

    def command(self, memory: QuantileState, action: OperatorAction, recent: float) -> QuantileState:
        """See `Threshold.command`."""
        if action == "reset":
            return self.new()
        if action == "accept":
            memory.accepted *= max(recent / self.level(memory), 1.0)
        return memory

    def dump(self, memory: QuantileState) -> Any:
        return asdict(memory)

    def load(self, saved: Any) -> QuantileState:
        return QuantileState(whole(saved["steps"], -LARGEST), level(saved["accepted"]))

    def _quantile_of(self, memory: QuantileState) -> float:
        return self._quantile * math.exp(memory.steps * self._step)
