"""The raise level as it stands in the settings: nothing is learned."""

from __future__ import annotations

from typing import Any

import numpy as np

from wheeltapper.stream.core.policies import AlarmRules


class FixedThreshold:
    """A `Threshold` whose level never moves."""

    def __init__(self, policy: AlarmRules, calibration: np.ndarray, windows_per_day: float) -> None:
        """Takes what every threshold is made from; needs the policy's raise level alone."""
        self._level = policy.raise_level

    def new(self) -> None:
        return None

    def adopt(self, memory: None) -> None:
        return None

    def level(self, memory: None) -> float:
        return self._level

    def advance(self, memory: None, scores: np.ndarray, largest: float | None = None) -> np.ndarray:
        """See `Threshold.advance`."""
        count = len(scores)
        if count and (largest is None or largest >= self._level):
            loud = scores >= self._level
            first = int(loud.argmax())
            if loud[first]:
                count = first + 1
        return np.full(count, self._level)

    def dump(self, memory: None) -> Any:
        return None

    def load(self, saved: Any) -> None:
        return None
