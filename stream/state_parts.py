"""Records of the `state` topic that are larger than it takes: in parts, and a head that says which belong together.

    head   b"WTSP", uint32 number of the parts' set, uint32 count of parts, uint32 CRC-32 and uint64 length of the whole
    part   b"WTSQ", uint32 number of the set, uint32 place, and a piece of the whole

all little-endian. A head has the record's own key. A part's is b"\\0part", set and place before it, so that parts of the next set do not
take the place of those that the last head means: a worker that is killed between parts and head leaves the machine's last snapshot
whole. Parts go out before their head, and those of the set before are deleted behind it.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import replace

from wheeltapper.stream.records import Output

HEAD_MAGIC = b"WTSP"
PART_MAGIC = b"WTSQ"
HEAD = struct.Struct("<4sIIIQ")
PART = struct.Struct("<4sII")
PART_KEY = b"\x00part"
_PLACE = struct.Struct(">II")
"""Set and place in a part's key. A machine's id does not begin with a zero byte."""

FRAMING = 256
"""Kafka's own bytes around a record, its batch's among them."""
LEAST_PIECE = 128
MOST_PARTS = 65_536


class PartWriter:
    """Splits what is too large, and remembers which parts are on the topic."""

    def __init__(self) -> None:
        self.sets: dict[bytes, tuple[int, int]] = {}
        """Key of a record in parts -> set and count of its parts."""

    def write(self, record: Output, largest: int) -> Iterator[Output]:
        """The record, or its parts and their head; then what deletes the parts of the set before.

        Args:
            record: with its key within the partition.
            largest: bytes that key and value may have together; 0: any number.
        """
        key, value = record.key or b"", record.value
        before = self.sets.pop(key, None)
        if value is not None and largest and len(key) + len(value) > largest:
            room = max(LEAST_PIECE, largest - len(key) - len(PART_KEY) - _PLACE.size - PART.size)
            number = 1 if before is None else before[0] % 0xFFFFFFFF + 1
            pieces = [value[start : start + room] for start in range(0, len(value), room)]
            for place, piece in enumerate(pieces):
                packed = PART.pack(PART_MAGIC, number, place) + piece
                yield replace(record, key=part_key(key, number, place), value=packed)
            yield replace(record, value=HEAD.pack(HEAD_MAGIC, number, len(pieces), zlib.crc32(value), len(value)))
            self.sets[key] = (number, len(pieces))
        else:
            yield record
        if before is not None:
            yield from (replace(record, key=each, value=None) for each in _keys(key, *before))


class PartReader:
    """Puts together what a partition's records are read to, in their order."""

    def __init__(self) -> None:
        self.sets: dict[bytes, tuple[int, int]] = {}
        """As `PartWriter.sets`: of the records that are whole."""
        self._parts: dict[bytes, dict[tuple[int, int], bytes]] = {}
        """Key of a record -> (set, place) -> piece."""

    def take(self, key: bytes, value: bytes | None) -> tuple[bytes, bytes | None] | None:
        """Key and value of a record that is whole now; None for a part.

        Raises:
            ValueError: a part or head that cannot be used.
        """
        if key.startswith(PART_KEY):
            self._take_part(key, value)
            return None
        if value is None or not value.startswith(HEAD_MAGIC):
            self.sets.pop(key, None)
            return key, value
        if len(value) != HEAD.size:
            raise ValueError(f"a head of {len(value)} bytes, expected {HEAD.size}")
        _, number, count, checksum, length = HEAD.unpack(value)
        parts = self._parts.get(key, {})
        if not 0 < count <= MOST_PARTS or any((number, place) not in parts for place in range(count)):
            raise ValueError(f"some of its {count} parts are missing")
        whole = b"".join(parts[number, place] for place in range(count))
        if len(whole) != length or zlib.crc32(whole) != checksum:
            raise ValueError("its parts are not those that its head means")
        self.sets[key] = (number, count)
        return key, whole

    def _take_part(self, key: bytes, value: bytes | None) -> None:
        rest = key[len(PART_KEY) + _PLACE.size :]
        if len(key) < len(PART_KEY) + _PLACE.size:
            raise ValueError("a part's key is too short")
        place = _PLACE.unpack_from(key, len(PART_KEY))
        if value is None:
            self._parts.get(rest, {}).pop(place, None)
            return
        if len(value) < PART.size or PART.unpack_from(value) != (PART_MAGIC, *place):
            raise ValueError("a part does not say what its key says")
        self._parts.setdefault(rest, {})[place] = value[PART.size :]

    def left_over(self) -> list[bytes]:
        """Keys of parts that no record means: a worker was killed before their head, or before it deleted them."""
        return [
            part_key(key, *place)
            for key, parts in self._parts.items()
            for place in parts
            if not (known := self.sets.get(key)) or place[0] != known[0] or place[1] >= known[1]
        ]


def part_key(key: bytes, number: int, place: int) -> bytes:
    """Of one part of a record."""
    return PART_KEY + _PLACE.pack(number, place) + key


def _keys(key: bytes, number: int, count: int) -> Iterable[bytes]:
    return (part_key(key, number, place) for place in range(count))
