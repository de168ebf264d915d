"""Lines in the log about one machine's clock: at the first jump, when late rows begin, and ever more seldom after that."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from wheeltapper.schemas.clock import iso_from_micros
from wheeltapper.schemas.text import duration

log = structlog.get_logger(__name__)

FIRST_LINE = 10
"""So many late rows are told of, then ten times as many, and so on: a producer's retry is no news."""

FORGIVEN = 100
"""Late rows that are less than one in so many are forgotten."""


@dataclass(slots=True)
class ClockNotes:
    """What has happened since rows last came as they should. Not part of a snapshot: it decides nothing but lines.

    Attributes:
        since: rows that the clock had taken before; late: rows dropped; equal: of them, those with the time of the newest row.
        next_line: late rows at which the next line is written. jumps: far jumps so far; next_jump: the one of which the next
            line is written. refusals, next_refusal, restarts, next_restart: the same of rows that were
            refused, and of clocks set back.
    """

    since: int = 0
    late: int = 0
    equal: int = 0
    next_line: int = FIRST_LINE
    jumps: int = 0
    next_jump: int = 1
    refusals: int = 0
    next_refusal: int = 1
    restarts: int = 0
    next_restart: int = 1

    def dropped(self, machine: str, taken: int, *, is_equal: bool) -> None:
        """A late row was dropped; the clock has taken so many others."""
        if taken - self.since > FORGIVEN * max(self.late, 1):
            self.since, self.late, self.equal = taken, 0, 0
            self.next_line = FIRST_LINE
        self.late += 1
        self.equal += is_equal
        if self.late < self.next_line:
            return
        self.next_line = 10 * self.late
        rows = taken - self.since + self.late
        log.warning(
            "rows are dropped: they are not newer than the machine's last row",
            machine=machine,
            dropped=self.late,
            of=rows,
            share=f"{100 * self.late / rows:.0f} %",
            likely_cause=self._cause(),
        )

    def _cause(self) -> str:
        if 2 * self.equal > self.late:
            return "rows share their times: times are coarser than the rows (send them with more decimals), or rows are sent twice"
        return (
            "rows are out of order or sent again, two senders use one machine id, or the machine's clock was set back"
        )

    def jumped(self, machine: str, time: int, last: int) -> None:
        """A row came that is far ahead of the one before; it waits."""
        self.jumps += 1
        if self.jumps < self.next_jump:
            return
        self.next_jump = 10 * self.jumps
        log.warning(
            "a row is far ahead of the one before: it waits for rows that go on from it (windows.max_jump_intervals)",
            machine=machine,
            time=iso_from_micros(time),
            before=iso_from_micros(last),
            ahead=duration((time - last) / 1e6),
            jumps=self.jumps,
        )

    def refused(self, machine: str, time: int, last: int) -> None:
        """A row that was far ahead was refused."""
        self.refusals += 1
        if self.refusals < self.next_refusal:
            return
        self.next_refusal = 10 * self.refusals
        log.warning(
            "from the future: refused, to dead-letters (time-ahead)",
            machine=machine,
            time=iso_from_micros(time),
            newest_row=iso_from_micros(last),
            ahead=duration((time - last) / 1e6),
            refused=self.refusals,
            what_to_do="check the sender's clock; windows.max_jump_intervals is the limit",
        )

    def restarted(self, machine: str, late_rows: int, time: int, last: int) -> None:
        """The machine's clock was set back."""
        self.restarts += 1
        if self.restarts < self.next_restart:
            return
        self.next_restart = 10 * self.restarts
        log.warning(
            "clock restarted", machine=machine, late_rows=late_rows, from_us=last, to_us=time, restarts=self.restarts
        )
