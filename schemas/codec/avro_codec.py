"""Avro: compact, with a schema that other languages generate code from.

Written: single-object encoding, C3 01, the schema's 8-byte fingerprint, the datum. It is part of the Avro
specification, needs no registry, says which version wrote it, and the classes that Avro generates for Java read it as
it is; where a library lacks it, the datum starts at byte 10.

Read besides: an object container with one record, the wire format of schema registries (0x00, 4 bytes of id; the id is
not looked up, the present schema is assumed) and, where the content-type header says Avro, a bare datum of the present
schema. A container's schema may be another than ours: events are resolved to ours by Avro's rules, a SensorBlock is
taken by its fields' names, with any type of number, and null.
"""

from __future__ import annotations

import zlib
from functools import cache, lru_cache
from io import BytesIO
from typing import Any, NamedTuple, TypeVar

import numpy as np
from fastavro import parse_schema, schemaless_reader, schemaless_writer
from pydantic import BaseModel, ValidationError

from wheeltapper.schemas.codec import checks
from wheeltapper.schemas.codec.avro_schemas import (
    known_writers,
    schema_fingerprint,
    schema_name,
    spelled_symbols,
    writer_of,
    writer_schema,
)
from wheeltapper.schemas.codec.encoding import CONTAINER_MAGIC, SINGLE_OBJECT_MAGIC, WIRE_MAGIC, WIRE_PREFIX_BYTES
from wheeltapper.schemas.codec.fields import block_from_fields, block_values
from wheeltapper.schemas.codec.json_codec import first_complaint
from wheeltapper.schemas.errors import DecodeError
from wheeltapper.schemas.events import DeadLetterReason
from wheeltapper.schemas.limits import MAX_MESSAGE_BYTES, MAX_PARSED_BYTES
from wheeltapper.schemas.sensor_block import SensorBlock

M = TypeVar("M", bound=BaseModel)

_SENSOR_BLOCK = "sensor_block"
_FINGERPRINT_BYTES = 8
_RAW_DEFLATE = -15

# https://avro.apache.org/docs/1.12.0/specification/#object-container-files
_CONTAINER_HEADER = parse_schema(
    {
        "type": "record",
        "name": "Header",
        "fields": [
            {"name": "magic", "type": {"type": "fixed", "name": "Magic", "size": 4}},
            {"name": "meta", "type": {"type": "map", "values": "bytes"}},
            {"name": "sync", "type": {"type": "fixed", "name": "Sync", "size": 16}},
        ],
    }
)
_CONTAINER_BLOCK = parse_schema(
    {
        "type": "record",
        "name": "Block",
        "fields": [
            {"name": "count", "type": "long"},
            {"name": "data", "type": "bytes"},
            {"name": "sync", "type": {"type": "fixed", "name": "Sync", "size": 16}},
        ],
    }
)
_VALUES = parse_schema({"type": "array", "items": {"type": "array", "items": "float"}})


@cache
def _head_schema() -> Any:
    """A SensorBlock without its last field, the values: those are read and written as one array."""
    fields = writer_schema(_SENSOR_BLOCK)["fields"]
    assert fields[-1]["name"] == "values"
    return parse_schema({"type": "record", "name": "SensorBlockHead", "fields": fields[:-1]})


def decode_sensor_block(value: bytes, machine: str | None = None) -> SensorBlock:
    """Read a block in any of the forms above.

    Args:
        machine: stands in where the message's own is empty.

    Raises:
        DecodeError.
    """
    datum, writer = read_datum(value, _SENSOR_BLOCK)
    if writer is not writer_schema(_SENSOR_BLOCK):
        check_parsable(datum)
        block = block_from_fields(read_all(datum, writer), machine)
        checks.check_finite(block.values, block.channels)
        return block
    # The head is parsed into Python objects, so it may only take as much of the message as those may.
    source = BytesIO(datum[:MAX_PARSED_BYTES])
    head = read_part(source, _head_schema())
    checks.check_size(len(head["ts"]), len(head["channels"]))  # first, for zeros: they are no rows of no machine
    named = checks.checked_machine(head["machine"], machine)
    channels = checks.checked_channels(tuple(head["channels"]))
    times = checks.checked_times(head["ts"])
    values = _values(datum[source.tell() :], len(times), channels)
    checks.check_finite(values, channels)
    return SensorBlock(named, times, channels, values)


class _RowLayout(NamedTuple):
    """How an array of float arrays is written by whoever writes each array as one run."""

    head: np.ndarray  # uint8, the row's count of values as a long
    row_bytes: int


@lru_cache(maxsize=256)
def _row_layout(width: int) -> _RowLayout:
    head = np.frombuffer(_long(width), dtype=np.uint8)
    return _RowLayout(head, len(head) + 4 * width + 1)


def _long(number: int) -> bytes:
    out = BytesIO()
    schemaless_writer(out, "long", number)
    return out.getvalue()


def _values(data: bytes, rows: int, channels: tuple[str, ...]) -> np.ndarray:
    """[n, C] float32 from the datum's last field.

    Avro may split an array into several runs. Most writers do not: then all rows are equally long, and what stands
    between their values can be checked for all rows at once.
    """
    count = _long(rows)
    layout = _row_layout(len(channels))
    if len(data) == len(count) + rows * layout.row_bytes + 1 and data.startswith(count) and data[-1] == 0:
        table = np.frombuffer(data, np.uint8, rows * layout.row_bytes, len(count)).reshape(rows, layout.row_bytes)
        head_bytes = len(layout.head)
        if (table[:, :head_bytes] == layout.head).all() and not table[:, -1].any():
            return table[:, head_bytes:-1].copy().view("<f4").astype(np.float32, copy=False)
    check_parsable(data)
    return block_values(read_all(data, _VALUES), rows, channels)


def check_parsable(data: bytes) -> None:
    """At most MAX_PARSED_BYTES, of what becomes Python objects."""
    if len(data) > MAX_PARSED_BYTES:
        raise DecodeError(
            DeadLetterReason.TOO_LARGE,
            f"{len(data)} bytes of Avro in another layout than ours, at most {MAX_PARSED_BYTES} are read",
        )


def read_datum(value: bytes, name: str) -> tuple[bytes, Any]:
    """The message's datum and the schema that it was written with."""
    if value.startswith(CONTAINER_MAGIC):
        return _contained(value, name)
    if value.startswith(SINGLE_OBJECT_MAGIC):
        start = len(SINGLE_OBJECT_MAGIC) + _FINGERPRINT_BYTES
        found = value[len(SINGLE_OBJECT_MAGIC) : start]
        writer = known_writers(name).get(found)
        if writer is None:
            raise checks.no_block(f"Avro schema with fingerprint {found.hex()} is not a known version of {name}.avsc")
        return value[start:], writer
    if value[0] == WIRE_MAGIC:
        value = value[WIRE_PREFIX_BYTES:]
    return value, writer_schema(name)


def _contained(value: bytes, name: str) -> tuple[bytes, Any]:
    """The one record of an object container."""
    source = BytesIO(value)
    header = read_part(source, _CONTAINER_HEADER)
    block = read_part(source, _CONTAINER_BLOCK)
    if block["sync"] != header["sync"] or block["count"] != 1 or source.read(1):
        raise checks.no_block("an Avro container that is cut off or holds more than one record, expected one")
    writer = writer_of(name, header["meta"].get("avro.schema", b""))
    codec = header["meta"].get("avro.codec", b"null")
    if codec == b"null":
        return block["data"], writer
    if codec != b"deflate":
        raise checks.no_block(f"an Avro container with codec {checks.shown(codec)}, expected null or deflate")
    inflater = zlib.decompressobj(_RAW_DEFLATE)
    try:
        datum = inflater.decompress(block["data"], MAX_MESSAGE_BYTES)
    except zlib.error as error:
        raise checks.no_block(f"not deflate: {error}") from None
    if not inflater.eof:
        raise DecodeError(
            DeadLetterReason.TOO_LARGE,
            f"an Avro container that is cut off or inflates to more than {MAX_MESSAGE_BYTES} bytes",
        )
    return datum, writer


def read_part(source: BytesIO, writer: Any, reader: Any = None) -> Any:
    """One value from where the source stands; `reader`: the schema to resolve it to.

    Raises:
        DecodeError.
    """
    try:
        return schemaless_reader(source, writer, reader)
    except (
        Exception
    ) as error:  # from EOFError to UnicodeDecodeError: broken input raises whatever the step at hand does
        # fastavro names the place of its buffer in memory, and the same message must always give the same dead letter.
        said = str(error).partition(" from <")[0]
        raise checks.no_block(f"not Avro of this schema: {type(error).__name__} {checks.shown(said)}") from None


def read_all(data: bytes, writer: Any, reader: Any = None) -> Any:
    """One value that takes all of the data.

    Raises:
        DecodeError.
    """
    source = BytesIO(data)
    found = read_part(source, writer, reader)
    if source.read(1):
        raise checks.no_block(f"{len(data) - source.tell() + 1} bytes after the Avro datum; another schema wrote it")
    return found


def encode_sensor_block(block: SensorBlock) -> bytes:
    """Write a block in single-object encoding."""
    rows, width = block.values.shape
    layout = _row_layout(width)
    table = np.zeros((rows, layout.row_bytes), dtype=np.uint8)
    head_bytes = len(layout.head)
    table[:, :head_bytes] = layout.head
    table[:, head_bytes:-1] = np.ascontiguousarray(block.values, dtype="<f4").view(np.uint8)
    out = start_datum(_SENSOR_BLOCK)
    head = {"machine": block.machine, "ts": block.ts.tolist(), "channels": block.channels}
    schemaless_writer(out, _head_schema(), head)
    out.write(_long(rows))
    out.write(table.tobytes())
    out.write(b"\0")
    return out.getvalue()


def start_datum(name: str) -> BytesIO:
    """A message in single-object encoding, as far as its datum."""
    out = BytesIO()
    out.write(SINGLE_OBJECT_MAGIC)
    out.write(schema_fingerprint(name))
    return out


def decode_message(model_type: type[M], value: bytes) -> M:
    """Read one of the models of `wheeltapper.schemas.events`, in any of the forms above.

    Raises:
        DecodeError.
    """
    name = schema_name(model_type)
    datum, writer = read_datum(value, name)
    check_parsable(datum)
    try:
        fields = read_all(datum, writer, writer_schema(name))
        for field, spelled in spelled_symbols(name).items():
            fields[field] = spelled.value_of.get(fields[field], fields[field])
        return model_type.model_validate(fields)
    except ValidationError as error:
        raise checks.no_block(f"no {model_type.__name__}: {first_complaint(error)}") from None


def encode_message(message: BaseModel) -> bytes:
    """Write one of the models of `wheeltapper.schemas.events` in single-object encoding."""
    name = schema_name(type(message))
    out = start_datum(name)
    fields = message.model_dump()
    for field, spelled in spelled_symbols(name).items():
        fields[field] = spelled.symbol_of.get(fields[field], fields[field])
    schemaless_writer(out, writer_schema(name), fields)
    return out.getvalue()
