"""The .avsc and JSON Schema files say the same as the types in Python, and real messages fit them."""

from __future__ import annotations

import dataclasses
import io
import json
import subprocess
import sys
import types
from enum import Enum
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import fastavro
import jsonschema
import numpy as np
import pytest
from pydantic import BaseModel

from wheeltapper.schemas.adaptation import ActiveModel, AdaptationEvent, AdaptationStep, DriftChannel, DriftEvent
from wheeltapper.schemas.audio_chunk import AudioChunk
from wheeltapper.schemas.bundle.manifest import Calibration, Channel, Manifest, TensorSpec, TrainingData
from wheeltapper.schemas.clock import MAX_MICROS
from wheeltapper.schemas.codec import (
    Encoding,
    decode_audio_chunk,
    decode_message,
    decode_sensor_block,
    encode_audio_chunk,
    encode_message,
    encode_sensor_block,
)
from wheeltapper.schemas.codec.avro_schemas import SCHEMA_NAMES, SCHEMAS_FOLDER
from wheeltapper.schemas.commands import AlarmCommand
from wheeltapper.schemas.errors import DecodeError
from wheeltapper.schemas.events import (
    AlertEvent,
    ChannelShare,
    ClearReason,
    Label,
    LabelRequest,
    Localization,
    ScoreBlock,
)
from wheeltapper.schemas.generate import JSON_SCHEMA_FOLDER, JSON_SCHEMA_MODELS, generated_files, json_schema
from wheeltapper.schemas.sensor_block import SensorBlock
from wheeltapper.schemas.topics import TOPICS

EVENT_TYPES = [message_type for message_type in SCHEMA_NAMES if message_type not in (SensorBlock, AudioChunk)]
MICROS = 1_793_862_000_500_000
SHARES = (
    ChannelShare(channel="flow", unit="m3/h", share=0.75, actual=None, expected=12.5),
    ChannelShare(channel="Öldruck", share=0.25, actual=3.25),
)
EVENTS: dict[type, BaseModel] = {
    AlertEvent: AlertEvent(
        alert_id="a", machine="pump-7", event="opened", opened_at=MICROS, time=MICROS + 1, severity=50, score=1.5,
        peak_score=1.5, threshold=1, rule="r", detector="pca", bundle="b", quality=1, channels=SHARES,
    ),
    Localization: Localization(
        alert_id="a", machine="pump-7", time=MICROS, rule="r", detector="pca", bundle="b", channels=SHARES
    ),
    ScoreBlock: ScoreBlock(
        machine="m", rule="r", bundle="b", time=(MICROS,), raw=(0.1,), score=(1.0,), threshold=(1.0,), quality=(1.0,)
    ),
    LabelRequest: LabelRequest(
        request_id="q", machine="pump-7", time=MICROS + 1, rule="r", detector="pca", bundle="b", score=0.9, threshold=1,
        uncertainty=0.5, quality=0.75, shares=SHARES, channels=("flow", "Öldruck"), units=("m3/h", ""),
        ts=(MICROS, MICROS + 1), values=((12.5, None), (12.25, 3.25)),
    ),
    Label: Label(request_id="q", machine="pump-7", time=MICROS + 1, label="anomalous", who="Jürgen", at=MICROS + 2),
    ActiveModel: ActiveModel(route="pump-*", bundle="b", uri="file:///b", sha256="0" * 64),
    AlarmCommand: AlarmCommand(command_id="c", machine="pump-7", action="accept", who="Jürgen", at=MICROS),
    DriftEvent: DriftEvent(
        drift_id="d", machine="pump-7", rule="pca", bundle="b", event="started", time=MICROS + 1, since=MICROS,
        tests=("adwin",), score_before=0.25, score_after=0.75,
        channels=(DriftChannel(channel="Druck", unit="bar", statistic="mean", before=1.0, after=2.0, effect=3.0),),
    ),
    AdaptationEvent: AdaptationEvent(
        adaptation_id="a", machine="pump-7", rule="pca", event=AdaptationStep.ROLLED_BACK, at=MICROS
    ),
}  # fmt: skip


def avsc(name: str) -> dict[str, Any]:
    return json.loads((SCHEMAS_FOLDER / "avro" / f"{name}.avsc").read_text())


def avro_type_of(annotation: Any, metadata: list[Any]) -> Any:
    """The Avro type that a field of a model must have, without names and docs."""
    if hasattr(annotation, "__metadata__"):
        annotation, metadata = plain(annotation)
    largest = max((entry.le for entry in metadata if getattr(entry, "le", None)), default=0)
    if largest == MAX_MICROS:
        return {"type": "long", "logicalType": "timestamp-micros"}
    if largest == 2**63 - 1:
        return "long"
    if annotation in (str, int, float, bool):
        return {str: "string", int: "int", float: "double", bool: "boolean"}[annotation]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return {"type": "enum", "symbols": list(arguments)}
    if origin in (Union, types.UnionType):
        assert arguments[1] is type(None)
        return ["null", avro_type_of(arguments[0], [])]
    if origin is tuple:
        return {"type": "array", "items": avro_type_of(arguments[0], [])}
    if issubclass(annotation, Enum):
        return {"type": "enum", "symbols": [value.replace("-", "_") for value in annotation]}
    assert issubclass(annotation, BaseModel)
    return {"type": "record", "fields": avro_fields_of(annotation)}


def plain(annotation: Any) -> tuple[Any, list[Any]]:
    """Annotated[T, field, ..] -> T and the field's limits."""
    return annotation.__origin__, [
        limit for entry in annotation.__metadata__ for limit in getattr(entry, "metadata", [])
    ]


def avro_fields_of(model: type[BaseModel]) -> list[dict[str, Any]]:
    fields = []
    for name, field in model.model_fields.items():
        entry = {"name": name, "type": avro_type_of(field.annotation, field.metadata)}
        if not field.is_required():
            entry["default"] = list(field.default) if isinstance(field.default, tuple) else field.default
        fields.append(entry)
    return fields


def without_names(schema: Any) -> Any:
    """An .avsc's type without what Python has no word for."""
    if isinstance(schema, list):
        return [without_names(entry) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    is_field = "type" in schema and "name" in schema and schema["type"] not in ("record", "enum")
    dropped = {"doc"} if is_field else {"doc", "name", "namespace"} | ({"default"} if "symbols" in schema else set())
    dropped |= {"jsonSymbols"}
    return {key: without_names(entry) for key, entry in schema.items() if key not in dropped}


@pytest.mark.parametrize("message_type", EVENT_TYPES)
def test_avro_fields_are_those_of_the_model(message_type: type[BaseModel]) -> None:
    expected = avro_fields_of(message_type)

    assert without_names(avsc(SCHEMA_NAMES[message_type]))["fields"] == expected


def test_the_comparison_of_fields_can_fail() -> None:
    changed = avsc("alert_event")
    changed["fields"][13]["type"]["items"]["fields"][3]["type"] = "double"  # actual, no longer nullable

    assert without_names(changed)["fields"] != avro_fields_of(AlertEvent)


def test_avro_fields_of_a_sensor_block_are_those_of_the_dataclass() -> None:
    names = [field["name"] for field in avsc("sensor_block")["fields"]]

    assert names == [field.name for field in dataclasses.fields(SensorBlock)]


@pytest.mark.parametrize("name", SCHEMA_NAMES.values())
def test_every_schema_stands_alone_and_has_docs(name: str) -> None:
    schema = avsc(name)

    fastavro.parse_schema(schema)
    assert schema["namespace"] == "wheeltapper"
    assert schema["doc"]


def test_all_schemas_can_be_compiled_together() -> None:
    """Generators put the records of all files in one program: each full name must be defined once."""
    names: dict[str, Any] = {}
    for name in SCHEMA_NAMES.values():
        fastavro.parse_schema(avsc(name), named_schemas=names)

    assert "wheeltapper.alert_event.ChannelShare" in names
    assert "wheeltapper.localization.ChannelShare" in names


@pytest.mark.parametrize("message_type", EVENT_TYPES)
def test_real_events_fit_both_schemas(message_type: type[BaseModel]) -> None:
    message = EVENTS[message_type]
    name = SCHEMA_NAMES[message_type]

    # then: JSON as written passes the JSON Schema
    jsonschema.validate(json.loads(encode_message(message, "json")), json_schema(name))
    # then: the datum, read by fastavro with the file alone, holds the model's values
    record = fastavro.schemaless_reader(
        io.BytesIO(encode_message(message, "avro")[10:]), fastavro.parse_schema(avsc(name)), None
    )
    if "event" in record:  # Avro cannot spell a hyphen
        record["event"] = record["event"].replace("_", "-")
    # times come as datetime here, by their logical type
    assert json.loads(json.dumps(record, default=lambda moment: round(moment.timestamp() * 1e6))) == json.loads(
        message.model_dump_json()
    )


@pytest.mark.parametrize("topic", [topic for topic, spec in TOPICS.items() if spec.model is not None])
def test_the_encodings_of_the_table_are_those_that_are_written_and_read(topic: str) -> None:
    model = TOPICS[topic].model
    assert model is not None
    block = SensorBlock("pump-7", np.array([MICROS]), ("flow",), np.array([[1.5]], dtype=np.float32))
    chunk = AudioChunk("pump-7", "", MICROS, 16_000, np.zeros((1, 1), dtype=np.float32))
    works = []
    for encoding in get_args(Encoding):
        try:
            if model is SensorBlock:
                decode_sensor_block(encode_sensor_block(block, encoding))
            elif model is AudioChunk:
                decode_audio_chunk(encode_audio_chunk(chunk, encoding))
            else:
                decode_message(model, encode_message(EVENTS[model], encoding))
        except ValueError:  # of the writer: it knows no such encoding
            continue
        works.append(encoding)

    assert tuple(works) == TOPICS[topic].codecs


CLEARED = EVENTS[AlertEvent].model_copy(update={"event": "cleared"})
NO_DATA = AlertEvent(
    alert_id="a", machine="pump-7", event="opened", opened_at=MICROS, time=MICROS + 1, severity=50, score=1.002,
    peak_score=1.002, threshold=1, rule="no-data", detector="no-data", bundle="", quality=0, channels=(),
)  # fmt: skip


@pytest.mark.parametrize("encoding", ["json", "avro"])
@pytest.mark.parametrize(
    "alert",
    [
        *(CLEARED.model_copy(update={"reason": reason}) for reason in [None, *ClearReason]),
        NO_DATA,
        NO_DATA.model_copy(update={"event": "cleared", "reason": ClearReason.RECOVERED}),
    ],
    ids=lambda alert: f"{alert.rule}-{alert.event}-{alert.reason}",
)
def test_alerts_are_read_as_they_were_written(alert: AlertEvent, encoding: Encoding) -> None:
    # given an alert that ended, for any reason, or one that no bundle raised
    # when it is written and read
    value = encode_message(alert, encoding)
    # then it is the same, and fits the schema of its encoding
    assert decode_message(AlertEvent, value) == alert
    if encoding == "json":
        jsonschema.validate(json.loads(value), json_schema("alert_event"))
    else:
        record = fastavro.schemaless_reader(io.BytesIO(value[10:]), fastavro.parse_schema(avsc("alert_event")), None)
        assert record["reason"] == (alert.reason and alert.reason.replace("-", "_"))


@pytest.mark.parametrize("spelling", ["no_data", "No-Data", "because", "", 1])
def test_in_json_a_reason_that_is_none_is_refused(spelling: object) -> None:
    value = json.dumps(json.loads(encode_message(CLEARED)) | {"reason": spelling}).encode()

    with pytest.raises(DecodeError, match="reason: "):
        decode_message(AlertEvent, value)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(json.loads(value), json_schema("alert_event"))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"units": ("m3/h",)}, "1 units of 2 channels"),
        ({"values": ((12.5, None),)}, "2 rows, as ts has"),
        ({"values": ((12.5, None), (1.0,))}, "of 2 channels each"),
        ({"time": MICROS + 2}, "none of the window's rows"),
    ],
)
def test_a_label_request_is_a_whole_table_with_the_judged_row_in_it(change: dict[str, Any], complaint: str) -> None:
    fields = EVENTS[LabelRequest].model_dump() | change

    with pytest.raises(ValueError, match=complaint):
        LabelRequest.model_validate(fields)


@pytest.mark.parametrize("rows", [1, 3])
def test_real_sensor_blocks_fit_both_schemas(rows: int) -> None:
    values = np.array([[1.5, np.nan]] * rows, dtype=np.float32)
    block = SensorBlock("pump-7", MICROS + np.arange(rows), ("flow", "pressure"), values)

    jsonschema.validate(json.loads(encode_sensor_block(block, "json")), json_schema("sensor_block"))
    record = fastavro.schemaless_reader(
        io.BytesIO(encode_sensor_block(block, "avro")[10:]), fastavro.parse_schema(avsc("sensor_block")), None
    )
    np.testing.assert_array_equal(record["values"], values)


@pytest.mark.parametrize(
    "message",
    [
        {"machine": "m", "values": {"a": 1}},
        {"machine": "m", "ts": 0, "values": {}},
        {"machine": "m", "ts": 0, "values": {"a": "1"}},
        {"machine": "m", "ts": 1.5, "values": {"a": 1}},
        {"machine": "m", "ts": 10**18, "values": {"a": 1}},
        {"machine": "m", "ts": [0], "values": {"a": 1}},
        {"machine": "m", "ts": [0], "channels": ["a", "a"], "values": [[1, 2]]},
        {"machine": "m", "ts": [0], "channels": ["a"], "values": [["1"]]},
        [],
    ],
)
def test_the_json_schema_of_sensor_blocks_refuses_what_the_decoder_refuses(message: Any) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(message, json_schema("sensor_block"))


@pytest.mark.parametrize(("path", "text"), list(generated_files()), ids=lambda value: getattr(value, "name", "text"))
def test_generated_files_are_as_generated(path: Path, text: str) -> None:
    assert path.read_text(encoding="utf-8") == text, "run: python -m wheeltapper.schemas.generate"


@pytest.mark.parametrize("name", JSON_SCHEMA_MODELS)
def test_json_schemas_are_valid(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema(name))


def test_a_real_manifest_fits_its_schema() -> None:
    manifest = Manifest(
        bundle_id="pca-pump-7-0123456789ab",
        detector="pca",
        channels=(Channel(name="flow", unit="m3/h"), Channel(name="pressure")),
        sampling_interval_s=60,
        window=64,
        inputs=(TensorSpec(name="window", shape=("N", 64, 2), dtype="float32"),),
        outputs=(TensorSpec(name="score", shape=("N",), dtype="float32"),),
        calibration=Calibration(center=0.1, alarm_level=2.5, false_alarms_per_day=0.5, windows=1000, method="gpd"),
        training_data=TrainingData(dataset="pumps", entity="pump-7", rows=20_000, sha256="0" * 64),
        created_at="2026-11-05T08:13:00Z",
        files={"model.onnx": "0" * 64},
    )

    jsonschema.validate(json.loads(manifest.model_dump_json()), json_schema("manifest"))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(json.loads(manifest.model_dump_json()) | {"window": 0}, json_schema("manifest"))


def test_no_file_is_left_over() -> None:
    assert {path.stem for path in JSON_SCHEMA_FOLDER.iterdir()} == set(JSON_SCHEMA_MODELS)
    assert {SCHEMA_NAMES[AudioChunk]} == set(SCHEMA_NAMES.values()) - set(JSON_SCHEMA_MODELS)
    assert {path.stem for path in (SCHEMAS_FOLDER / "avro").iterdir()} == set(SCHEMA_NAMES.values())


def test_codecs_load_nothing_heavy() -> None:
    probe = (
        "import sys, schemas, wheeltapper.schemas.codec\n"
        "heavy = {'torch', 'onnxruntime', 'onnx', 'pandas', 'scipy', 'sklearn', 'librosa', 'numba', 'faust', 'aiokafka',"
        " 'confluent_kafka', 'pyarrow.parquet'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )

    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
