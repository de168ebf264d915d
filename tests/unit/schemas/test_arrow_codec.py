"""Arrow: the column types that are taken, batches, compression, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from wheeltapper.schemas.codec import decode_sensor_block, encode_sensor_block
from wheeltapper.schemas.errors import DecodeError
from wheeltapper.schemas.sensor_block import SensorBlock

MICROS = [1_700_000_000_000_000, 1_700_000_060_000_000]


def stream(
    columns: Any, machine: str | None = "m", compression: str | None = None, batches: int = 1, names: Any = None
) -> bytes:
    table = pa.table(columns, names=names)
    table = table.replace_schema_metadata(None if machine is None else {"machine": machine, "pandas": "{}"})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        for _ in range(batches):
            writer.write_table(table)
    return bytes(sink.getvalue())


def reason_of(value: bytes) -> str:
    with pytest.raises(DecodeError) as caught:
        decode_sensor_block(value)
    return str(caught.value.reason)


def test_what_is_written_is_a_stream_that_pyarrow_reads() -> None:
    values = np.array([[1.5, np.nan], [2.5, 3.5]], dtype=np.float32)
    value = encode_sensor_block(SensorBlock("pump-7", np.array(MICROS), ("flow", "pressure"), values), "arrow")

    table = pa.ipc.open_stream(value).read_all()

    table.validate(full=True)
    assert table.schema.metadata == {b"machine": b"pump-7"}
    assert table.schema.names == ["ts", "flow", "pressure"]
    assert table.schema.field("ts").type == pa.timestamp("us", "UTC")
    assert table.column("ts").cast(pa.int64()).to_pylist() == MICROS
    np.testing.assert_array_equal(table.column("pressure").to_numpy(), values[:, 1])


@pytest.mark.parametrize(
    "data_type",
    [pa.float16(), pa.float32(), pa.float64(), pa.int8(), pa.int16(), pa.int32(), pa.int64(),
     pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()],
)  # fmt: skip
@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
def test_every_kind_of_number_with_nulls_between(data_type: pa.DataType, compression: str | None) -> None:
    columns = {
        "ts": pa.array(MICROS),
        "a": pa.array(np.array([1, 2]), data_type),
        "b": pa.array([None, 3], data_type, from_pandas=True) if data_type != pa.float16() else pa.array(
            np.array([np.nan, 3], np.float16)),
    }  # fmt: skip

    block = decode_sensor_block(stream(columns, compression=compression))

    np.testing.assert_array_equal(block.values, [[1, np.nan], [2, 3]])


def test_booleans_and_columns_of_nothing() -> None:
    columns = {
        "a": pa.array([True] * 9 + [None]),
        "dead": pa.nulls(10),
        "ts": pa.array(range(10)),
        "b": pa.array([False, True] * 5),
    }

    block = decode_sensor_block(stream(columns))

    assert block.channels == ("a", "dead", "b")
    np.testing.assert_array_equal(block.values[:, 0], [1] * 9 + [np.nan])
    assert np.isnan(block.values[:, 1]).all()
    assert block.values[:, 2].tolist() == [0, 1] * 5


@pytest.mark.parametrize(
    ("unit", "times"),
    [("s", [1_700_000_000, 1_700_000_060]), ("ms", [1_700_000_000_000, 1_700_000_060_000]), ("us", MICROS),
     ("ns", [1_700_000_000_000_000_999, 1_700_000_060_000_000_000])],
)  # fmt: skip
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Amsterdam"])
def test_times_in_any_unit_and_zone(unit: str, times: list[int], zone: str | None) -> None:
    columns = {"ts": pa.array(times, pa.timestamp(unit, zone)), "a": pa.array([1.0, 2.0])}

    assert decode_sensor_block(stream(columns)).ts.tolist() == MICROS


@pytest.mark.parametrize("columns_before_ts", [0, 1, 2, 3])
@pytest.mark.parametrize("width", [1, 2, 3])
def test_the_time_may_stand_anywhere(columns_before_ts: int, width: int) -> None:
    values = np.arange(10 * width, dtype=np.float32).reshape(10, width)
    columns = [(str(index), pa.array(values[:, index])) for index in range(width)]
    columns.insert(columns_before_ts, ("ts", pa.array(range(10))))

    block = decode_sensor_block(stream(dict(columns)))

    np.testing.assert_array_equal(block.values, values)


def test_several_batches_are_one_block() -> None:
    # given: batches of different lengths, one of them empty
    table = pa.table({"ts": pa.array(range(7)), "a": pa.array(np.arange(7, dtype=np.float32))})
    table = table.replace_schema_metadata({"machine": "m"})
    empty = pa.RecordBatch.from_pydict({"ts": [], "a": []}, table.schema)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        for batch in (*table[:2].to_batches(), empty, *table[2:6].to_batches(), *table[6:].to_batches()):
            writer.write_batch(batch)

    block = decode_sensor_block(bytes(sink.getvalue()))

    assert block.ts.tolist() == list(range(7))
    assert block.values[:, 0].tolist() == list(range(7))


def test_sliced_columns_are_read_from_where_they_start() -> None:
    table = pa.table({"ts": pa.array(range(100)), "a": pa.array(np.arange(100.0)), "b": pa.array([True, None] * 50)})

    block = decode_sensor_block(stream(table[37:41]))

    assert block.ts.tolist() == [37, 38, 39, 40]
    np.testing.assert_array_equal(block.values, [[37, np.nan], [38, 1], [39, np.nan], [40, 1]])


def test_a_stream_without_its_end_mark_is_complete() -> None:
    value = stream({"ts": pa.array([1]), "a": pa.array([1.0])})

    assert decode_sensor_block(value[:-8]).values.tolist() == [[1.0]]


def test_the_key_names_the_machine_where_the_metadata_does_not() -> None:
    value = stream({"ts": pa.array([1]), "a": pa.array([1.0])}, machine=None)

    assert decode_sensor_block(value, machine="from-key").machine == "from-key"
    assert reason_of(value) == "no-machine"


def test_equal_headers_of_different_machines_are_not_confused() -> None:
    first = stream({"ts": pa.array([1]), "a": pa.array([1.0])}, machine="m1")
    second = stream({"ts": pa.array([2]), "b": pa.array([2.0])}, machine="m2")

    for _ in range(2):
        assert (decode_sensor_block(first).machine, decode_sensor_block(first).channels) == ("m1", ("a",))
        assert (decode_sensor_block(second).machine, decode_sensor_block(second).channels) == ("m2", ("b",))


DICTIONARY = pa.array(["on", "off"]).dictionary_encode()
TIMES = pa.array([1, 2])


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"a": pa.array([1.0, 2.0])}, "bad-time"),
        ({"ts": pa.array(["1", "2"]), "a": TIMES}, "bad-time"),
        ({"ts": pa.array([1.0, 2.0]), "a": TIMES}, "bad-time"),
        ({"ts": pa.array([1, 2], pa.date64()), "a": TIMES}, "bad-time"),
        ({"ts": pa.array([1, None]), "a": TIMES}, "bad-time"),
        ({"ts": pa.array([1, None], pa.timestamp("s")), "a": TIMES}, "bad-time"),
        ({"ts": pa.array([1, 10**18]), "a": TIMES}, "bad-time"),
        ({"ts": pa.array([1, 2**62], pa.timestamp("s")), "a": TIMES}, "bad-time"),
        ({"ts": pa.array([1, -(2**63)], pa.timestamp("ms")), "a": TIMES}, "bad-time"),
        ({"ts": pa.array([1, 2], pa.duration("s")), "a": TIMES}, "bad-time"),
        ({"ts": TIMES}, "wrong-width"),
        ({"ts": TIMES, "": TIMES}, "not-decodable"),
        ({"ts": TIMES, "a": pa.array(["1", "2"])}, "not-a-number"),
        ({"ts": TIMES, "a": DICTIONARY}, "not-a-number"),
        ({"ts": TIMES, "a": pa.array([1.0, 2.0]).dictionary_encode()}, "not-a-number"),
        ({"ts": TIMES, "a": pa.array([[1.0], [2.0]])}, "not-a-number"),
        ({"ts": TIMES, "a": pa.array([{"x": 1.0}, None])}, "not-a-number"),
        ({"ts": TIMES, "a": pa.array([1, 2], pa.decimal128(5, 2))}, "not-a-number"),
        ({"ts": TIMES, "a": pa.array([1, 2], pa.timestamp("s"))}, "not-a-number"),
        ({"ts": TIMES, "a": pa.array([b"x", b"y"], pa.binary_view())}, "not-a-number"),
        ({"ts": TIMES, "a": pa.RunEndEncodedArray.from_arrays([2], [1.0])}, "not-a-number"),
        ({"ts": TIMES, "a": pa.UnionArray.from_sparse(pa.array([0, 0], pa.int8()), [TIMES])}, "not-a-number"),
        ({"ts": TIMES, "a": pa.array([1.0, float("inf")])}, "not-finite"),
        ({"ts": TIMES, "a": pa.array([1.0, float("-inf")], pa.float32())}, "not-finite"),
        ({"ts": TIMES, "a": pa.array([1.0, 1e39])}, "not-finite"),
        ({"ts": TIMES, "a": pa.array([float("inf"), None])}, "not-finite"),
        ({"ts": TIMES[:0], "a": TIMES[:0]}, "not-decodable"),
    ],
)
def test_what_is_refused_and_why(columns: dict[str, pa.Array], reason: str) -> None:
    assert reason_of(stream(columns)) == reason


@pytest.mark.parametrize("names", [["ts", "a", "a"], ["ts", "ts", "a"]])
def test_columns_of_one_name_are_refused(names: list[str]) -> None:
    assert reason_of(stream([TIMES, TIMES, TIMES], names=names)) in ("wrong-width", "bad-time")


def test_a_file_instead_of_a_stream_is_named() -> None:
    sink = pa.BufferOutputStream()
    table = pa.table({"ts": TIMES, "a": TIMES})
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)

    with pytest.raises(DecodeError, match="an Arrow IPC file, expected an Arrow IPC stream"):
        decode_sensor_block(bytes(sink.getvalue()))


def test_a_channel_named_like_the_time_column_cannot_be_written() -> None:
    block = SensorBlock("m", np.array([0]), ("ts",), np.ones((1, 1), np.float32))

    with pytest.raises(ValueError, match="a channel is named 'ts'"):
        encode_sensor_block(block, "arrow")
    assert decode_sensor_block(encode_sensor_block(block, "json")).channels == ("ts",)


def test_blocks_as_large_as_the_limit_pass() -> None:
    rows, width = 65_536, 128
    values = np.arange(rows * width, dtype=np.float32).reshape(rows, width)
    # 32 MiB of values leave no room for the times in a message of at most 32 MiB: two rows in three will do.
    rows = rows * 2 // 3
    block = SensorBlock("m", np.arange(rows), tuple(map(str, range(width))), values[:rows])

    for encoding in ("arrow", "avro"):
        np.testing.assert_array_equal(decode_sensor_block(encode_sensor_block(block, encoding)).values, values[:rows])
