"""Which rows a machine takes in: late rows, restarted clocks, gaps. Each case is counted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import structlog

from wheeltapper.stream.core.counters import Counters
from wheeltapper.stream.core.policies import WindowRules

log = structlog.get_logger(__name__)

UNBOUNDED = 2**63 - 1
"""A step in time that no two int64 times have between them: gaps are bridged."""


@dataclass(slots=True)
class RowClock:
    """One machine's event time.

    Attributes:
        last_time: event time (us) of its newest row; late rows are those not newer. None before the first row.
        late_run: late rows in a row, to notice a clock that was set back.
    """

    last_time: int | None = None
    late_run: int = 0

    def sort(
        self,
        times: np.ndarray,
        interval_us: int,
        policy: WindowRules,
        counters: Counters,
        machine: str,
    ) -> list[tuple[bool, list[int] | slice]]:
        """Sort [n] int64 event times: (whether the window starts anew, rows to take) for each part, in order.

        The outcome depends on the times alone, not on how they were grouped into messages. `last_time` is moved on by the
        caller, part by part.

        Args:
            machine: whose clock it is, for the log.
        """
        steps = np.empty(len(times), dtype=np.int64)  # np.diff(prepend=..) takes three times as long
        steps[0] = 1 if self.last_time is None else times[0] - self.last_time
        np.subtract(times[1:], times[:-1], out=steps[1:])
        largest_step = policy.max_gap_intervals * interval_us or UNBOUNDED
        if steps.min() > 0 and (largest_step == UNBOUNDED or steps.max() <= largest_step):
            self.late_run = 0
            return [(False, slice(None))]
        return self._sort_out(times.tolist(), largest_step, policy.clock_restart_rows, counters, machine)

    def _sort_out(
        self,
        times: list[int],
        largest_step: int,
        restart_rows: int,
        counters: Counters,
        machine: str,
    ) -> list[tuple[bool, list[int] | slice]]:
        taken: list[int] = []
        parts: list[tuple[bool, list[int] | slice]] = [(False, taken)]
        last = self.last_time
        for index, time in enumerate(times):
            if last is not None and time <= last:
                self.late_run += 1
                if not restart_rows or self.late_run < restart_rows:
                    counters.late_rows += 1
                    continue
                counters.clock_restarts += 1
                log.warning("clock restarted", machine=machine, late_rows=self.late_run, from_us=last, to_us=time)
                parts.append((True, taken := []))
            elif last is not None and time - last > largest_step:
                counters.gaps += 1
                parts.append((True, taken := []))
            self.late_run = 0
            last = time
            taken.append(index)
        return parts
