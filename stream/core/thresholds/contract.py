"""What a threshold is: the raise level of each score, learned in time order from windows that lie outside of alerts.

Sign: larger scores are stranger; the level is a calibrated score, where 1.0 is the bundle's alarm level. A threshold belongs to
one rule and holds no memory of its own: what it learns of one machine is a memory that the caller keeps and snapshots.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

import numpy as np

S = TypeVar("S")


class Threshold(Protocol[S]):
    """One rule's threshold; `S` is what it remembers of one machine."""

    def new(self) -> S:
        """What every machine starts with."""
        ...

    def adopt(self, memory: S) -> S:
        """A restored memory as far as it fits today's settings and bundle; else `new()`."""
        ...

    def level(self, memory: S) -> float:
        """The raise level now."""
        ...

    def advance(self, memory: S, scores: np.ndarray, largest: float | None = None) -> np.ndarray:
        """Learn from scores in turn, up to the first that reaches its level, which is not learned.

        How the scores are grouped changes nothing: advance(a + b) is advance(a) followed by advance(b).

        Args:
            scores: [k] float64 calibrated, outside of any alert.
            largest: of the scores, where the caller knows it: lets most machines through with one comparison.

        Returns:
            [j] float64, the level in force at each of the first j scores; j < k only where score j - 1 reaches its level.
        """
        ...

    def dump(self, memory: S) -> Any:
        """The memory in JSON types; None where there is nothing to remember."""
        ...

    def load(self, saved: Any) -> S:
        """A memory from what `dump` gave.

        Raises:
            LookupError, TypeError, ValueError: it cannot be read.
        """
        ...
