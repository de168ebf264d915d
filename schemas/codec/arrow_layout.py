"""Where the columns of an Arrow record batch lie, read from the batch's header (a flatbuffer).

Format: https://arrow.apache.org/docs/format/Columnar.html and the Message.fbs and Schema.fbs that it links to. Slot
numbers below are the order of the fields in those files.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from wheeltapper.schemas.codec import checks

BATCH = "record batch"
_KINDS = {1: "schema", 2: "dictionary batch", 3: BATCH, 4: "tensor", 5: "sparse tensor"}
_CODECS = {0: "lz4", 1: "zstd"}

_INT8 = struct.Struct("<b")
_INT16 = struct.Struct("<h")
_UINT16 = struct.Struct("<H")
_INT32 = struct.Struct("<i")
_UINT32 = struct.Struct("<I")
_INT64 = struct.Struct("<q")


class Column(NamedTuple):
    """One column of a batch; places are (offset in the body, bytes)."""

    kind: str
    nulls: int
    validity: tuple[int, int]
    data: tuple[int, int]


class BatchLayout(NamedTuple):
    """A batch, laid out.

    Attributes:
        compression: 'lz4', 'zstd' or None, of every buffer.
        even: (offset of the first, bytes from one to the next) where all columns but the time's are float32 without
            nulls at equal distances: then they are one array.
    """

    rows: int
    body_bytes: int
    columns: tuple[Column, ...]
    compression: str | None
    even: tuple[int, int] | None


class _Table:
    """A flatbuffer table: where its fields are.

    Raises:
        struct.error: outside of the data; ValueError: before it.
    """

    def __init__(self, data: bytes, position: int) -> None:
        self._data = data
        self._position = position
        self._vtable = position - _INT32.unpack_from(data, position)[0]
        if self._vtable < 0:  # struct would count a negative offset from the end
            raise ValueError("a table points before the header's start")
        self._vtable_bytes = _UINT16.unpack_from(data, self._vtable)[0]

    def number(self, slot: int, form: struct.Struct, default: int = 0) -> int:
        """The number in a slot."""
        place = self._place(slot)
        return default if place is None else int(form.unpack_from(self._data, place)[0])

    def table(self, slot: int) -> _Table | None:
        """The table that a slot points to."""
        place = self._place(slot)
        return None if place is None else _Table(self._data, place + _UINT32.unpack_from(self._data, place)[0])

    def pairs(self, slot: int) -> list[tuple[int, int]]:
        """The vector of structs of two int64 that a slot points to."""
        place = self._place(slot)
        if place is None:
            return []
        start = place + _UINT32.unpack_from(self._data, place)[0]
        count = _UINT32.unpack_from(self._data, start)[0]
        numbers = np.frombuffer(self._data, "<i8", 2 * count, start + _UINT32.size).tolist()
        return list(zip(numbers[::2], numbers[1::2], strict=True))

    def _place(self, slot: int) -> int | None:
        entry = 4 + 2 * slot
        if entry + 2 > self._vtable_bytes:
            return None
        offset = _UINT16.unpack_from(self._data, self._vtable + entry)[0]
        return self._position + offset if offset else None


def _message(header: bytes) -> _Table:
    return _Table(header, _UINT32.unpack_from(header, 0)[0])


def is_little_endian(header: bytes) -> bool:
    """Of a schema message that has been verified."""
    schema = _message(header).table(2)
    return schema is not None and schema.number(0, _INT16) == 0


def read_layout(header: bytes, kinds: tuple[str, ...], check_rows: Callable[[int], None] | None = None) -> BatchLayout:
    """A record batch's layout.

    Args:
        header: the batch's message without its 8 bytes of framing.
        kinds: each column's numpy dtype, 'bits' or 'null'.
        check_rows: refuses a number of rows, before memory is taken for them; None: as of a SensorBlock.

    Raises:
        DecodeError: another message than a record batch, one that disagrees with `kinds`, or buffers outside of the
            batch's body.
    """
    try:
        return _read_layout(header, kinds, check_rows)
    except (struct.error, ValueError) as error:
        raise checks.no_block(f"a broken header of an Arrow message: {error}") from None


def _read_layout(header: bytes, kinds: tuple[str, ...], check_rows: Callable[[int], None] | None) -> BatchLayout:
    message = _message(header)
    kind = message.number(1, _INT8)
    batch = message.table(2)
    if kind != 3 or batch is None:
        raise ValueError(f"a {_KINDS.get(kind, 'message of unknown kind')}, expected a {BATCH}")
    rows, body_bytes = batch.number(0, _INT64), message.number(3, _INT64)
    if rows and check_rows is not None:
        check_rows(rows)
    elif rows:
        checks.check_size(rows, len(kinds) - 1)
    nodes, buffers = batch.pairs(1), batch.pairs(2)
    if body_bytes < 0 or len(nodes) != len(kinds) or len(buffers) != 2 * sum(kind != "null" for kind in kinds):
        raise ValueError(f"{len(nodes)} columns and {len(buffers)} buffers, the schema has {len(kinds)} columns")
    if any(offset < 0 or length < 0 or offset + length > body_bytes for offset, length in buffers):
        raise ValueError("a buffer lies outside of the message")
    compression = None
    if (described := batch.table(3)) is not None:
        compression = _CODECS.get(described.number(0, _INT8))
        if compression is None:
            raise ValueError("an unknown compression")
    columns = []
    places = iter(buffers)
    for column_kind, (length, nulls) in zip(kinds, nodes, strict=True):
        if length != rows or not 0 <= nulls <= rows:
            raise ValueError(f"a column of {length} rows with {nulls} nulls in a batch of {rows}")
        validity, data = ((0, 0), (0, 0)) if column_kind == "null" else (next(places), next(places))
        columns.append(Column(column_kind, nulls, validity, data))
    layout = BatchLayout(rows, body_bytes, tuple(columns), compression, None)
    return layout._replace(even=_even(layout))


def _even(layout: BatchLayout) -> tuple[int, int] | None:
    """See `BatchLayout.even`. The time's column is first or last, or no distance would be equal."""
    columns = [column for column in layout.columns if column.kind != "<i8"]
    if layout.compression is not None or len(columns) != len(layout.columns) - 1:
        return None
    if any(column.kind != "<f4" or column.nulls or column.data[1] < 4 * layout.rows for column in columns):
        return None
    offsets = [column.data[0] for column in columns]
    strides = {after - before for before, after in pairwise(offsets)}
    return (offsets[0], strides.pop() if strides else 0) if len(strides) <= 1 else None
