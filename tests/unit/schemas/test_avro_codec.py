"""Avro: the four forms, foreign schemas, and what is refused."""

from __future__ import annotations

import io
import json
from typing import Any

import fastavro
import numpy as np
import pytest

from wheeltapper.schemas.adaptation import ActiveModel
from wheeltapper.schemas.codec import decode_message, decode_sensor_block, encode_message, encode_sensor_block
from wheeltapper.schemas.codec.avro_schemas import SCHEMAS_FOLDER, schema_fingerprint, writer_schema
from wheeltapper.schemas.errors import DecodeError
from wheeltapper.schemas.events import AlertEvent, ChannelShare
from wheeltapper.schemas.sensor_block import SensorBlock

RECORD: dict[str, Any] = {
    "machine": "pump-7",
    "ts": [1_700_000_000_000_000, 1_700_000_060_000_000],
    "channels": ["flow", "pressure"],
    "values": [[12.5, float("nan")], [0.25, -3.0]],
}
ALERT = AlertEvent(
    alert_id="a", machine="pump-7", event="cleared", opened_at=1, time=2, severity=50, score=0.5, peak_score=1.5,
    threshold=1, rule="r", detector="pca", bundle="b", quality=1,
    channels=(ChannelShare(channel="flow", share=0.5, actual=None, expected=2.0),),
)  # fmt: skip
WIRE_PREFIX = b"\0\0\0\x01\x02"


def schema(name: str = "sensor_block") -> dict[str, Any]:
    """The file as a stranger reads it."""
    return json.loads((SCHEMAS_FOLDER / "avro" / f"{name}.avsc").read_text())


def datum(record: dict[str, Any], written_as: dict[str, Any] | None = None) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(written_as or schema()), record)
    return out.getvalue()


def container(records: list[dict[str, Any]], written_as: dict[str, Any] | None = None, codec: str = "null") -> bytes:
    out = io.BytesIO()
    fastavro.writer(out, fastavro.parse_schema(written_as or schema()), records, codec=codec)
    return out.getvalue()


def with_values_of(items: Any) -> dict[str, Any]:
    foreign = schema()
    foreign["fields"][3]["type"] = {"type": "array", "items": {"type": "array", "items": items}}
    return foreign


def reason_of(value: bytes, content_type: str | None = None) -> str:
    with pytest.raises(DecodeError) as caught:
        decode_sensor_block(value, content_type)
    return str(caught.value.reason)


FORMS = {
    "single object": b"\xc3\x01" + schema_fingerprint("sensor_block") + datum(RECORD),
    "container": container([RECORD]),
    "deflated container": container([RECORD], codec="deflate"),
    "wire format": WIRE_PREFIX + datum(RECORD),
    "bare datum": datum(RECORD),
}


HEADERS = [None, "application/avro", "Application/AVRO; charset=binary", b"application/vnd.apache.avro"]


@pytest.mark.parametrize(
    ("form", "content_type"),
    # A bare datum has no mark of its own.
    [(form, header) for form in FORMS for header in HEADERS if header is not None or form != "bare datum"],
)
def test_every_form_is_read(form: str, content_type: str | bytes | None) -> None:
    block = decode_sensor_block(FORMS[form], content_type)

    assert block.machine == "pump-7"
    assert block.ts.tolist() == RECORD["ts"]
    assert block.channels == ("flow", "pressure")
    assert block.values.dtype == np.float32
    np.testing.assert_array_equal(block.values, RECORD["values"])


def test_what_is_written_is_a_single_object_that_any_avro_library_reads() -> None:
    block = SensorBlock("pump-7", np.array(RECORD["ts"]), ("flow", "pressure"), np.array(RECORD["values"], np.float32))

    value = encode_sensor_block(block, "avro")

    assert value == FORMS["single object"]


def test_the_fingerprint_is_that_of_the_specification() -> None:
    # Java's reference test pins CRC-64-AVRO of "null" to 7195948357588979594; single objects carry it little-endian.
    crc = fastavro.schema.fingerprint('"null"', "CRC-64-AVRO")

    assert int.from_bytes(bytes.fromhex(crc), "little") == 7195948357588979594


@pytest.mark.parametrize("width", [1, 63, 64, 100, 8192])
def test_rows_whose_length_takes_one_or_more_bytes(width: int) -> None:
    values = np.arange(3 * width, dtype=np.float32).reshape(3, width)
    channels = tuple(map(str, range(width)))
    record = {"machine": "m", "ts": [1, 2, 3], "channels": list(channels), "values": values.tolist()}

    value = encode_sensor_block(SensorBlock("m", np.array([1, 2, 3]), channels, values), "avro")

    assert value[10:] == datum(record)
    np.testing.assert_array_equal(decode_sensor_block(value).values, values)


def test_arrays_in_several_runs_with_byte_counts() -> None:
    # given: a writer that splits arrays, as the specification allows: a negative count is followed by a byte count
    floats = np.array([12.5, 0.25], dtype="<f4").tobytes()
    two_runs = b"\x01\x08" + floats[:4] + b"\x02" + floats[4:] + b"\x00"  # [12.5] then [0.25], end
    values = b"\x02" + two_runs + b"\x02" + two_runs + b"\x00"
    head = datum(RECORD | {"values": []})[:-1]

    block = decode_sensor_block(WIRE_PREFIX + head + values)

    assert block.values.tolist() == [[12.5, 0.25], [12.5, 0.25]]


@pytest.mark.parametrize("items", ["int", "long", "double", ["null", "float"], ["double", "null"], ["null", "int"]])
def test_a_container_may_hold_any_kind_of_number_and_null(items: Any) -> None:
    missing = None if "null" in items else 7
    record = RECORD | {"values": [[1, missing], [3, 4]]}

    block = decode_sensor_block(container([record], with_values_of(items)))

    expected = np.array([[1, np.nan if missing is None else 7], [3, 4]], dtype=np.float32)
    np.testing.assert_array_equal(block.values, expected)


def test_a_container_may_have_more_fields_in_another_order_under_another_name() -> None:
    foreign = schema()
    foreign |= {"name": "Reading", "namespace": "com.plant"}
    foreign["fields"].append({"name": "site", "type": ["null", {"type": "record", "name": "Site", "fields": [
        {"name": "hall", "type": "int"}]}]})  # fmt: skip
    foreign["fields"].reverse()

    block = decode_sensor_block(container([RECORD | {"site": {"hall": 4}}], foreign))

    np.testing.assert_array_equal(block.values, RECORD["values"])


def test_a_container_may_hold_one_row_as_a_map() -> None:
    foreign = {"type": "record", "name": "Row", "fields": [
        {"name": "ts", "type": "long"},
        {"name": "values", "type": {"type": "map", "values": ["null", "double"]}}]}  # fmt: skip

    block = decode_sensor_block(container([{"ts": 5, "values": {"flow": 1.5, "p": None}}], foreign), machine="from-key")

    assert (block.machine, block.ts.tolist(), block.channels) == ("from-key", [5], ("flow", "p"))
    np.testing.assert_array_equal(block.values, [[1.5, np.nan]])


def test_an_empty_machine_is_filled_from_the_key() -> None:
    value = container([RECORD | {"machine": ""}])

    assert decode_sensor_block(value, machine="from-key").machine == "from-key"
    assert reason_of(value) == "no-machine"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"ts": [0, 10**18]}, "bad-time"),
        ({"ts": [0]}, "wrong-width"),
        ({"ts": [], "values": []}, "not-decodable"),
        ({"channels": ["flow"]}, "wrong-width"),
        ({"channels": []}, "wrong-width"),
        ({"channels": ["flow", "flow"]}, "wrong-width"),
        ({"channels": ["flow", ""]}, "not-decodable"),
        ({"values": [[1, 2]]}, "wrong-width"),
        ({"values": [[1, 2], [3]]}, "wrong-width"),
        ({"values": [[1, 2], [3, float("inf")]]}, "not-finite"),
        ({"values": [[1, 2], [3, float("-inf")]]}, "not-finite"),
    ],
)
@pytest.mark.parametrize("form", ["single object", "container"])
def test_what_is_refused_and_why(form: str, changes: dict[str, Any], reason: str) -> None:
    record = RECORD | changes
    single = b"\xc3\x01" + schema_fingerprint("sensor_block") + datum(record)

    assert reason_of(single if form == "single object" else container([record], with_values_of("double"))) == reason


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (container([RECORD], with_values_of("double"), codec="xz"), "not-decodable"),
        (container([RECORD, RECORD]), "not-decodable"),
        (container([]), "not-decodable"),
        (container([RECORD])[:-1], "not-decodable"),
        (container([RECORD]) + b"\0", "not-decodable"),
        (b"Obj\x01", "not-decodable"),
        (b"\xc3\x01", "not-decodable"),
        (b"\xc3\x01" + bytes(8) + datum(RECORD), "not-decodable"),
        (b"\xc3\x01" + schema_fingerprint("alert_event") + datum(RECORD), "not-decodable"),
        (WIRE_PREFIX + datum(RECORD) + b"\0", "not-decodable"),
        (WIRE_PREFIX + datum(RECORD)[:-1], "not-decodable"),
        (container([RECORD | {"values": [["1", "2"], ["3", "4"]]}], with_values_of("string")), "not-a-number"),
        (container([RECORD | {"values": [[1e39, 0], [0, 0]]}], with_values_of("double")), "not-finite"),
        (container([{"f": 1}], {"type": "record", "name": "R", "fields": [{"name": "f", "type": "int"}]}), "no-machine"),
    ],
)  # fmt: skip
def test_broken_forms_are_refused(value: bytes, reason: str) -> None:
    assert reason_of(value) == reason


@pytest.mark.parametrize("logical_type", ["timestamp-millis", "timestamp-nanos", "local-timestamp-millis"])
def test_times_in_another_unit_are_refused_rather_than_misread(logical_type: str) -> None:
    foreign = schema()
    foreign["fields"][1]["type"]["items"]["logicalType"] = logical_type

    value = container([RECORD | {"ts": [1, 2]}], foreign)

    assert reason_of(value) == "bad-time"


def test_a_foreign_field_may_be_a_time_in_any_unit() -> None:
    foreign = schema()
    foreign["fields"].append({"name": "sent", "type": {"type": "long", "logicalType": "timestamp-millis"}})

    assert decode_sensor_block(container([RECORD | {"sent": 2**62}], foreign)).machine == "pump-7"


def test_a_bare_datum_without_the_header_is_refused_with_advice() -> None:
    with pytest.raises(DecodeError, match="needs the header content-type: application/avro"):
        decode_sensor_block(datum(RECORD))


@pytest.mark.parametrize("form", ["single object", "container", "wire format", "bare datum"])
def test_events_are_read_in_every_form(form: str) -> None:
    record = ALERT.model_dump()
    own = datum(record, schema("alert_event"))
    values = {
        "single object": b"\xc3\x01" + schema_fingerprint("alert_event") + own,
        "container": container([record], schema("alert_event")),
        "wire format": WIRE_PREFIX + own,
        "bare datum": own,
    }

    assert decode_message(AlertEvent, values[form], "application/avro") == ALERT
    assert encode_message(ALERT, "avro") == values["single object"]


def test_events_of_a_newer_sender_lose_what_is_not_known_here() -> None:
    # given: a newer schema with a field more and a symbol more
    newer = schema("active_model")
    newer["fields"].append({"name": "since", "type": "long", "default": 0})
    newer["fields"][4]["type"]["symbols"].append("dark")
    record = {"route": "pump-*", "bundle": "b", "uri": "u", "sha256": "0" * 64, "mode": "dark", "since": 5}

    model = decode_message(ActiveModel, container([record], newer))

    # then: the symbol becomes the schema's default, which never alerts
    assert model == ActiveModel(route="pump-*", bundle="b", uri="u", sha256="0" * 64, mode="shadow")


def test_events_have_no_arrow_form() -> None:
    with pytest.raises(ValueError, match="expected one of json, avro"):
        encode_message(ALERT, "arrow")
    with pytest.raises(DecodeError, match="expected JSON or Avro"):
        decode_message(AlertEvent, b"\xff\xff\xff\xff")


def test_a_type_without_a_schema_is_named() -> None:
    with pytest.raises(ValueError, match="ChannelShare has no Avro schema; the messages are SensorBlock"):
        encode_message(ALERT.channels[0], "avro")


def test_the_hot_schema_is_parsed_once() -> None:
    assert writer_schema("sensor_block") is writer_schema("sensor_block")
