"""What goes into the pipeline and what comes out of it, without any Kafka client's types."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

from wheeltapper.schemas.errors import DecodeError

_T = TypeVar("_T")

Headers: TypeAlias = Sequence[tuple[str, bytes | None]]


@dataclass(frozen=True, slots=True)
class Flaw:
    """Why a Kafka client could not read a record, or a frame: records that were sent packed together.

    Attributes:
        first_offset: of the frame's first record; of a single record its own.
    """

    error: DecodeError
    first_offset: int


@dataclass(slots=True)
class PartitionBatch:
    """Consecutive messages of one partition, as columns: lists of the same length, in offset order.

    Attributes:
        flaws: by offset, messages that the client could not read; a whole frame is one message, with the offset of its last
            record and its packed bytes as its value.
    """

    topic: str
    partition: int
    offsets: list[int] = field(default_factory=list)
    keys: list[bytes | None] = field(default_factory=list)
    values: list[bytes | None] = field(default_factory=list)
    headers: list[Headers | None] = field(default_factory=list)
    timestamps_ms: list[int] = field(default_factory=list)
    flaws: dict[int, Flaw] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.offsets)

    def since(self, offset: int) -> PartitionBatch:
        """The messages from `offset` on; itself where that is all of them."""
        if self.offsets and self.offsets[0] >= offset:
            return self
        return self._part(bisect_left(self.offsets, offset), len(self.offsets))

    def split(self, offset: int) -> tuple[PartitionBatch, PartitionBatch]:
        """The messages before `offset`, and those from it on."""
        stop = bisect_left(self.offsets, offset)
        return self._part(0, stop), self._part(stop, len(self.offsets))

    def followed_by(self, other: PartitionBatch) -> PartitionBatch:
        """These messages, then the other's."""
        return PartitionBatch(
            self.topic,
            self.partition,
            self.offsets + other.offsets,
            self.keys + other.keys,
            self.values + other.values,
            self.headers + other.headers,
            self.timestamps_ms + other.timestamps_ms,
            self.flaws | other.flaws,
        )

    def at(self, indices: Iterable[int]) -> PartitionBatch:
        """The messages at these places, which rise; all of them can be read."""
        places = list(indices)

        def chosen(column: list[_T]) -> list[_T]:
            return [column[place] for place in places]

        return PartitionBatch(
            self.topic,
            self.partition,
            chosen(self.offsets),
            chosen(self.keys),
            chosen(self.values),
            chosen(self.headers),
            chosen(self.timestamps_ms),
        )

    def _part(self, start: int, stop: int) -> PartitionBatch:
        part = slice(start, stop)
        return PartitionBatch(
            self.topic,
            self.partition,
            self.offsets[part],
            self.keys[part],
            self.values[part],
            self.headers[part],
            self.timestamps_ms[part],
            self.flaws,
        )


@dataclass(frozen=True, slots=True)
class Output:
    """One message to publish.

    Attributes:
        topic: the blueprint's short name: 'alerts', 'localizations', 'scores', 'label-requests', 'dead-letters', 'state'.
        partition: only where it matters ('state' lies beside its input partition); None: by key.
    """

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    partition: int | None = None


def key_text(key: bytes | None) -> str | None:
    """A record's key as text; None where there is none, or where it is no UTF-8: two machines must not become one."""
    try:
        return key.decode() if key else None
    except UnicodeDecodeError:
        return None
