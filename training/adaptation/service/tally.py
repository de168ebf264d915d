"""What a bundle's scores came to since it runs: in shadow, as canary, in service."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from wheeltapper.schemas.events import ScoreBlock

# Two moments above the level that lie closer together are one alarm to whoever is called.
ONE_ALARM_S = 1_800.0
_DAY_US = 86_400_000_000


@dataclass(slots=True)
class Tally:
    """Scores of one bundle on one machine, in the order of event time; what comes twice counts once.

    Attributes:
        first, last: event time (us) of the first and the newest window.
        windows, above: scored windows, and those at or above the raise level in force.
        openings: event times (us) at which an alarm would have been opened.
    """

    first: int | None = None
    last: int | None = None
    windows: int = 0
    above: int = 0
    openings: list[int] = field(default_factory=list)
    _above_at: int | None = None

    def take(self, block: ScoreBlock, since: int = 0) -> None:
        """Add a block's windows from event time `since` (us) on; those in maintenance do not count."""
        quiet = block.maintenance or (False,) * len(block.time)
        was_above = self._above_at is not None and self._above_at == self.last
        for time, score, level, maintenance in zip(block.time, block.score, block.threshold, quiet, strict=True):
            if time < since or (self.last is not None and time <= self.last):
                continue
            self.first = time if self.first is None else self.first
            self.last = time
            if maintenance:
                was_above = False
                continue
            self.windows += 1
            is_above = score >= level
            if is_above:
                self.above += 1
                close = self._above_at is not None and time - self._above_at <= ONE_ALARM_S * 1e6
                if not (was_above or close):
                    self.openings.append(time)
                self._above_at = time
            was_above = is_above

    @property
    def days(self) -> float:
        """Event time covered."""
        return 0.0 if self.first is None or self.last is None else (self.last - self.first) / _DAY_US

    @property
    def share_above(self) -> float:
        """Share of windows at or above the level, 0..1."""
        return self.above / self.windows if self.windows else 0.0

    def figures(self) -> dict[str, float | int]:
        """For the evidence."""
        return {
            "windows": self.windows,
            "days": round(self.days, 4),
            "openings": len(self.openings),
            "share_above": round(self.share_above, 5),
        }


def allowed_openings(per_day: float, days: float, *, tolerance: float, confidence: float) -> int:
    """The most alarm openings in so many days that are still in keeping with a rate.

    The smallest number that a Poisson process of `tolerance` times the rate exceeds with probability 1 - confidence at most.
    """
    expected = max(per_day * days * tolerance, 1e-12)
    count, logarithm = 0, -expected
    reached = math.exp(logarithm)
    while reached < confidence and count < 1_000_000:
        count += 1
        logarithm += math.log(expected / count)
        reached += math.exp(logarithm)
    return count
