"""Dead letters as their readers see them: what the worker's headers say, and the original that is in them."""

from __future__ import annotations

from dataclasses import dataclass

from wheeltapper.follow.follower import TopicRecord
from wheeltapper.schemas.events import DeadLetterHeader as Header

# Headers that say that something of the original is missing.
CUT_MARKS = (
    Header.ORIGINAL_SIZE,
    Header.ORIGINAL_KEY_SIZE,
    Header.HEADERS_LEFT_OUT,
    Header.LAST_OFFSET,
)
_OURS = frozenset(map(str, Header))
# As messages whose headers' names are no text are told of; their dead letters have names that are.
BAD_HEADER = "bad-header"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One dead letter.

    Attributes:
        reason, detail: why it could not be used; empty where nobody said.
        topic, partition, offset: where the original came from; '' and -1 where nobody said.
        key, value: the original's bytes.
        headers: the original's own.
        original_size: bytes of the original value where this is no more than its first part; None where it is whole.
        is_whole: whether key, value and headers are all there.
        record: the dead letter itself.
    """

    reason: str
    detail: str
    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    original_size: int | None
    is_whole: bool
    record: TopicRecord


def dead_letter(record: TopicRecord) -> DeadLetter:
    """What a record of the topic `dead-letters` holds.

    Of each of our headers the first is the worker's; a second one is the original's own, which was a dead letter before.
    """
    ours: dict[str, str] = {}
    own: list[tuple[str, bytes | None]] = []
    for name, value in record.headers:
        if name in _OURS and name not in ours:
            ours[name] = (value or b"").decode(errors="replace")
        else:
            own.append((name, value))
    size = ours.get(Header.ORIGINAL_SIZE)
    return DeadLetter(
        reason=ours.get(Header.REASON, ""),
        detail=ours.get(Header.DETAIL, ""),
        topic=ours.get(Header.TOPIC, ""),
        partition=_number(ours.get(Header.PARTITION, "")),
        offset=_number(ours.get(Header.OFFSET, "")),
        key=record.key,
        value=record.value if record.has_value else None,
        headers=tuple(own),
        original_size=None if size is None else _number(size),
        is_whole=not any(str(mark) in ours for mark in CUT_MARKS),
        record=record,
    )


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else -1
