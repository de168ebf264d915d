"""Arrow IPC stream: the fast path for blocks of rows.

    schema metadata   machine: UTF-8
    column ts         timestamp of any unit, or int64 microseconds; no nulls
    other columns     one a channel: floats, integers or booleans; null or NaN where a sensor gave nothing

Several record batches in a stream are one block after the other. Bodies are read here rather than by pyarrow: for 64
rows of 38 channels numpy over the buffers takes 11 us, pyarrow's 39 column objects 87 us; and only what a batch's
header promises within the limits is ever allocated or decompressed.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from wheeltapper.schemas.arrow_arrays import arrow_array
from wheeltapper.schemas.codec import checks
from wheeltapper.schemas.codec.arrow_layout import BatchLayout, Column, is_little_endian, read_layout
from wheeltapper.schemas.errors import DecodeError
from wheeltapper.schemas.events import DeadLetterReason
from wheeltapper.schemas.sensor_block import SensorBlock

TIME_COLUMN = "ts"
MACHINE_KEY = b"machine"

FRAME = struct.Struct("<iI")  # continuation -1, bytes of the message's header
END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"
_COMPRESSED_LENGTH = struct.Struct("<q")

# numpy dtype of each readable column type; booleans are bits, a null column has no buffers.
_KINDS = {
    pa.float16(): "<f2", pa.float32(): "<f4", pa.float64(): "<f8",
    pa.int8(): "<i1", pa.int16(): "<i2", pa.int32(): "<i4", pa.int64(): "<i8",
    pa.uint8(): "<u1", pa.uint16(): "<u2", pa.uint32(): "<u4", pa.uint64(): "<u8",
    pa.bool_(): "bits", pa.null(): "null",
}  # fmt: skip
# How many microseconds a unit is, or how many of the unit a microsecond.
_UNITS = {"s": (1_000_000, 1), "ms": (1_000, 1), "us": (1, 1), "ns": (1, 1_000)}

# A fleet's schemas differ by machine: thousands are remembered, if they are of usual size (38 channels take 2 KB).
_MAX_CACHED_BYTES = 16 * 1024


class _Schema(NamedTuple):
    machine: str | None
    channels: tuple[str, ...]
    kinds: tuple[str, ...]  # of all columns, in schema order
    time_column: int
    time_unit: tuple[int, int]  # multiply by, then divide by


def decode_sensor_block(value: bytes, machine: str | None = None) -> SensorBlock:
    """Read a stream.

    Args:
        machine: stands in where the schema's metadata names none.

    Raises:
        DecodeError.
    """
    schema_end = frame_end(value, 0)
    prefix = value[:schema_end]
    is_usual = len(prefix) <= _MAX_CACHED_BYTES
    schema = _schema(prefix) if is_usual else _read_schema(prefix)
    named = checks.checked_machine(schema.machine, machine)
    parts = []
    rows = 0
    position = schema_end
    while len(value) - position >= FRAME.size and not value.startswith(END_OF_STREAM, position):
        header_end = frame_end(value, position)
        header = value[position + FRAME.size : header_end]
        is_usual = len(header) <= _MAX_CACHED_BYTES
        layout = _layout(header, schema.kinds) if is_usual else read_layout(header, schema.kinds)
        body = memoryview(value)[header_end : header_end + layout.body_bytes]
        if len(body) < layout.body_bytes:
            raise checks.no_block(f"the stream ends {layout.body_bytes - len(body)} bytes before its batch does")
        if layout.rows:
            rows += layout.rows
            checks.check_size(rows, len(schema.channels))
            parts.append((_times(body, layout, schema), _values(body, layout, schema)))
        position = header_end + layout.body_bytes
    checks.check_size(rows, len(schema.channels))
    times, values = parts[0]
    if len(parts) > 1:
        times = np.concatenate([part[0] for part in parts])
        values = np.concatenate([part[1] for part in parts])
    checks.check_finite(values, schema.channels)
    return SensorBlock(named, times, schema.channels, values)


def frame_end(value: bytes, position: int) -> int:
    """Where the header of the message at `position` ends; its body follows."""
    if len(value) - position < FRAME.size:
        raise checks.no_block(f"{len(value)} bytes, too short for an Arrow IPC stream")
    continuation, header_bytes = FRAME.unpack_from(value, position)
    end = position + FRAME.size + header_bytes
    if continuation != -1 or not header_bytes or end > len(value):
        raise checks.no_block(f"no message of an Arrow IPC stream at byte {position}, or it is cut off")
    return int(end)


def _read_schema(prefix: bytes) -> _Schema:
    """The schema message's columns.

    Raises:
        DecodeError: not a schema, no or two `ts`, or a column of a type that holds no numbers.
    """
    try:
        schema = pa.ipc.read_schema(pa.py_buffer(prefix))
        names, types = schema.names, schema.types
        machine = (schema.metadata or {}).get(MACHINE_KEY, b"").decode()
        little_endian = is_little_endian(prefix[FRAME.size :])
    except Exception as error:  # Arrow's C++ errors come as a dozen Python types
        raise checks.no_block(f"no Arrow schema: {checks.shown(str(error))}") from None
    if not little_endian:
        raise checks.no_block("big-endian Arrow buffers, expected little-endian")
    if names.count(TIME_COLUMN) != 1:
        raise DecodeError(
            DeadLetterReason.BAD_TIME, f"{names.count(TIME_COLUMN)} columns are named '{TIME_COLUMN}', expected one"
        )
    time_column = names.index(TIME_COLUMN)
    time_type = types[time_column]
    if not (time_type == pa.int64() or pa.types.is_timestamp(time_type)):
        raise DecodeError(
            DeadLetterReason.BAD_TIME,
            f"column '{TIME_COLUMN}' is {checks.shown(str(time_type))}, expected timestamp or int64 microseconds",
        )
    channels = checks.checked_channels(tuple(name for name in names if name != TIME_COLUMN))
    kinds = []
    for column, (name, data_type) in enumerate(zip(names, types, strict=True)):
        kind = "<i8" if column == time_column else _KINDS.get(data_type)
        if kind is None:
            raise DecodeError(
                DeadLetterReason.NOT_A_NUMBER,
                f"column {checks.shown(name)} is {checks.shown(str(data_type))}, expected numbers",
            )
        kinds.append(kind)
    unit = _UNITS["us" if time_type == pa.int64() else time_type.unit]
    return _Schema(machine or None, channels, tuple(kinds), time_column, unit)


_schema = lru_cache(maxsize=4096)(_read_schema)
# Blocks of equally many rows and no nulls have equal headers, whichever machine sent them.
_layout = lru_cache(maxsize=512)(read_layout)


def _times(body: memoryview, layout: BatchLayout, schema: _Schema) -> np.ndarray:
    """[n] int64 microseconds."""
    column = layout.columns[schema.time_column]
    if column.nulls:
        raise DecodeError(DeadLetterReason.BAD_TIME, f"{column.nulls} of {layout.rows} times are null")
    times = column_values(body, layout, column).astype(np.int64)
    multiply, divide = schema.time_unit
    if multiply > 1:
        # Before multiplying, which would wrap around.
        outside = (times < checks.MIN_MICROS // multiply) | (times > checks.MAX_MICROS // multiply)
        if outside.any():
            raise DecodeError(
                DeadLetterReason.BAD_TIME, f"ts is {times[outside][0]}, outside of the years 1 to 9999 in its unit"
            )
        times *= multiply
    elif divide > 1:
        times //= divide
    return checks.checked_micros(times)


def _values(body: memoryview, layout: BatchLayout, schema: _Schema) -> np.ndarray:
    """[n, C] float32."""
    if layout.even is not None:
        offset, stride = layout.even
        shape = (layout.rows, len(schema.channels))
        return np.array(np.ndarray(shape, "<f4", body, offset, (4, stride)), dtype=np.float32, order="C")
    values = np.empty((layout.rows, len(schema.channels)), dtype=np.float32)
    columns = [column for index, column in enumerate(layout.columns) if index != schema.time_column]
    for index, column in enumerate(columns):
        # What float32 cannot hold becomes infinite here, and is refused at the end.
        with np.errstate(over="ignore", invalid="ignore"):
            values[:, index] = column_values(body, layout, column)
        if column.nulls and column.kind != "null":
            valid = _bits(_buffer(body, layout, column.validity, (layout.rows + 7) // 8), layout.rows)
            values[valid == 0, index] = np.nan
    return values


def column_values(body: memoryview, layout: BatchLayout, column: Column) -> np.ndarray:
    """[n] numbers, arbitrary where the column is null."""
    if column.kind == "null":
        return np.full(layout.rows, np.nan, dtype=np.float32)
    if column.kind == "bits":
        return _bits(_buffer(body, layout, column.data, (layout.rows + 7) // 8), layout.rows)
    dtype = np.dtype(column.kind)
    data = _buffer(body, layout, column.data, layout.rows * dtype.itemsize)
    return np.frombuffer(data, dtype, layout.rows)


def _bits(data: memoryview | bytes, count: int) -> np.ndarray:
    return np.unpackbits(np.frombuffer(data, np.uint8), count=count, bitorder="little")


def _buffer(body: memoryview, layout: BatchLayout, place: tuple[int, int], needed_bytes: int) -> memoryview | bytes:
    """The bytes of one buffer, decompressed; at least `needed_bytes` of them."""
    offset, length = place
    data: memoryview | bytes = body[offset : offset + length]
    if layout.compression is not None:
        data = _decompressed(data, needed_bytes, layout.compression)
    if len(data) < needed_bytes:
        raise checks.no_block(f"a buffer of {len(data)} bytes for {layout.rows} rows, expected {needed_bytes}")
    return data


def _decompressed(data: memoryview | bytes, needed_bytes: int, codec: str) -> memoryview | bytes:
    """A buffer's first `needed_bytes`, or fewer where it has fewer; what it claims to hold beyond is not read."""
    if len(data) < _COMPRESSED_LENGTH.size:
        raise checks.no_block(f"a compressed buffer of {len(data)} bytes, expected its length at its start")
    (claimed_bytes,) = _COMPRESSED_LENGTH.unpack_from(data)
    data = data[_COMPRESSED_LENGTH.size :]
    if claimed_bytes == -1:  # this buffer was not worth compressing
        return data
    try:
        # A stream counts what it gives; pa.decompress leaves memory as it was where LZ4 holds less than claimed.
        with pa.CompressedInputStream(pa.BufferReader(data), codec) as stream:
            return stream.read(needed_bytes)
    except (pa.ArrowException, OSError) as error:
        raise checks.no_block(f"not {codec}: {checks.shown(str(error))}") from None


@lru_cache(maxsize=4096)
def _encoded_schema(machine: str, channels: tuple[str, ...]) -> tuple[pa.Schema, bytes]:
    if TIME_COLUMN in channels:
        raise ValueError(f"a channel is named '{TIME_COLUMN}', which is the time's column in Arrow; rename it")
    fields = [pa.field(TIME_COLUMN, pa.timestamp("us", "UTC"), nullable=False)]
    fields += [pa.field(channel, pa.float32()) for channel in channels]
    schema = pa.schema(fields, metadata={MACHINE_KEY: machine.encode()})
    return schema, schema.serialize().to_pybytes()


def encode_sensor_block(block: SensorBlock) -> bytes:
    """Write a block as one batch; NaN stays NaN.

    Raises:
        ValueError: a channel is named like the time's column.
    """
    schema, schema_message = _encoded_schema(block.machine, block.channels)
    by_channel = np.ascontiguousarray(block.values.T, dtype=np.float32)
    times = arrow_array(np.asarray(block.ts, dtype=np.int64)).view(schema.field(0).type)
    batch = pa.RecordBatch.from_arrays([times, *map(arrow_array, by_channel)], schema=schema)
    return b"".join([schema_message, batch.serialize(), END_OF_STREAM])
