"""Every encoding returns what was put in; no byte string makes a decoder do anything but return or raise DecodeError."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import fastavro
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from wheeltapper.schemas.adaptation import ActiveModel, AdaptationEvent, AdaptationStep, DriftChannel, DriftEvent
from wheeltapper.schemas.clock import MAX_MICROS, MIN_MICROS
from wheeltapper.schemas.codec import (
    CONTENT_TYPES,
    MAX_CHANNELS,
    MAX_ROWS,
    decode_message,
    decode_sensor_block,
    encode_message,
    encode_sensor_block,
    sniff_encoding,
)
from wheeltapper.schemas.codec.avro_schemas import schema_text
from wheeltapper.schemas.commands import AlarmCommand
from wheeltapper.schemas.errors import DecodeError
from wheeltapper.schemas.events import AlertEvent, ChannelShare, DeadLetterReason, Localization, ScoreBlock
from wheeltapper.schemas.sensor_block import SensorBlock

# The inputs are the same in every run: a failure can be repeated.
REPEATABLE = settings(derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))

ENCODINGS = ("json", "avro", "arrow")
REASONS = {str(reason) for reason in DeadLetterReason}

names = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20)
micros = st.integers(MIN_MICROS, MAX_MICROS)
# Infinity excluded; -0.0, NaN and the smallest subnormal are among them.
float32 = st.floats(width=32, allow_infinity=False)
numbers = st.floats(allow_nan=False, allow_infinity=False)
shares = st.floats(0, 1)
positive = st.floats(0, allow_infinity=False)


@st.composite
def sensor_blocks(draw: st.DrawFn) -> SensorBlock:
    rows, width = draw(st.integers(1, 12)), draw(st.integers(1, 70))
    # Arrow has a column of its own named ts.
    channels = draw(st.lists(names.filter(lambda name: name != "ts"), min_size=width, max_size=width, unique=True))
    ts = np.array(draw(st.lists(micros, min_size=rows, max_size=rows)), dtype=np.int64)
    values = draw(st_numpy.arrays(np.float32, (rows, width), elements=float32))
    return SensorBlock(draw(names), ts, tuple(channels), values)


channel_shares = st.builds(
    ChannelShare, channel=names, unit=names, share=shares, actual=st.none() | numbers, expected=st.none() | numbers
)
channel_lists = st.lists(channel_shares, max_size=5).map(tuple)
digests = st.text("0123456789abcdef", min_size=64, max_size=64)
messages = st.one_of(
    st.builds(
        AlertEvent, alert_id=names, machine=names, opened_at=micros, time=micros, severity=st.integers(0, 100),
        score=positive, peak_score=positive, threshold=numbers, rule=names, detector=names, bundle=names,
        quality=shares, channels=channel_lists,
    ),
    st.builds(
        Localization, alert_id=names, machine=names, time=micros, rule=names, detector=names, bundle=names,
        channels=channel_lists,
    ),
    st.lists(st.tuples(micros, numbers, numbers, numbers, shares), min_size=1, max_size=8).flatmap(
        lambda windows: st.builds(
            ScoreBlock, machine=names, rule=names, bundle=names,
            **{
                field: st.just(tuple(column))
                for field, column in zip(
                    ("time", "raw", "score", "threshold", "quality"), zip(*windows, strict=True), strict=True
                )
            },
        )
    ),
    st.builds(ActiveModel, route=names, bundle=names, uri=names, sha256=digests),
    st.builds(AlarmCommand, command_id=names, machine=names, action=st.sampled_from(["accept", "reset"]), who=names, at=micros),
    st.builds(
        DriftEvent, drift_id=names, machine=names, rule=names, bundle=names, event=st.sampled_from(["started", "ended"]),
        time=micros, since=micros, tests=st.lists(names, max_size=4).map(tuple), score_before=numbers, score_after=numbers,
        channels=st.lists(
            st.builds(DriftChannel, channel=names, statistic=names, before=numbers, after=numbers, effect=numbers), max_size=4
        ).map(tuple),
    ),
    st.builds(AdaptationEvent, adaptation_id=names, machine=names, rule=names, event=st.sampled_from(AdaptationStep), at=micros),
)  # fmt: skip

BLOCK = SensorBlock(
    "pump-7",
    np.array([1_700_000_000_000_000, 1_700_000_060_000_000, 1_700_000_120_000_000]),
    ("flow", "pressure", "on"),
    np.array([[12.5, np.nan, 1], [12.25, 3.125, 0], [-0.0, 1e-30, 1]], dtype=np.float32),
)
ALERT = AlertEvent(
    alert_id="a", machine="pump-7", event="opened", opened_at=1, time=1, severity=50, score=1.5, peak_score=1.5,
    threshold=1, rule="r", detector="pca", bundle="b", quality=1,
    channels=(ChannelShare(channel="flow", share=0.5, actual=None, expected=2.0),),
)  # fmt: skip


def avro_container(codec: str, extra: bool = False) -> bytes:
    """BLOCK in an Avro object container; with a field more than ours, a foreign schema."""
    schema = json.loads(schema_text("sensor_block"))
    record: dict[str, Any] = {
        "machine": BLOCK.machine,
        "ts": BLOCK.ts.tolist(),
        "channels": list(BLOCK.channels),
        "values": BLOCK.values.tolist(),
    }
    if extra:
        schema["fields"].append({"name": "site", "type": {"type": "map", "values": ["null", "string"]}})
        record["site"] = {"hall": "4", "line": None}
    out = io.BytesIO()
    fastavro.writer(out, fastavro.parse_schema(schema), [record], codec=codec, sync_marker=b"0123456789abcdef")
    return out.getvalue()


def arrow_stream(compression: str | None = None) -> bytes:
    """BLOCK with a column of every readable kind, nulls, and two batches."""
    columns: dict[str, pa.Array] = {
        "flow": pa.array([12.5, None, 1.0]),
        "on": pa.array([True, None, False]),
        "dead": pa.nulls(3),
        "count": pa.array([1, 2, None], pa.int16()),
        "half": pa.array([1.0, None, 2.0], pa.float16()),
        "ts": pa.array([1_700_000_000, 1_700_000_060, 1_700_000_120], pa.timestamp("s")),
    }
    table = pa.table(columns).replace_schema_metadata({"machine": "pump-7"})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(table)
        writer.write_table(table)
    return bytes(sink.getvalue())


HEADERS = (None, *CONTENT_TYPES.values())
VALID_BLOCKS = [
    *(encode_sensor_block(BLOCK, encoding) for encoding in ENCODINGS),
    *(avro_container(codec, extra) for codec in ("null", "deflate") for extra in (False, True)),
    *(arrow_stream(compression) for compression in (None, "lz4", "zstd")),
    b"\0\0\0\0\7" + encode_sensor_block(BLOCK, "avro")[10:],
    encode_sensor_block(BLOCK, "avro")[10:],
    b'{"machine": "m", "ts": "2026-11-05T08:00:00.25+01:00", "values": {"a": 1, "b": null, "c": true}}',
]
VALID_ALERTS = [encode_message(ALERT, "json"), encode_message(ALERT, "avro"), encode_message(ALERT, "avro")[10:]]


@st.composite
def damaged(draw: st.DrawFn, originals: list[bytes]) -> bytes:
    """A valid message with bits flipped, bytes changed, cut out, put in, or its end cut off."""
    data = bytearray(draw(st.sampled_from(originals)))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(0, len(data) - 1)))
        kind = draw(st.sampled_from(("flip", "set", "cut", "insert", "end")))
        if kind == "flip" and data:
            data[place] ^= 1 << draw(st.integers(0, 7))
        elif kind == "set":
            data[place : place + 1] = draw(st.sampled_from((b"\x00", b"\x7f", b"\xff", b"\x80", b"\x01")))
        elif kind == "cut":
            del data[place : place + draw(st.integers(1, 16))]
        elif kind == "insert":
            data[place:place] = draw(st.binary(min_size=1, max_size=10))
        else:
            del data[place:]
    return bytes(data)


def outcome_of(decode: Callable[[], Any]) -> Any:
    """What the decoder returned, or its DecodeError; any other error fails the test."""
    try:
        return decode()
    except DecodeError as error:
        return error


def assert_refused_properly(error: DecodeError) -> None:
    assert str(error.reason) in REASONS
    assert error.detail
    assert "\n" not in error.detail
    assert len(error.detail) < 500


def assert_block_or_decode_error(value: bytes, content_type: str | None) -> None:
    block = outcome_of(lambda: decode_sensor_block(value, content_type, machine="from-key"))
    if isinstance(block, DecodeError):
        assert_refused_properly(block)
        return
    assert isinstance(block.machine, str)
    assert block.machine
    assert block.ts.dtype == np.int64
    assert 1 <= len(block.ts) <= MAX_ROWS
    assert block.ts.min() >= MIN_MICROS
    assert block.ts.max() <= MAX_MICROS
    assert 1 <= len(block.channels) <= MAX_CHANNELS
    assert len(set(block.channels)) == len(block.channels)
    assert all(isinstance(name, str) and name for name in block.channels)
    assert block.values.dtype == np.float32
    assert block.values.shape == (len(block.ts), len(block.channels))
    assert not np.isinf(block.values).any()


@given(block=sensor_blocks())
@settings(REPEATABLE, max_examples=150)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_block_comes_back_exactly(encoding: str, block: SensorBlock) -> None:
    value = encode_sensor_block(block, encoding)

    for content_type in (None, CONTENT_TYPES[encoding]):
        decoded = decode_sensor_block(value, content_type)

        assert sniff_encoding(value, content_type) == encoding
        assert decoded.machine == block.machine
        assert decoded.channels == block.channels
        assert np.array_equal(decoded.ts, block.ts)
        assert decoded.ts.dtype == np.int64
        assert decoded.values.dtype == np.float32
        for array in (decoded.ts, decoded.values):
            # An array of its own: a view would be unaligned, and keep the message in memory.
            assert array.flags.c_contiguous
            assert array.flags.aligned
            assert array.flags.writeable
        assert np.array_equal(bits_of(decoded.values), bits_of(block.values))


def bits_of(values: np.ndarray) -> np.ndarray:
    """uint32, which tells -0.0 from 0.0; every NaN alike."""
    return np.where(np.isnan(values), np.float32(np.nan), values).view(np.uint32)


@given(bits=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=64))
@example(bits=[np.float32(7.038531e-26).view(np.uint32).item() + step for step in range(-8, 9)])
@settings(REPEATABLE, max_examples=300)
def test_json_brings_any_float32_back_through_float64(bits: list[int]) -> None:
    values = np.array(bits, dtype=np.uint32).view(np.float32)[None]
    values = np.where(np.isinf(values), np.float32(0), values)
    block = SensorBlock("m", np.array([0]), tuple(map(str, range(values.shape[1]))), values)

    written = json.loads(encode_sensor_block(block, "json"))["values"].values()

    read = np.array([np.nan if number is None else number for number in written], dtype=np.float64)
    assert np.array_equal(read.astype(np.float32), values[0], equal_nan=True)


@given(message=messages)
@settings(REPEATABLE, max_examples=200)
@pytest.mark.parametrize("encoding", ["json", "avro"])
def test_a_message_comes_back_exactly(encoding: str, message: Any) -> None:
    value = encode_message(message, encoding)

    for content_type in (None, CONTENT_TYPES[encoding]):
        assert decode_message(type(message), value, content_type) == message


@given(value=st.binary(max_size=300), content_type=st.sampled_from(HEADERS))
@settings(REPEATABLE, max_examples=1000)
def test_random_bytes_give_a_block_or_a_decode_error(value: bytes, content_type: str | None) -> None:
    assert_block_or_decode_error(value, content_type)


@given(
    mark=st.sampled_from((b"{", b"Obj\x01", b"\xc3\x01", b"\0\0\0\0\1", b"\xff\xff\xff\xff")),
    rest=st.binary(max_size=300),
)
@settings(REPEATABLE, max_examples=1000)
def test_random_bytes_behind_a_mark_give_a_block_or_a_decode_error(mark: bytes, rest: bytes) -> None:
    assert_block_or_decode_error(mark + rest, None)


@given(value=damaged(VALID_BLOCKS), content_type=st.sampled_from(HEADERS))
@settings(REPEATABLE, max_examples=3000)
def test_damaged_blocks_give_a_block_or_a_decode_error(value: bytes, content_type: str | None) -> None:
    assert_block_or_decode_error(value, content_type)


@given(value=damaged(VALID_ALERTS), content_type=st.sampled_from(HEADERS))
@settings(REPEATABLE, max_examples=1000)
def test_damaged_alerts_give_an_alert_or_a_decode_error(value: bytes, content_type: str | None) -> None:
    alert = outcome_of(lambda: decode_message(AlertEvent, value, content_type))

    if isinstance(alert, DecodeError):
        assert_refused_properly(alert)
    else:
        assert encode_message(alert, "avro")


@pytest.mark.parametrize("value", VALID_BLOCKS)
def test_the_originals_of_the_damage_are_valid(value: bytes) -> None:
    content_type = None if value[0] in b"{O\xc3\xff\x00" else CONTENT_TYPES["avro"]

    assert decode_sensor_block(value, content_type).machine in ("pump-7", "m")


@pytest.mark.parametrize("value", VALID_BLOCKS)
def test_every_truncation_gives_a_block_or_a_decode_error(value: bytes) -> None:
    for end in range(len(value)):
        for content_type in (None, CONTENT_TYPES["avro"]):
            assert_block_or_decode_error(value[:end], content_type)
