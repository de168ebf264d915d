"""What thresholds that learn from quiet scores alone have in common."""

from __future__ import annotations

from typing import Any


class Learner:
    """Alerts teach it nothing, and it has nothing to say; its children give `level` and the rest of `Threshold`."""

    def level(self, memory: Any) -> float:
        """See `Threshold.level`."""
        raise NotImplementedError

    def hold(self, memory: Any, score: float, time: int) -> float:
        """See `Threshold.hold`."""
        return self.level(memory)

    def opened(self, memory: Any, time: int, again: bool = False) -> None:
        """See `Threshold.opened`."""

    def cleared(self, memory: Any, time: int) -> None:
        """See `Threshold.cleared`."""

    def reason(self, memory: Any) -> str:
        """See `Threshold.reason`."""
        return ""
