"""The raise level as it stands in the settings: nothing is learned, only an operator moves it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from wheeltapper.stream.core.policies import AlarmRules
from wheeltapper.stream.core.saved import level, optional
from wheeltapper.stream.core.thresholds.asked_level import policy_level
from wheeltapper.stream.core.thresholds.contract import Calibrated, OperatorAction, first_loud


class FixedThreshold:
    """A `Threshold` whose level stays. It remembers the level that an operator accepted; None where there is none."""

    def __init__(self, policy: AlarmRules, basis: Calibrated) -> None:
        self._level = policy_level(policy, basis)

    def new(self) -> float | None:
        return None

    def adopt(self, memory: float | None) -> float | None:
        return memory

    def level(self, memory: float | None) -> float:
        return self._level if memory is None else memory

    def advance(self, memory: float | None, scores: np.ndarray, times: np.ndarray) -> np.ndarray:
        """See `Threshold.advance`."""
        level = self._level if memory is None else memory
        return np.full(first_loud(scores, level), level)

    def pass_quiet(
        self,
        memories: Sequence[float | None],
        counts: Sequence[int],
        firsts: Sequence[int],
        lasts: Sequence[int],
        peaks: Sequence[float],
    ) -> list[float | None]:
        """See `Threshold.pass_quiet`."""
        own = self._level
        levels = [own if memory is None else memory for memory in memories]
        return [level if peak < level else None for level, peak in zip(levels, peaks, strict=True)]

    def hold(self, memory: float | None, score: float, time: int) -> float:
        """See `Threshold.hold`."""
        return self._level if memory is None else memory

    def opened(self, memory: float | None, time: int, again: bool = False) -> None:
        """See `Threshold.opened`."""

    def cleared(self, memory: float | None, time: int) -> None:
        """See `Threshold.cleared`."""

    def command(self, memory: float | None, action: OperatorAction, recent: float) -> float | None:
        """See `Threshold.command`."""
        if action == "accept":
            return max(self._level, recent)
        return None if action == "reset" else memory

    def reason(self, memory: float | None) -> str:
        """See `Threshold.reason`."""
        return "" if memory is None else "accepted as normal"

    def dump(self, memory: float | None) -> Any:
        return memory

    def load(self, saved: Any) -> float | None:
        return optional(level, saved)
