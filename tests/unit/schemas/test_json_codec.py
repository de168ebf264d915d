"""JSON: what is taken, and which reason what is not taken gets."""

from __future__ import annotations

import json

import numpy as np
import pytest

from wheeltapper.schemas.adaptation import ActiveModel
from wheeltapper.schemas.codec import decode_message, decode_sensor_block, encode_message, encode_sensor_block
from wheeltapper.schemas.errors import DecodeError
from wheeltapper.schemas.events import ScoreBlock
from wheeltapper.schemas.sensor_block import SensorBlock


def reason_of(value: bytes | str) -> str:
    with pytest.raises(DecodeError) as caught:
        decode_sensor_block(value.encode() if isinstance(value, str) else value, "application/json")
    return str(caught.value.reason)


def row(**fields: object) -> bytes:
    return json.dumps({"machine": "m", "ts": 0, "values": {"a": 1}} | fields).encode()


def block(**fields: object) -> bytes:
    message = {"machine": "m", "ts": [0, 1], "channels": ["a", "b"], "values": [[1, 2], [3, 4]]}
    return json.dumps(message | fields).encode()


def test_a_row() -> None:
    decoded = decode_sensor_block(
        b'{"machine": "pump-7", "ts": "2026-11-05T08:00:00.5+01:00", "values": {"flow": 12.5, "p": null, "on": true}}'
    )

    assert decoded.machine == "pump-7"
    assert decoded.ts.tolist() == [1_793_862_000_500_000]
    assert decoded.channels == ("flow", "p", "on")
    assert decoded.values.dtype == np.float32
    np.testing.assert_array_equal(decoded.values, [[12.5, np.nan, 1]])


def test_a_block_with_times_of_both_kinds() -> None:
    decoded = decode_sensor_block(block(ts=["1970-01-01T00:00:01Z", 5], values=[[1, None], [False, 4.5]]))

    assert decoded.ts.tolist() == [1_000_000, 5]
    np.testing.assert_array_equal(decoded.values, [[1, np.nan], [0, 4.5]])


def test_a_text_without_offset_is_utc() -> None:
    assert decode_sensor_block(row(ts="1970-01-01T00:00:01")).ts.tolist() == [1_000_000]


def test_unknown_fields_are_ignored_and_the_last_of_two_equal_keys_counts() -> None:
    decoded = decode_sensor_block(b'{"machine":"m","ts":0,"values":{"a":1,"a":2},"site":{"x":[]},"machine":"n"}')

    assert decoded.machine == "n"
    assert decoded.values.tolist() == [[2.0]]


@pytest.mark.parametrize("machine", [{}, {"machine": None}, {"machine": ""}])
def test_the_key_names_the_machine_where_the_message_does_not(machine: dict[str, str | None]) -> None:
    value = json.dumps({"ts": 0, "values": {"a": 1}} | machine).encode()

    assert decode_sensor_block(value, machine="from-key").machine == "from-key"
    assert decode_sensor_block(row(), machine="from-key").machine == "m"
    with pytest.raises(DecodeError, match="no-machine"):
        decode_sensor_block(value)


def test_the_bare_word_nan_is_a_missing_value_and_stays_what_it_is_in_texts() -> None:
    value = b'{"machine":"NaN, \\"NaN\\\\","ts":[0,1],"channels":["a NaN","b"],"values":[[NaN,1.5],[2, NaN ]]}'
    decoded = decode_sensor_block(value)

    assert decoded.machine == 'NaN, "NaN\\'
    assert decoded.channels == ("a NaN", "b")
    np.testing.assert_array_equal(decoded.values, [[np.nan, 1.5], [2, np.nan]])


def test_infinity_is_refused_with_what_to_send_instead() -> None:
    with pytest.raises(DecodeError, match="Infinity is no value: send null"):
        decode_sensor_block(b'{"machine":"m","ts":0,"values":{"a":-Infinity}}')
    with pytest.raises(DecodeError) as other:
        decode_sensor_block(b'{"machine":"Infinity","ts":0,"values":{"a":x}}')
    assert "Infinity" not in other.value.detail


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_read_behind_its_mark(encoding: str) -> None:
    mark = {"utf-16": b"", "utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}[encoding]
    assert decode_sensor_block(mark + row(machine="Prüfstand 7 µ").decode().encode(encoding)).machine == "Prüfstand 7 µ"


@pytest.mark.parametrize("prefix", [b"\xef\xbb\xbf", b" \r\n\t", b"\0\0\0\0\x07"])
def test_a_byte_order_mark_white_space_and_a_registry_prefix_are_skipped(prefix: bytes) -> None:
    assert decode_sensor_block(prefix + row()).machine == "m"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", "not-decodable"),
        ("{", "not-decodable"),
        ("[]", "not-decodable"),
        ("17", "not-decodable"),
        ("null", "not-decodable"),
        (b'{"machine":"\xff","ts":0,"values":{"a":1}}', "not-decodable"),
        (r'{"machine":"\ud800","ts":0,"values":{"a":1}}', "not-decodable"),
        ('{"machine":"m","ts":NaN,"values":{"a":1}}', "bad-time"),
        ('{"machine":"m","ts":0,"values":{"a":-NaN}}', "not-decodable"),
        ('{"machine":"m","ts":0,"values":{NaN:1}}', "not-decodable"),
        ('{"machine":"m","ts":0,"values":{"a":NaN1}}', "not-decodable"),
        ('{"machine":"m","ts":0,"values":{"a":Infinity}}', "not-decodable"),
        ('{"machine":"m","ts":0,"values":{"a":NaN,"b":-Infinity}}', "not-decodable"),
        (b"\xff\xfe{", "not-decodable"),
        (row(machine=7), "no-machine"),
        (row(machine=["m"]), "no-machine"),
        (row(machine="m" * 2000), "too-large"),
        (row(ts=None), "bad-time"),
        (row(ts=True), "bad-time"),
        (row(ts=1.5), "bad-time"),
        (row(ts={}), "bad-time"),
        (row(ts="yesterday"), "bad-time"),
        (row(ts="0001-01-01T00:00:00+23:59"), "bad-time"),
        (row(ts=1_700_000_000_000_000_000), "bad-time"),
        (row(ts=-(2**63)), "bad-time"),
        (row(values=None), "not-decodable"),
        (row(values=[1]), "not-decodable"),
        (row(values={}), "wrong-width"),
        (row(values={"": 1}), "not-decodable"),
        (row(values={"a": "1.5"}), "not-a-number"),
        (row(values={"a": "nan"}), "not-a-number"),
        (row(values={"a": [1]}), "not-a-number"),
        (row(values={"a": {"b": 1}}), "not-a-number"),
        (row(values={"a": None, "b": "1"}), "not-a-number"),
        (row(values={"a": 1e39}), "not-finite"),
        (row(values={"a": None, "b": -1e39}), "not-finite"),
        (row(values={"a": 10**40}), "not-finite"),
        ('{"machine":"m","ts":0,"values":{"a":1e999}}', "not-finite"),
        ('{"machine":"m","ts":0,"values":{"a":-1e999}}', "not-finite"),
        (block(ts=[]), "not-decodable"),
        (block(ts=[0]), "wrong-width"),
        (block(ts=[0, None]), "bad-time"),
        (block(ts=[0, True]), "bad-time"),
        (block(ts=[0, 2**63]), "bad-time"),
        (block(ts=[0, 10**18]), "bad-time"),
        (block(ts=[0, [1]]), "bad-time"),
        (block(channels=None), "not-decodable"),
        (block(channels="ab"), "not-decodable"),
        (block(channels=[]), "wrong-width"),
        (block(channels=["a", "a"]), "wrong-width"),
        (block(channels=["a", 5]), "not-decodable"),
        (block(channels=["a", ["b"]]), "not-decodable"),
        (block(channels=["a", "b", "c"]), "wrong-width"),
        (block(values=None), "not-decodable"),
        (block(values=[]), "wrong-width"),
        (block(values=[[1, 2], [3]]), "wrong-width"),
        (block(values=[[1, 2], [3, 4], [5, 6]]), "wrong-width"),
        (block(values=[[1, 2], "34"]), "not-decodable"),
        (block(values=[[1, 2], {"a": 1, "b": 2}]), "not-decodable"),
        (block(values=[[1, 2], None]), "not-decodable"),
        (block(values=[[1, 2], [3, "4"]]), "not-a-number"),
        (block(values=[[1, 2], [None, [4]]]), "not-a-number"),
        (block(values=[[1, 2], [3, 1e39]]), "not-finite"),
    ],
)
def test_what_is_refused_and_why(value: bytes | str, reason: str) -> None:
    assert reason_of(value) == reason


def test_the_detail_names_the_channel_and_stays_one_short_line() -> None:
    with pytest.raises(DecodeError) as caught:
        decode_sensor_block(row(values={"flow": 1, "pressure": "high\n" * 1000}))

    assert "'pressure'" in caught.value.detail
    assert "expected a number or null" in caught.value.detail
    assert len(caught.value.detail) < 200
    assert "\n" not in caught.value.detail


def test_float32_rounding_is_that_of_the_nearest_value() -> None:
    decoded = decode_sensor_block(row(values={"a": 0.1, "largest": 3.4028235e38, "int": 16_777_217}))

    assert decoded.values[0].tolist() == [np.float32(0.1), np.finfo(np.float32).max, 16_777_216]


def test_one_row_is_written_as_a_row_and_more_as_a_block() -> None:
    values = np.array([[0.1, np.nan]], dtype=np.float32)

    assert encode_sensor_block(SensorBlock("m", np.array([5]), ("a", "b"), values), "json") == (
        b'{"machine":"m","ts":5,"values":{"a":0.1,"b":null}}'
    )
    two = SensorBlock("m", np.array([5, 6]), ("a", "b"), np.vstack([values, values]))
    assert json.loads(encode_sensor_block(two, "json")) == {
        "machine": "m",
        "ts": [5, 6],
        "channels": ["a", "b"],
        "values": [[0.1, None], [0.1, None]],
    }


def test_arrays_in_other_layouts_are_written_all_the_same() -> None:
    values = np.arange(12, dtype=np.float64).reshape(4, 3)[::2].T  # [3, 2], strided
    odd = SensorBlock("m", np.arange(6, dtype=np.int32)[::2], ("a", "b"), values)

    for encoding in ("json", "avro", "arrow"):
        decoded = decode_sensor_block(encode_sensor_block(odd, encoding))
        np.testing.assert_array_equal(decoded.values, values)
        assert decoded.ts.tolist() == [0, 2, 4]


@pytest.mark.parametrize("encoding", ["json", "avro", "arrow"])
@pytest.mark.parametrize(
    "broken",
    [
        SensorBlock("m", np.array([0]), ("a",), np.array([[np.inf]], dtype=np.float32)),
        SensorBlock("m", np.array([0]), ("a", "b"), np.array([[1]], dtype=np.float32)),
        SensorBlock("m", np.array([0, 1]), ("a",), np.array([[1]], dtype=np.float32)),
        SensorBlock("", np.array([0]), ("a",), np.array([[1]], dtype=np.float32)),
        SensorBlock("m", np.array([], dtype=np.int64), ("a",), np.empty((0, 1), dtype=np.float32)),
    ],
)
def test_a_block_that_breaks_its_promises_is_not_written(encoding: str, broken: SensorBlock) -> None:
    with pytest.raises(ValueError, match="block of machine"):
        encode_sensor_block(broken, encoding)


def test_an_unknown_encoding_is_named() -> None:
    with pytest.raises(ValueError, match="'xml', expected one of json, avro, arrow"):
        encode_sensor_block(SensorBlock("m", np.array([0]), ("a",), np.ones((1, 1), np.float32)), "xml")


def test_messages_ignore_fields_that_a_newer_sender_adds() -> None:
    model = ActiveModel(route="pump-*", bundle="b", uri="file:///b", sha256="0" * 64)
    newer = json.loads(encode_message(model)) | {"since": 5}

    assert decode_message(ActiveModel, json.dumps(newer).encode()) == model


@pytest.mark.parametrize(
    "fields",
    [{"mode": "sometimes"}, {"route": ""}, {"route": None}, {"sha256": "x"}, {"bundle": 5}],
)
def test_messages_with_wrong_fields_are_refused_with_the_field_named(fields: dict[str, object]) -> None:
    model = {"route": "pump-*", "bundle": "b", "uri": "file:///b", "sha256": "0" * 64} | fields

    with pytest.raises(DecodeError, match=f"not-decodable: no ActiveModel: {next(iter(fields))}"):
        decode_message(ActiveModel, json.dumps(model).encode())


def test_a_score_block_has_one_entry_a_window_in_every_list() -> None:
    with pytest.raises(ValueError, match="equally long"):
        ScoreBlock(machine="m", rule="r", bundle="b", time=(1, 2), raw=(1.0,), score=(), threshold=(), quality=())
