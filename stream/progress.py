"""Whether a worker makes progress: one rule for /readyz and for ending the process, the same for every runner.

Progress is rows that were handled, or partitions known to be read to their end at a broker that answers. Without
progress for `worker.ready_timeout_s` the worker is not ready, and says so in the log. It ends itself after `worker.stall_timeout_s`, and
only where that is its own fault: rows wait, or its sessions fail one after the other, although a broker answers. A group that gives
it no partitions has longer, as a rebalance waits for the slowest member. While no broker answers, it waits.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import structlog

log = structlog.get_logger(__name__)


class StallError(Exception):
    """Rows wait, the broker answers, and this worker handles nothing: the process ends and is started afresh."""


class Progress:
    """Written by the runner, read by the health server's thread. Times are monotonic seconds."""

    def __init__(
        self,
        allowed_s: float,
        now: Callable[[], float] = time.monotonic,
        *,
        ready_s: float | None = None,
        rejoin_s: float = math.inf,
    ) -> None:
        """
        Args:
            allowed_s: `worker.stall_timeout_s`.
            ready_s: `worker.ready_timeout_s`; None, or a longer time: the same.
            rejoin_s: how long a group may take to give this worker its partitions, their state restored, beside `allowed_s`.
        """
        self._allowed_s = allowed_s
        self._ready_s = allowed_s if ready_s is None else min(ready_s, allowed_s)
        self._rejoin_s = allowed_s + rejoin_s
        self._now = now
        self._progressed_at = self._excused_at = self._away_at = self._asked_at = self._heard_at = now()
        self._is_away = False
        self._rows_wait = False
        self._unassigned_at: float | None = None
        self._told = False

    def handled(self) -> None:
        """Rows were handled."""
        self._progressed_at = self._heard_at = self._now()
        self._is_away = self._rows_wait = False
        self._unassigned_at = None

    def broker(self, answers: bool) -> None:
        """A broker was asked for a sign of life: time without one does not count as a stall."""
        self._asked_at = now = self._now()
        self._is_away = not answers
        if answers:
            self._heard_at = now
        else:
            self._away_at = self._excused_at = now
            self._unassigned_at = None

    def look(self, at_end: bool | None) -> None:
        """Note where the reader stands.

        Args:
            at_end: True where every assigned partition has been read and handled to its end; False where rows wait;
                None where that is not known, as without partitions.
        """
        self._rows_wait = at_end is False
        if at_end is not None:
            self._unassigned_at = None
        elif self._unassigned_at is None:
            self._unassigned_at = self._now()
        if at_end is None or (at_end and self._is_away):
            self._excused_at = self._now()
        elif at_end:
            self._progressed_at = self._now()
        self._tell()

    def _tell(self) -> None:
        """One line when the worker stops being ready, one when it is ready again: not everybody asks /readyz."""
        problem = self.problem()
        if problem is not None and not self._told:
            log.warning("not ready", reason=problem)
        elif problem is None and self._told:
            log.info("ready again")
        self._told = problem is not None

    def should_ask(self) -> bool:
        """Whether the silence lasts so long that the broker should be asked if it is there; not at every look."""
        return self.silent_s > self._ready_s / 2 and self._now() - self._asked_at > self._allowed_s / 10

    @property
    def silent_s(self) -> float:
        """Seconds since the last progress."""
        return self._now() - self._progressed_at

    @property
    def unheard_s(self) -> float:
        """Seconds since the broker last answered or gave rows."""
        return self._now() - max(self._heard_at, self._asked_at)

    def problem(self) -> str | None:
        """Why the worker is not ready; None where it is."""
        silent_s = self.silent_s
        if silent_s <= self._ready_s:
            return None
        setting = "ready_timeout_s" if self._ready_s < self._allowed_s else "stall_timeout_s"
        limit = f"for {silent_s:.0f} s (worker.{setting} is {self._ready_s:g})"
        if self._is_away:
            return f"no broker answers: no progress {limit}"
        if self._unassigned_at is not None:
            return f"the group gives this worker no partitions: no progress {limit}"
        return f"rows are waiting but none was handled {limit}" if self._rows_wait else f"no progress {limit}"

    def check(self) -> None:
        """
        Raises:
            StallError: rows, or the worker for its partitions, have waited longer than allowed at a broker that answers.
        """
        if self._unassigned_at is not None and self._now() - self._unassigned_at > self._rejoin_s:
            raise StallError(
                f"a broker answers, but the group has given this worker no partitions for {self._rejoin_s:g} s "
                "(kafka.max_poll_interval_ms + state.restore_timeout_s + worker.stall_timeout_s)"
            )
        if self._rows_wait and self._now() - max(self._progressed_at, self._excused_at) > self._allowed_s:
            raise StallError(
                f"rows are waiting but none was handled for {self._allowed_s:g} s (worker.stall_timeout_s)"
            )

    def check_failing(self, error: Exception) -> None:
        """After a session failed with `error`.

        Raises:
            StallError: sessions have failed longer than allowed, no row was handled, and the broker answered.
        """
        if not self._is_away and self._now() - max(self._progressed_at, self._away_at) > self._allowed_s:
            raise StallError(
                f"every session failed for {self._allowed_s:g} s (worker.stall_timeout_s) although a broker answers; "
                f"last: {error}"
            ) from error
