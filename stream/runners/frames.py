"""Frames of records as brokers keep them, read so that none of them stops a partition.

A producer packs records into frames (Kafka's "record batches"), compressed or not. A frame that cannot be unpacked, or unpacks to
more than `MOST_BYTES`, comes out as one record with a flaw; so does a record with a header name that is no UTF-8. Everything
else comes out as aiokafka's own parser, which does the work, reads it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cramjam
import pyarrow as pa
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.legacy_records import LegacyRecordBatch
from aiokafka.record.util import decode_varint

from wheeltapper.schemas.errors import DecodeError
from wheeltapper.schemas.events import DeadLetterReason as Reason
from wheeltapper.schemas.limits import MAX_MESSAGE_BYTES, MIB
from wheeltapper.stream.kafka_headers import bad_header, legible
from wheeltapper.stream.records import Flaw

MOST_BYTES = 2 * MAX_MESSAGE_BYTES
"""Most that a frame may unpack to: a message of the largest size that is read, with as much beside it. Producers fill frames with
a megabyte, or with one larger message."""

# base offset, length, leader epoch, format, CRC | attributes, last offset delta, first and last timestamp, producer's id and
# epoch, sequence, number of records
_HEADER = struct.Struct(">qiibIhiqqqhii")
_LENGTH = struct.Struct(">qi")
_FORMAT_AT = 16
_CODECS = {0: "none", 1: "gzip", 2: "snappy", 3: "lz4", 4: "zstd"}
_CODEC_MASK = 0x07
_LOG_APPEND_TIME = 0x08
_PIECE_BYTES = MIB

_XERIAL = b"\x82SNAPPY\0"
_XERIAL_HEADER_BYTES = 16

# Whatever the parsers of damaged bytes raise.
_DAMAGED = (CorruptRecordException, ValueError, IndexError, struct.error, OverflowError, SystemError)


class FrameError(Exception):
    """A frame that cannot be unpacked."""


@dataclass(frozen=True, slots=True)
class FlawedRecord:
    """A record, or a whole frame, with what could be kept of it; it stands in for one of aiokafka's records.

    Attributes:
        flaw: what is wrong; of records without a flaw None.
    """

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    flaw: Flaw | None
    timestamp_type: int = 0

    @property
    def checksum(self) -> Flaw | None:
        """The flaw: aiokafka hands this field on as it is, and has no other use for it."""
        return self.flaw


class Frames:
    """What a broker answered to a fetch; takes the place of aiokafka's `MemoryRecords`."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._next = 0

    def size_in_bytes(self) -> int:
        return len(self._data)

    def has_next(self) -> bool:
        """Whether a whole frame is left; the last one of an answer may be cut off."""
        return self._end() is not None

    def next_batch(self) -> Any:
        """The next frame."""
        start, end = self._next, self._end()
        if end is None:
            return None
        self._next = end
        raw = self._data[start:end]
        magic = raw[_FORMAT_AT]
        # Formats 0 and 1 are older than Kafka 0.11.
        return Frame(raw) if magic >= 2 else LegacyRecordBatch(raw, magic)

    def _end(self) -> int | None:
        if len(self._data) - self._next < _LENGTH.size:
            return None
        _, length = _LENGTH.unpack_from(self._data, self._next)
        end = self._next + _LENGTH.size + length
        return end if length > _FORMAT_AT - _LENGTH.size and end <= len(self._data) else None


class Frame:
    """One frame; its attributes are those of aiokafka's record batch."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._batch = DefaultRecordBatch(raw)
        fields = _HEADER.unpack_from(raw)
        self.base_offset: int = fields[0]
        self._attributes: int = fields[5]
        self.next_offset: int = self.base_offset + fields[6] + 1
        self._first_timestamp, self._last_timestamp = fields[7], fields[8]
        self.producer_id: int = fields[9]
        self._records: int = fields[12]
        self._is_damaged = False

    @property
    def is_transactional(self) -> bool:
        return bool(self._batch.is_transactional)

    @property
    def is_control_batch(self) -> bool:
        return bool(self._batch.is_control_batch)

    def validate_crc(self) -> bool:
        """True: a wrong sum is no reason to stop, but a flaw of this frame."""
        self._is_damaged = not self._batch.validate_crc()
        return True

    def __next__(self) -> Any:
        """The record of a control batch; aiokafka reads those so."""
        return next(self._batch)

    def __iter__(self) -> Iterator[Any]:
        """Its records, one after the other; of one that cannot be unpacked, a flawed one in place of all that are left."""
        offset = self.base_offset
        try:
            plain = self._plain()
            taken = 0
            try:
                for record in DefaultRecordBatch(plain):
                    taken += 1
                    offset = record.offset + 1
                    yield record
                return
            except _DAMAGED:
                pass  # a name that is no UTF-8, mostly: the rest is read with care
            for flawed in self._carefully(plain, taken):
                offset = flawed.offset + 1
                yield flawed
        except (FrameError, MemoryError, *_DAMAGED) as error:
            yield self._flawed(offset, str(error) or type(error).__name__)

    def _flawed(self, first_offset: int, problem: str) -> FlawedRecord:
        codec = _CODECS.get(self._attributes & _CODEC_MASK, "unknown compression")
        last = self.next_offset - 1
        detail = (
            f"{self._records} records at offsets {self.base_offset} to {last} came in one frame of {len(self._raw)} bytes "
            f"({codec}) that cannot be unpacked: {problem}"
        )
        flaw = Flaw(DecodeError(Reason.BAD_FRAME, detail), first_offset)
        return FlawedRecord(last, self._last_timestamp, None, self._raw, (), flaw)

    def _plain(self) -> bytes:
        """The frame without compression.

        Raises:
            FrameError: it is damaged, or too large.
        """
        if self._is_damaged:
            raise FrameError("its checksum (CRC-32C) is wrong")
        codec = self._attributes & _CODEC_MASK
        if codec == 0:
            return self._raw
        header = bytearray(self._raw[: _HEADER.size])
        struct.pack_into(">h", header, _FORMAT_AT + 5, self._attributes & ~_CODEC_MASK)
        return bytes(header) + unpack(_CODECS.get(codec, str(codec)), self._raw[_HEADER.size :])

    def _carefully(self, plain: bytes, taken: int) -> Iterator[FlawedRecord]:
        """The records behind the first `taken`, with header names of any bytes."""
        data = bytearray(plain)
        position = _HEADER.size
        for number in range(self._records):
            length, position = decode_varint(data, position)
            end = position + length
            if length < 0 or end > len(data):
                raise FrameError(f"record {number + 1} of {self._records} is longer than the frame")
            if number >= taken:
                yield self._record(data[position:end])
            position = end

    def _record(self, data: bytearray) -> FlawedRecord:
        position = 1  # behind the attributes
        elapsed, position = decode_varint(data, position)
        delta, position = decode_varint(data, position)
        key, position = _bytes(data, position)
        value, position = _bytes(data, position)
        count, position = decode_varint(data, position)
        headers: list[tuple[str, bytes | None]] = []
        bad: list[bytes] = []
        for _ in range(count):
            name, position = _bytes(data, position)
            text, position = _bytes(data, position)
            try:
                headers.append(((name or b"").decode(), text))
            except UnicodeDecodeError:
                bad.append(name or b"")
                headers.append((legible(name or b""), text))
        offset = self.base_offset + delta
        stamped = self._last_timestamp if self._attributes & _LOG_APPEND_TIME else self._first_timestamp + elapsed
        flaw = Flaw(bad_header(bad[0]), offset) if bad else None
        return FlawedRecord(offset, stamped, key, value, tuple(headers), flaw)


def unpack(codec: str, data: bytes) -> bytes:
    """Decompressed bytes, at most `MOST_BYTES`.

    Args:
        codec: gzip, snappy, lz4 or zstd.

    Raises:
        FrameError: they are more, or damaged, or of another codec.
    """
    if codec == "snappy":
        return _unpack_snappy(data)
    try:
        stream = pa.CompressedInputStream(pa.BufferReader(data), codec)
        pieces: list[bytes] = []
        size = 0
        while piece := stream.read(_PIECE_BYTES):
            pieces.append(piece)
            size += len(piece)
            if size > MOST_BYTES:
                raise FrameError(f"it unpacks to more than {MOST_BYTES} bytes")
    except (OSError, ValueError, pa.ArrowException) as error:
        raise FrameError(str(error)) from None
    return b"".join(pieces)


def _unpack_snappy(data: bytes) -> bytes:
    """Raw snappy, or the form of the Java library: blocks with their lengths before them."""
    if not data.startswith(_XERIAL):
        return _unpack_snappy_block(data, MOST_BYTES)
    pieces: list[bytes] = []
    room = MOST_BYTES
    position = _XERIAL_HEADER_BYTES
    while position < len(data):
        (length,) = struct.unpack_from(">i", data, position)
        position += 4
        if length < 0:
            raise FrameError(f"a block of {length} bytes")
        pieces.append(_unpack_snappy_block(data[position : position + length], room))
        room -= len(pieces[-1])
        position += length
    return b"".join(pieces)


def _unpack_snappy_block(data: bytes, room: int) -> bytes:
    try:
        if cramjam.snappy.decompress_raw_len(data) > room:
            raise FrameError(f"it unpacks to more than {MOST_BYTES} bytes")
        return bytes(cramjam.snappy.decompress_raw(data))
    except cramjam.DecompressionError as error:
        raise FrameError(str(error)) from None


def _bytes(data: bytearray, position: int) -> tuple[bytes | None, int]:
    length, position = decode_varint(data, position)
    if length < 0:
        return None, position
    end = position + length
    if end > len(data):
        raise FrameError("a field is longer than its record")
    return bytes(data[position:end]), end
