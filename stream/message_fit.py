"""Makes a message fit its topic: a block of scores in several, other messages without what matters least.

A function of message and limit alone: the same message comes out the same after a restart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import orjson

from wheeltapper.schemas.topics import ADAPTATIONS, ALERTS, DRIFT, LABEL_REQUESTS, LOCALIZATIONS, SCORES
from wheeltapper.stream.records import Output

LEFT_OUT = "wheeltapper-left-out"
"""Header of a message that was cut; says what is missing."""

# Of a record batch of one record: 61 bytes of the batch, at most 36 of the record, some to spare.
FRAMING_BYTES = 128
HEADER_FRAMING_BYTES = 10
# What the header above takes.
NOTE_BYTES = 256


@dataclass(frozen=True, slots=True)
class Fitted:
    """What is sent instead of a message that was too large.

    Attributes:
        outputs: each fits; none where nothing of the message can be kept.
        what: was done to it, for the log.
    """

    outputs: tuple[Output, ...]
    what: str


@dataclass(frozen=True, slots=True)
class _Parts:
    """What a message can do without, in the order in which it is given up.

    Attributes:
        lists: of them the end goes, which is the weakest.
        whole: texts that are useless in part.
        texts: of them the end goes.
    """

    lists: tuple[str, ...] = ()
    whole: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()


_DISPENSABLE = {
    ALERTS: _Parts(lists=("patches", "channels"), texts=("level_reason", "message")),
    LOCALIZATIONS: _Parts(lists=("patches", "channels")),
    LABEL_REQUESTS: _Parts(lists=("shares",)),
    DRIFT: _Parts(lists=("channels",)),
    ADAPTATIONS: _Parts(whole=("evidence",), texts=("reason",)),
}


def record_bytes(output: Output) -> int:
    """What the message takes of its topic's max.message.bytes, at most."""
    headers = sum(len(name.encode()) + len(value or b"") + HEADER_FRAMING_BYTES for name, value in output.headers)
    return len(output.key or b"") + len(output.value or b"") + headers + FRAMING_BYTES


def fit(output: Output, largest: int) -> Fitted:
    """The message in a form of at most `largest` bytes; JSON of the topics of the table, other than dead letters and state."""
    room = largest - record_bytes(replace(output, value=b""))
    message = orjson.loads(output.value or b"null")
    if output.topic == SCORES:
        return _split_scores(output, message, room)
    room -= NOTE_BYTES
    cuts: list[str] = []
    if output.topic == LABEL_REQUESTS:
        _cut_rows(message, room, cuts)
    parts = _DISPENSABLE.get(output.topic, _Parts())
    for name in parts.lists:
        _cut_list(message, name, room, cuts)
    for name in parts.whole:
        if message.get(name) and _size(message) > room:
            cuts.append(f"{name} of {len(message[name])} characters")
            message[name] = ""
    for name in parts.texts:
        _cut_text(message, name, room, cuts)
    value = orjson.dumps(message)
    if len(value) > room:
        return Fitted((), f"left out: {len(value)} bytes that cannot be spared")
    what = ", ".join(cuts)
    headers = [*output.headers, (LEFT_OUT, what.encode()[:NOTE_BYTES])]
    return Fitted((replace(output, value=value, headers=headers),), f"cut: {what}")


def _size(message: dict[str, Any]) -> int:
    return len(orjson.dumps(message))


def _split_scores(output: Output, block: dict[str, Any], room: int) -> Fitted:
    """Blocks of consecutive windows, in order."""
    columns = [name for name, value in block.items() if isinstance(value, list) and value]
    windows = len(block["time"])

    def part(start: int, stop: int) -> list[bytes] | None:
        value = orjson.dumps({**block, **{name: block[name][start:stop] for name in columns}})
        if len(value) <= room:
            return [value]
        if stop - start == 1:
            return None
        middle = (start + stop) // 2
        first, second = part(start, middle), part(middle, stop)
        return None if first is None or second is None else first + second

    values = part(0, windows)
    if values is None:
        return Fitted((), f"left out: one window takes more than the {room} bytes that there is room for")
    return Fitted(tuple(replace(output, value=value) for value in values), f"split into {len(values)} messages")


def _cut_list(message: dict[str, Any], name: str, room: int, cuts: list[str]) -> None:
    """Entries at the end of a list go."""
    entries = message.get(name)
    if not entries or (size := _size(message)) <= room:
        return
    kept = len(entries)
    while kept and size > room:
        kept -= 1
        size -= len(orjson.dumps(entries[kept])) + 1  # and its comma
    message[name] = entries[:kept]
    cuts.append(f"{len(entries) - kept} of {len(entries)} {name}")


def _cut_rows(message: dict[str, Any], room: int, cuts: list[str]) -> None:
    """Rows of a label request go, the oldest first, then those behind the one to judge."""
    times, rows = message["ts"], message["values"]
    size, judged = _size(message), times.index(message["time"])
    if size <= room:
        return
    first, stop = 0, len(times)

    def bytes_of(row: int) -> int:
        return len(orjson.dumps(rows[row])) + len(orjson.dumps(times[row])) + 2

    while size > room and first < judged:
        size -= bytes_of(first)
        first += 1
    while size > room and stop > judged + 1:
        stop -= 1
        size -= bytes_of(stop)
    message["ts"], message["values"] = times[first:stop], rows[first:stop]
    cuts.append(f"{len(times) - (stop - first)} of {len(times)} rows")


def _cut_text(message: dict[str, Any], name: str, room: int, cuts: list[str]) -> None:
    """The end of a text goes."""
    text = message.get(name)
    if not text or _size(message) <= room:
        return

    def fits(length: int) -> bool:
        message[name] = text[:length]
        return _size(message) <= room

    kept = _largest(len(text), fits)
    message[name] = text[:kept]
    cuts.append(f"{len(text) - kept} of {len(text)} characters of {name}")


def _largest(most: int, holds: Callable[[int], bool]) -> int:
    """The largest number up to `most` for which `holds`, which holds of all smaller ones too; 0 where it holds of none."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if holds(middle) else (low, middle - 1)
    return low
