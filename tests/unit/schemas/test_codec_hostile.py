"""Messages built to take a decoder's time, memory or stack; each must be refused quickly."""

from __future__ import annotations

import io
import json
import time
import tracemalloc
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any

import fastavro
import numpy as np
import pyarrow as pa
import pytest

from wheeltapper.schemas.codec import MAX_CHANNELS, MAX_MESSAGE_BYTES, MAX_PARSED_BYTES, MAX_ROWS, decode_message
from wheeltapper.schemas.codec import decode_sensor_block as decode
from wheeltapper.schemas.codec.avro_schemas import schema_fingerprint, schema_text
from wheeltapper.schemas.errors import DecodeError
from wheeltapper.schemas.events import AlertEvent

MIB = 1024 * 1024
SYNC = b"0123456789abcdef"
BARE_AVRO = "application/avro"


def long(number: int) -> bytes:
    """Avro's variable-length zigzag integer."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, "long", number)
    return out.getvalue()


def container(schema: Any, datum: bytes, codec: str = "null", count: int = 1) -> bytes:
    """An object container written by hand, so that it may lie."""
    meta = {b"avro.schema": json.dumps(schema).encode(), b"avro.codec": codec.encode()}
    entries = b"".join(long(len(part)) + part for item in meta.items() for part in item)
    return b"Obj\x01" + long(len(meta)) + entries + b"\0" + SYNC + long(count) + long(len(datum)) + datum + SYNC


def record(*fields: Any) -> dict[str, Any]:
    return {
        "type": "record",
        "name": "SensorBlock",
        "fields": [{"name": f"f{index}", "type": kind} for index, kind in enumerate(fields)],
    }


def doubling(depth: int) -> dict[str, Any]:
    """Records of two records of two records ... of nothing: 2**depth values in no bytes."""
    inner: Any = {"type": "record", "name": "R0", "fields": []}
    for level in range(1, depth):
        halves = [{"name": "a", "type": inner}, {"name": "b", "type": f"R{level - 1}"}]
        inner = {"type": "record", "name": f"R{level}", "fields": halves}
    return record(inner)


def arrow(columns: dict[str, Any], compression: str | None = None) -> bytes:
    table = pa.table(columns).replace_schema_metadata({"machine": "m"})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def compressed_with_claim(claimed_bytes: int, codec: str) -> bytes:
    """A compressed stream whose buffers claim another decompressed length."""
    rows = 4_000
    original = arrow({"ts": pa.array([7] * rows), "a": pa.array([7.0] * rows)}, codec)
    claim = (8 * rows).to_bytes(8, "little")
    assert original.count(claim) == 2
    return original.replace(claim, claimed_bytes.to_bytes(8, "little", signed=True))


def json_block(rows: int, width: int) -> bytes:
    channels = json.dumps([str(index) for index in range(width)])
    row = "[" + ",".join("0" * width) + "]"
    return (
        f'{{"machine":"m","ts":[{",".join("0" * rows)}],"channels":{channels},"values":[{",".join([row] * rows)}]}}'
    ).encode()


@cache
def deflate_bomb() -> bytes:
    """200 MiB of zeros."""
    return zlib.compress(bytes(200 * MIB), 9, -15)


SINGLE_OBJECT = b"\xc3\x01" + schema_fingerprint("sensor_block")
HUGE = 2**62

# Made when asked for: some take long, and every test process collects all.
HOSTILE: dict[str, Callable[[], tuple[bytes, str | None, str]]] = {
    "20 MB of zeros": lambda: (bytes(20_000_000), None, "not-decodable"),
    "20 MB of zeros, said to be JSON": lambda: (bytes(20_000_000), "application/json", "too-large"),
    "20 MB of zeros, said to be Avro": lambda: (bytes(20_000_000), BARE_AVRO, "not-decodable"),
    "20 MB of zeros, said to be Arrow": lambda: (bytes(20_000_000), "application/vnd.apache.arrow.stream", "not-decodable"),
    "longer than anything read": lambda: (b"{" * (MAX_MESSAGE_BYTES + 1), None, "too-large"),
    "JSON longer than is parsed": lambda: (b'{"machine":"' + b"m" * MAX_PARSED_BYTES, None, "too-large"),
    "JSON nested deep, lists": lambda: (b"[" * 1_000_000, None, "not-decodable"),
    "JSON nested deep, objects": lambda: (b'{"a":' * 1_000_000, None, "not-decodable"),
    "JSON values nested deep": lambda: (
        b'{"machine":"m","ts":0,"values":{"a":' + b"[" * 1_020 + b"]" * 1_020 + b"}}", None, "not-a-number"),
    "JSON machine nested deep": lambda: (
        b'{"machine":' + b'{"a":' * 1_020 + b"1" + b"}" * 1_020 + b"}", None, "no-machine"),
    "JSON time nested deep": lambda: (b'{"machine":"m","ts":[' + b"[" * 1_020 + b"]" * 1_020 + b'],"channels":["a"],"values":[[1]]}',
        None, "bad-time"),
    "JSON channel nested deep": lambda: (
        b'{"machine":"m","ts":[1],"channels":[' + b"[" * 1_020 + b"]" * 1_020 + b'],"values":[[1]]}', None,
        "not-decodable"),
    "JSON of empty lists": lambda: (
        b'{"machine":"m","ts":[0],"channels":["a"],"values":[' + b"[]," * 500_000 + b"[]]}", None, "wrong-width"),
    "JSON, too many rows": lambda: (json_block(MAX_ROWS + 1, 1), None, "too-large"),
    "JSON, too many channels": lambda: (json_block(1, MAX_CHANNELS + 1), None, "too-large"),
    "JSON, a number of a million digits": lambda: (
        b'{"machine":"m","ts":0,"values":{"a":' + b"9" * 1_000_000 + b"}}", None, "not-finite"),
    "JSON, a machine of a million letters": lambda: (
        b'{"machine":"' + b"m" * 1_000_000 + b'","ts":0,"values":{"a":1}}', None, "too-large"),
    "Avro, huge text": lambda: (SINGLE_OBJECT + long(HUGE), None, "not-decodable"),
    "Avro, text of negative length": lambda: (SINGLE_OBJECT + long(-5) + b"x" * 50, None, "not-decodable"),
    "Avro, huge times": lambda: (SINGLE_OBJECT + long(1) + b"m" + long(HUGE), None, "not-decodable"),
    "Avro, huge channels": lambda: (SINGLE_OBJECT + long(1) + b"m" + long(1) + b"\0\0" + long(HUGE), None, "not-decodable"),
    "Avro, huge values": lambda: (
        SINGLE_OBJECT + long(1) + b"m" + long(1) + b"\0\0" + long(1) + long(1) + b"a\0" + long(HUGE), None,
        "not-decodable"),
    "Avro, huge row": lambda: (
        SINGLE_OBJECT + long(1) + b"m" + long(1) + b"\0\0" + long(1) + long(1) + b"a\0" + long(1) + long(HUGE), None,
        "not-decodable"),
    "Avro, a run that claims the smallest long": lambda: (
        SINGLE_OBJECT + long(1) + b"m" + long(-(2**63)) + long(0) + b"\0", None, "not-decodable"),
    "Avro, too many rows": lambda: (
        SINGLE_OBJECT + long(1) + b"m" + long(MAX_ROWS + 1) + bytes(MAX_ROWS + 1) + b"\0\2\2a\0\0", None, "too-large"),
    "Avro, times without end": lambda: (SINGLE_OBJECT + long(1) + b"m" + (long(64) + bytes(64)) * 400_000, None, "not-decodable"),
    "container, array of nulls": lambda: (
        container(record({"type": "array", "items": "null"}), long(HUGE) + b"\0"), None, "not-decodable"),
    "container, array of empty records": lambda: (
        container(record({"type": "array", "items": {"type": "record", "name": "E", "fields": []}}), long(HUGE) + b"\0"),
        None, "not-decodable"),
    "container, array of fixed of no bytes": lambda: (
        container(record({"type": "array", "items": {"type": "fixed", "name": "F", "size": 0}}), long(HUGE)), None,
        "not-decodable"),
    "container, fixed of terabytes": lambda: (
        container(record({"type": "fixed", "name": "F", "size": 2**45}), b"x"), None, "not-decodable"),
    "container, a record within itself": lambda: (container(record("SensorBlock"), b""), None, "not-decodable"),
    "container, a list without end": lambda: (
        container(record(["null", "SensorBlock"]), b"\2" * 5_000_000), None, "not-decodable"),
    "container, doubling records": lambda: (container(doubling(40), b""), None, "not-decodable"),
    "container, a schema nested deep": lambda: (
        b"Obj\x01" + long(1) + long(11) + b"avro.schema" + long(60_000) + b'{"type":' * 7_500 + b"\0" + SYNC
        + long(1) + long(1) + b"x" + SYNC, None, "not-decodable"),
    "container, deflate bomb": lambda: (
        container(json.loads(schema_text("sensor_block")), deflate_bomb(), "deflate"), None, "too-large"),
    "container, huge metadata": lambda: (b"Obj\x01" + long(HUGE) + b"\0" * 100, None, "not-decodable"),
    "container, huge block": lambda: (
        container(record("string"), b"").removesuffix(SYNC)[:-1] + long(HUGE), None, "not-decodable"),
    "container, huge count": lambda: (
        container(json.loads(schema_text("sensor_block")), b"\0", count=HUGE), None, "not-decodable"),
    "Arrow, huge header": lambda: (b"\xff\xff\xff\xff\xff\xff\xff\x7f" + bytes(100), None, "not-decodable"),
    "Arrow, zeros after the mark": lambda: (b"\xff\xff\xff\xff" + bytes(20_000_000), None, "not-decodable"),
    "Arrow, LZ4 that claims 2**62 bytes": lambda: (compressed_with_claim(HUGE, "lz4"), None, "block"),
    "Arrow, LZ4 that claims a negative length": lambda: (compressed_with_claim(-2, "lz4"), None, "block"),
    "Arrow, raw where LZ4 is": lambda: (compressed_with_claim(-1, "lz4"), None, "not-decodable"),
    "Arrow, ZSTD that claims 2**62 bytes": lambda: (compressed_with_claim(HUGE, "zstd"), None, "block"),
    "Arrow, too many rows, compressed": lambda: (
        arrow({"ts": pa.array(np.zeros(3_000_000, np.int64)), "a": pa.array(np.zeros(3_000_000, np.int8))}, "zstd"), None,
        "too-large"),
    "Arrow, too many channels": lambda: (
        arrow({"ts": pa.array([0]), **{str(index): pa.array([0.0]) for index in range(MAX_CHANNELS + 1)}}), None,
        "too-large"),
    "Arrow, too many values": lambda: (
        arrow({"ts": pa.array(np.zeros(MAX_ROWS, np.int64)),
               **{str(index): pa.array(np.zeros(MAX_ROWS, np.int8)) for index in range(129)}}), None, "too-large"),
}  # fmt: skip


def reason_of(value: bytes, content_type: str | None) -> str:
    try:
        decode(value, content_type)
    except DecodeError as error:
        return str(error.reason)
    return "block"


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_messages_are_dealt_with_quickly_and_in_little_memory(case: str) -> None:
    value, content_type, expected = HOSTILE[case]()

    start = time.process_time()
    reason = reason_of(value, content_type)
    seconds = time.process_time() - start
    tracemalloc.start()
    reason_of(value, content_type)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert reason == expected
    # Some times what any takes, and far below what the message asks for.
    assert seconds < 5
    assert peak_bytes < 400 * MIB


@pytest.mark.parametrize(
    ("value", "content_type"),
    [
        (b"[" * 1_000_000, None),
        (b'{"channels":' + b"[" * 1_000_000, None),
        (b"\xc3\x01" + schema_fingerprint("alert_event") + long(HUGE), None),
        (b"\0\0\0\0\1" + bytes(5_000_000), None),
        (b"{" + bytes(MAX_PARSED_BYTES), None),
        (b"\xff\xff\xff\xff" + bytes(100), None),
        (b"", "application/json"),
        (None, None),
    ],
)
def test_hostile_alerts_are_refused(value: bytes | None, content_type: str | None) -> None:
    with pytest.raises(DecodeError):
        decode_message(AlertEvent, value, content_type)


def test_many_machines_and_channel_sets_do_not_fill_the_memory() -> None:
    # given: senders that make up another machine and other channels in every message
    tracemalloc.start()
    for index in range(1_500):
        decode(json.dumps({"machine": f"m{index}", "ts": 0, "values": {f"{index}-{c}": 1 for c in range(30)}}).encode())
        decode(arrow({"ts": pa.array([0]), f"{index}": pa.array([0.0])}))
    held_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    # then: what the caches hold is bounded
    assert held_bytes < 32 * MIB
