"""When a runner ends: a topic read to its end that stays quiet, or rows that wait and are not handled."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable


class IdleClock:
    """Tells how long every assigned partition has been read to its end.

    Times are monotonic seconds.
    """

    def __init__(self) -> None:
        self._assigned: set[int] | None = None
        self._at_end: set[int] = set()
        self._quiet_since = time.monotonic()

    def assign(self, partitions: Iterable[int]) -> None:
        """The partitions that are read from now on."""
        self._assigned = set(partitions)
        self._at_end.clear()
        self._quiet_since = time.monotonic()

    def message(self, partition: int) -> None:
        """A message of the partition was handled."""
        self._at_end.discard(partition)
        self._quiet_since = time.monotonic()

    def end(self, partition: int) -> None:
        """The partition was read to its end."""
        self._at_end.add(partition)

    def idle_s(self) -> float:
        """Seconds since the last message; 0 while some partition is not at its end or none has been assigned yet."""
        if self._assigned is None or not self._assigned <= self._at_end:
            return 0.0
        return time.monotonic() - self._quiet_since


class StallClock:
    """Tells whether rows have waited too long for this worker: time that the broker was away is no fault of ours.

    Times are monotonic seconds.
    """

    def __init__(self, allowed_s: float, now: Callable[[], float] = time.monotonic) -> None:
        self._allowed_s = allowed_s
        self._now = now
        self._excused_at = self._asked_at = now()

    def excuse(self) -> None:
        """It is not known whether rows wait, or nobody gives them out: silence counts from here on."""
        self._excused_at = self._now()

    def should_ask(self, progressed_at: float) -> bool:
        """Whether silence lasts so long that the broker should be asked if it is there; not at every look."""
        now = self._now()
        if (
            now - max(progressed_at, self._excused_at) <= self._allowed_s / 2
            or now - self._asked_at <= self._allowed_s / 10
        ):
            return False
        self._asked_at = now
        return True

    def is_stalled(self, progressed_at: float) -> bool:
        """Whether rows have waited longer than allowed.

        Args:
            progressed_at: when a row was last handled, or all had been.
        """
        return self._now() - max(progressed_at, self._excused_at) > self._allowed_s
