"""What thresholds that learn from quiet scores alone have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any


class Learner(ABC):
    """Alerts teach it nothing, and it has nothing to say; its children give `level` and the rest of `Threshold`."""

    @abstractmethod
    def level(self, memory: Any) -> float:
        """See `Threshold.level`."""

    def pass_quiet(
        self,
        memories: Sequence[Any],
        counts: Sequence[int],
        firsts: Sequence[int],
        lasts: Sequence[int],
        peaks: Sequence[float],
    ) -> list[float | None]:
        """See `Threshold.pass_quiet`: most look at each score."""
        return [None] * len(memories)

    def hold(self, memory: Any, score: float, time: int) -> float:
        """See `Threshold.hold`."""
        return self.level(memory)

    def opened(self, memory: Any, time: int, again: bool = False) -> None:  # noqa: B027 - nothing to do is the answer of most children
        """See `Threshold.opened`."""

    def cleared(self, memory: Any, time: int) -> None:  # noqa: B027
        """See `Threshold.cleared`."""

    def reason(self, memory: Any) -> str:
        """See `Threshold.reason`."""
        return ""
