"""Says in the log what the worker leaves out, once and then ever more seldom: dead letters by reason, fields that no channel has."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import structlog

from wheeltapper.schemas.text import first_names

log = structlog.get_logger(__name__)

MAX_TOLD = 1_000
"""Names that senders can make up are told no more after so many."""


class DeadLetterLines:
    """A line at the first dead letter of a reason, at the tenth, the hundredth, and so on; each with the newest one's detail."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}
        self._next: dict[str, int] = {}

    def see(self, headers: Iterable[tuple[str, bytes | None]], key: bytes | None) -> None:
        """A message went to dead-letters.

        Args:
            headers: of the dead letter, reason and detail first.
        """
        (_, reason_bytes), (_, detail), *_ = headers
        reason = (reason_bytes or b"").decode("utf-8", "replace")
        number = self._seen[reason] = self._seen.get(reason, 0) + 1
        if number < self._next.get(reason, 1):
            return
        self._next[reason] = 10 * number
        log.warning(
            "messages cannot be read and go to dead-letters",
            reason=reason,
            messages=number,
            newest=(detail or b"").decode("utf-8", "replace"),
            key=(key or b"").decode("utf-8", "replace")[:100] or None,
            next_line_at=10 * number,
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
