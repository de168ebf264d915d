"""Which machine and channel a tag is: a table of tags, then patterns with named parts, then the tag's own name."""

from __future__ import annotations

from typing import NamedTuple

from wheeltapper.stream.paths import tag_pattern
from wheeltapper.stream.settings.assembly import AssemblySettings

MAX_CACHED = 100_000
"""Caches that senders can fill with made-up tags are emptied at this size."""


class TagPlace(NamedTuple):
    """What a tag is of; machine None: the message says it."""

    machine: str | None
    channel: str


class TagMap:
    """Reads tags as the settings say."""

    def __init__(self, settings: AssemblySettings) -> None:
        self.exact = {
            tag: TagPlace(None, place) if isinstance(place, str) else TagPlace(place.machine, place.channel or tag)
            for tag, place in settings.tags.items()
        }
        self._patterns = [tag_pattern(pattern) for pattern in settings.patterns]
        self._known: dict[str, TagPlace | None] = {}

    @property
    def takes_all(self) -> bool:
        """True where no map is given: a tag is a channel of its own name."""
        return not self.exact and not self._patterns

    def of(self, tag: str) -> TagPlace | None:
        """The tag's machine and channel; None where a map is given that does not know it."""
        try:
            return self._known[tag]
        except KeyError:
            if len(self._known) >= MAX_CACHED:
                self._known.clear()
            place = self._known[tag] = self._find(tag)
            return place

    def _find(self, tag: str) -> TagPlace | None:
        place = self.exact.get(tag)
        if place is not None:
            return place
        for pattern in self._patterns:
            found = pattern.fullmatch(tag)
            if found is not None:
                parts = found.groupdict()
                return TagPlace(parts.get("machine"), parts.get("channel") or tag)
        return TagPlace(None, tag) if self.takes_all else None
