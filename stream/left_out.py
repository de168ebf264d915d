"""Says in the log what the worker leaves out, once and then ever more seldom: dead letters by reason, fields that no channel has."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import structlog

from wheeltapper.schemas.events import DeadLetterReason
from wheeltapper.schemas.text import first_names

log = structlog.get_logger(__name__)

MAX_MACHINES = 20
MAX_TOLD = 1_000
"""Names that senders can make up are told no more after so many."""


class DeadLetterLines:
    """A line at the first dead letter of a reason, at the tenth, the hundredth, and so on; each with the newest one's detail.

    Machines that no bundle serves have a line each, the first `MAX_MACHINES` of them.
    """

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}
        self._next: dict[str, int] = {}
        self._unserved: set[str] = set()

    def see(self, headers: Iterable[tuple[str, bytes | None]], key: bytes | None) -> None:
        """A message went to dead-letters.

        Args:
            headers: of the dead letter, reason and detail first.
        """
        (_, reason_bytes), (_, detail), *_ = headers
        reason = (reason_bytes or b"").decode("utf-8", "replace")
        newest = (detail or b"").decode("utf-8", "replace")
        number = self._seen[reason] = self._seen.get(reason, 0) + 1
        is_new = (
            reason == DeadLetterReason.NO_ROUTE and newest not in self._unserved and len(self._unserved) < MAX_MACHINES
        )
        if is_new:
            self._unserved.add(newest)  # it names the machine
        if number >= self._next.get(reason, 1):
            self._next[reason] = 10 * number
        elif not is_new:
            return
        log.warning(
            "messages cannot be read and go to dead-letters",
            reason=reason,
            messages=number,
            newest=newest,
            key=(key or b"").decode("utf-8", "replace")[:100] or None,
            next_line_at=self._next[reason],
        )


class IgnoredFields:
    """A line for fields of messages that input.unknown_channels = "ignore" drops, when a name comes for the first time."""

    def __init__(self, beside: Collection[str] = ()) -> None:
        """
        Args:
            beside: fields that are no channels by the settings.
        """
        self._told: set[str] = set(beside)
        self._last: list[str] | None = None

    def see(self, machine: str, names: list[str], known: Collection[str]) -> None:
        """A message's fields, of which some may be no channel's.

        Args:
            known: fields that are channels'.
        """
        if names == self._last:
            return
        self._last = names
        new = [name for name in names if name not in self._told and name not in known]
        if not new or len(self._told) >= MAX_TOLD:
            return
        self._told.update(new)
        log.info(
            "fields of messages are ignored: no channel of the bundle has their names (input.unknown_channels, input.rename)",
            machine=machine,
            fields=first_names(new, 20),
            number=len(new),
        )
