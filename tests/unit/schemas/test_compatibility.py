"""What a released version wrote is read for good: by today's schemas, with every field it had.

`schemas/released/N` is frozen when version N of a message goes out. A change to `schemas/avro` may add fields with a
default and symbols at the end of an enum; it may not remove, rename or retype a field.
"""

from __future__ import annotations

import copy
import io
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastavro
import fastavro.utils
import pytest

from wheeltapper.schemas.codec import decode_message, decode_sensor_block, encode_message
from wheeltapper.schemas.codec.avro_schemas import (
    SCHEMA_NAMES,
    SCHEMAS_FOLDER,
    known_writers,
    schema_fingerprint,
    schema_text,
    writer_schema,
)
from wheeltapper.schemas.events import AlertEvent, ClearReason
from wheeltapper.schemas.sensor_block import SensorBlock

RELEASED = sorted(SCHEMAS_FOLDER.glob("released/*/*.avsc"))
RECORDS = 200

# CRC-64-AVRO of what has been released; a new version adds entries, none ever changes.
FROZEN = {
    "1/active_model": "3a94d31c9a96cd60",
    "1/alert_event": "d0ad08008dbb3c2d",
    "1/label": "1e519458a303b9db",
    "1/label_request": "35321731323a3262",
    "1/localization": "9643173d64aa888f",
    "1/score_block": "72b7795bfedcd72b",
    "1/sensor_block": "3def95aa9e4081cb",
}

# Messages whose present schema is another than the released one.
CHANGED_SINCE_RELEASE = {
    "1/alert_event",  # fields `reason`, `level_reason`, `patches`, `message`, `area`, `asset`, `input`; of channels `worst`
    "1/localization",  # fields `patches`, `clip`; of channels `worst`
    "1/label_request",  # of channels `worst`
    "1/score_block",  # a field, `maintenance`
    "1/label",  # fields `alert_id`, `until`
    "1/active_model",  # a mode, `retired`, and fields
}


def load(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def without_logical_types(schema: Any) -> Any:
    """Times as plain longs: the generator makes longs that no datetime holds."""
    if isinstance(schema, list):
        return [without_logical_types(entry) for entry in schema]
    if isinstance(schema, dict):
        return {key: without_logical_types(entry) for key, entry in schema.items() if key != "logicalType"}
    return schema


def logical_types_of(schema: Any) -> dict[str, str]:
    """Field -> its logical type; a change of unit is a change of meaning that decoding does not show."""
    found = {}
    for field in schema["fields"]:
        kind = field["type"]
        while isinstance(kind, dict) and "logicalType" not in kind and "items" in kind:
            kind = kind["items"]
        if isinstance(kind, dict) and "logicalType" in kind:
            found[field["name"]] = kind["logicalType"]
    return found


def generated_records(schema: Any) -> list[Any]:
    """Records of every branch and symbol of a schema, the same in every run."""
    state = random.getstate()
    random.seed(7)
    try:
        return list(fastavro.utils.generate_many(schema, RECORDS))
    finally:
        random.setstate(state)


def holds(new: Any, old: Any) -> bool:
    """Whether all of `old` is in `new`, whatever came to it."""
    if isinstance(old, dict):
        return isinstance(new, dict) and all(key in new and holds(new[key], old[key]) for key in old)
    if isinstance(old, list):
        return isinstance(new, list) and len(new) == len(old) and all(map(holds, new, old))
    return bool(new == old)


def complaint(new: dict[str, Any], old: dict[str, Any]) -> str | None:
    """Why a reader with `new` cannot take everything that a writer with `old` writes; None where it can."""
    if not logical_types_of(old).items() <= logical_types_of(new).items():
        return f"times changed from {logical_types_of(old)} to {logical_types_of(new)}"
    writer = fastavro.parse_schema(without_logical_types(old))
    reader = fastavro.parse_schema(without_logical_types(new))
    for record in generated_records(writer):
        out = io.BytesIO()
        fastavro.schemaless_writer(out, writer, record)
        as_written = fastavro.schemaless_reader(io.BytesIO(out.getvalue()), writer, None)
        try:
            as_read = fastavro.schemaless_reader(io.BytesIO(out.getvalue()), writer, reader)
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        if not holds(as_read, as_written):
            return f"wrote {as_written}, read {as_read}"
    return None


def test_no_released_message_is_gone() -> None:
    assert {path.stem for path in RELEASED} <= set(SCHEMA_NAMES.values())


def test_released_versions_are_as_they_were() -> None:
    found = {
        f"{path.parent.name}/{path.stem}": fastavro.schema.fingerprint(
            fastavro.schema.to_parsing_canonical_form(load(path)), "CRC-64-AVRO"
        )
        for path in RELEASED
    }

    assert found == FROZEN


def test_messages_are_written_as_released_unless_they_are_known_to_have_changed() -> None:
    """The schemas are made from the Python types: a change of a type must not change a schema unnoticed."""
    found = {f"1/{name}": schema_fingerprint(name).hex() for name in SCHEMA_NAMES.values()}

    assert {name for name in FROZEN if found[name] != FROZEN[name]} == CHANGED_SINCE_RELEASE


@pytest.mark.parametrize("path", RELEASED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_todays_schema_reads_what_a_released_version_wrote(path: Path) -> None:
    today = SCHEMAS_FOLDER / "avro" / path.name

    assert complaint(load(today), load(path)) is None


@pytest.mark.parametrize("path", RELEASED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_todays_decoder_knows_a_released_version_by_its_fingerprint(path: Path) -> None:
    canonical = fastavro.schema.to_parsing_canonical_form(load(path))
    fingerprint = bytes.fromhex(fastavro.schema.fingerprint(canonical, "CRC-64-AVRO"))

    assert fingerprint in known_writers(path.stem)


MESSAGES = {
    "sensor_block": {"machine": "m", "ts": [1], "channels": ["a"], "values": [[1.5]]},
    "score_block": {
        "machine": "m", "rule": "r", "bundle": "b", "time": [1], "raw": [0.1], "score": [1.0], "threshold": [1.0],
        "quality": [1.0],
    },
    "alert_event": {
        "alert_id": "a", "machine": "m", "event": "opened", "opened_at": 1, "time": 1, "severity": 50, "score": 1.0,
        "peak_score": 1.0, "threshold": 1.0, "rule": "r", "detector": "d", "bundle": "b", "quality": 1.0,
        "channels": [{"channel": "c", "unit": "", "share": 1.0, "actual": None, "expected": None}],
    },
    "localization": {
        "alert_id": "a", "machine": "m", "time": 1, "rule": "r", "detector": "d", "bundle": "b",
        "channels": [{"channel": "c", "unit": "", "share": 1.0, "actual": 1.0, "expected": 2.0}],
    },
    "label_request": {
        "request_id": "q", "machine": "m", "time": 2, "rule": "r", "detector": "d", "bundle": "b", "score": 1.0,
        "threshold": 1.0, "uncertainty": 1.0, "quality": 0.75,
        "shares": [{"channel": "c", "unit": "", "share": 1.0, "actual": 1.0, "expected": None}],
        "channels": ["c", "d"], "units": ["", "bar"], "ts": [1, 2], "values": [[0.5, None], [1.0, 2.0]],
    },
    "label": {
        "request_id": "q", "machine": "m", "time": 2, "label": "anomalous", "who": "w", "at": 3, "comment": "",
    },
    "active_model": {"route": "m", "bundle": "b", "uri": "u", "sha256": "0" * 64, "mode": "active"},
}  # fmt: skip


@pytest.mark.parametrize("form", ["json", "avro"])
@pytest.mark.parametrize("message_type", [kind for kind, name in SCHEMA_NAMES.items() if f"1/{name}" in FROZEN])
def test_todays_types_take_the_first_released_messages(message_type: type, form: str) -> None:
    """Messages as version 1 wrote them, byte by byte what an old sender still sends."""
    name = SCHEMA_NAMES[message_type]
    if form == "json":
        value = json.dumps(MESSAGES[name]).encode()
    else:
        schema = load(SCHEMAS_FOLDER / "released" / "1" / f"{name}.avsc")
        canonical = fastavro.schema.to_parsing_canonical_form(schema)
        out = io.BytesIO(b"\xc3\x01" + bytes.fromhex(fastavro.schema.fingerprint(canonical, "CRC-64-AVRO")))
        out.seek(0, io.SEEK_END)
        fastavro.schemaless_writer(out, fastavro.parse_schema(schema), MESSAGES[name])
        value = out.getvalue()

    if message_type is SensorBlock:
        assert decode_sensor_block(value).values.tolist() == [[1.5]]
    else:
        assert holds(json.loads(decode_message(message_type, value).model_dump_json()), MESSAGES[name])


REASON = {
    "name": "reason",
    "type": [
        "null",
        {"type": "enum", "name": "ClearReason", "symbols": ["recovered", "superseded"], "default": "superseded"},
    ],
    "default": None,
}


@pytest.mark.parametrize("reason", [None, *ClearReason])
def test_a_reader_of_the_first_version_takes_todays_alerts(reason: ClearReason | None) -> None:
    # given an alert as it is written today, and a reader that has the writer's schema but knows version 1 alone
    alert = AlertEvent.model_validate(MESSAGES["alert_event"] | {"event": "cleared", "reason": reason})
    old = load(SCHEMAS_FOLDER / "released" / "1" / "alert_event.avsc")
    # when it reads it
    datum = io.BytesIO(encode_message(alert, "avro")[10:])
    record = fastavro.schemaless_reader(
        datum, writer_schema("alert_event"), fastavro.parse_schema(without_logical_types(old))
    )
    # then it has every field of version 1, and all of the message is read
    assert record == {name: value for name, value in MESSAGES["alert_event"].items() if name != "event"} | {
        "event": "cleared"
    }
    assert datum.read() == b""


def test_an_older_reader_takes_an_unknown_reason_as_superseded() -> None:
    # given a reader that knows two reasons
    schema = edited(lambda fields: fields.append(REASON))
    schema["fields"][-1]["type"][1]["namespace"] = "wheeltapper.alert_event"
    alert = AlertEvent.model_validate(MESSAGES["alert_event"] | {"event": "cleared", "reason": "no-data"})
    # when it reads an alert that ended for another one
    record = fastavro.schemaless_reader(
        io.BytesIO(encode_message(alert, "avro")[10:]),
        writer_schema("alert_event"),
        fastavro.parse_schema(without_logical_types(schema)),
    )
    # then it takes it for one that ended without a recovery
    assert record["reason"] == "superseded"


def test_our_reader_takes_a_reason_of_a_newer_version_as_superseded() -> None:
    # given a newer sender with one more reason, which brings its schema along
    newer = copy.deepcopy(json.loads(schema_text("alert_event")))
    reason = next(field for field in newer["fields"] if field["name"] == "reason")
    reason["type"][1]["symbols"].append("shelved")
    reason["type"][1]["jsonSymbols"].append("shelved")
    out = io.BytesIO()
    message = MESSAGES["alert_event"] | {"event": "cleared", "reason": "shelved"}
    fastavro.writer(out, fastavro.parse_schema(without_logical_types(newer)), [message])
    # when we read it, then so do we
    assert decode_message(AlertEvent, out.getvalue()).reason is ClearReason.SUPERSEDED


def edited(edit: Callable[[list[dict[str, Any]]], Any]) -> dict[str, Any]:
    schema = copy.deepcopy(load(SCHEMAS_FOLDER / "released" / "1" / "alert_event.avsc"))
    edit(schema["fields"])
    return schema


BREAKING: dict[str, Callable[[list[dict[str, Any]]], Any]] = {
    "a new field without a default": lambda fields: fields.append({"name": "site", "type": "string"}),
    "a new enum that may be null, without a default of the field": lambda fields: fields.append(
        {key: entry for key, entry in REASON.items() if key != "default"}
    ),
    "a field removed": lambda fields: fields.pop(1),
    "a field renamed": lambda fields: fields[1].update(name="asset"),
    "a field renamed, with a default": lambda fields: fields[1].update(name="asset", default=""),
    "a field retyped": lambda fields: fields[5].update(type="string"),
    "a field narrowed": lambda fields: fields[6].update(type="float"),
    "a symbol removed": lambda fields: fields[2]["type"]["symbols"].remove("cleared"),
    "null no longer taken": lambda fields: fields[13]["type"]["items"]["fields"][3].update(type="double"),
    "a time in another unit": lambda fields: fields[4]["type"].update(logicalType="timestamp-millis"),
}
COMPATIBLE: dict[str, Callable[[list[dict[str, Any]]], Any]] = {
    "nothing": lambda fields: None,
    "a new field with a default": lambda fields: fields.append({"name": "site", "type": "string", "default": ""}),
    "a new field that may be null, of an enum": lambda fields: fields.append(copy.deepcopy(REASON)),
    "a new symbol": lambda fields: fields[2]["type"]["symbols"].append("acknowledged"),
    "other docs": lambda fields: fields[1].update(doc="who"),
    "another order": lambda fields: fields.reverse(),
    "an int widened": lambda fields: fields[5].update(type="long"),
}


@pytest.mark.parametrize("change", BREAKING)
def test_a_breaking_change_is_found(change: str) -> None:
    old = load(SCHEMAS_FOLDER / "released" / "1" / "alert_event.avsc")

    assert complaint(edited(BREAKING[change]), old) is not None


@pytest.mark.parametrize("change", COMPATIBLE)
def test_a_compatible_change_passes(change: str) -> None:
    old = load(SCHEMAS_FOLDER / "released" / "1" / "alert_event.avsc")

    assert complaint(edited(COMPATIBLE[change]), old) is None
