"""Messages of a schema registry's serializers, read by the schema that wrote them; the registry is an HTTP double."""

from __future__ import annotations

import ssl
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import BytesIO
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import orjson
import pytest
from confluent_kafka.schema_registry import Schema, SchemaReference, SchemaRegistryClient, header_schema_id_serializer
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from fastavro import parse_schema, schemaless_writer

from tests.helpers.schema_registry import RegistryDouble, schema_registry
from tests.unit.stream.bundles import Recipe
from tests.unit.stream.conftest import OpenRoutes
from tests.unit.stream.feeds import TOPIC, Message, feed, letters_of, scores_of
from tests.unit.stream.test_gateways import GRID
from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.events import DeadLetterReason
from wheeltapper.stream.kinds.sensors import registry as registry_module
from wheeltapper.stream.pipeline import Pipeline
from wheeltapper.stream.records import Output
from wheeltapper.stream.settings import AssemblySettings, InputSettings, RegistrySettings, Settings

ROW = orjson.dumps(
    {
        "type": "record",
        "name": "Row",
        "fields": [
            {"name": "asset", "type": "string"},
            {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
            {
                "name": "values",
                "type": {
                    "type": "record",
                    "name": "Values",
                    "fields": [{"name": name, "type": ["null", "double"]} for name in "abc"],
                },
            },
        ],
    }
).decode()
MAPPED: dict[str, Any] = {"machine": "asset", "time": "at", "time_unit": "ms"}


@pytest.fixture
def double() -> Iterator[RegistryDouble]:
    with schema_registry() as served:
        yield served


def row(**values: Any) -> dict[str, Any]:
    return {"asset": "pump-1", "at": GRID // 1_000, "values": {"a": 1.5, "b": 0.5, "c": 0.5} | values}


def written(
    double: RegistryDouble, record: Any, schema: str | Schema, *, by_header: bool = False, subject_field: str = "value"
) -> Message:
    """A record as confluent-kafka's serializer sends it."""
    client = SchemaRegistryClient({"url": double.url})
    conf: dict[str, Any] = {"subject.name.strategy": lambda ctx, name: f"{TOPIC}-{subject_field}"}
    if by_header:
        conf["schema.id.serializer"] = header_schema_id_serializer
    serializer = AvroSerializer(client, schema, conf=conf)
    headers: list[tuple[str, Any]] = []
    value = serializer(record, SerializationContext(TOPIC, MessageField.VALUE, headers))
    client.close()
    return Message(value, None, [(name, content) for name, content in headers])


def read(
    open_routes: OpenRoutes, double: RegistryDouble, messages: list[Message], **sections: Any
) -> tuple[dict[tuple[str, int], float], list[tuple[str, str]], list[Output]]:
    """(machine, time) -> raw score; reason and detail of dead letters; all outputs."""
    known = {"input": InputSettings(**MAPPED), "registry": RegistrySettings(url=double.url)} | sections
    pipeline = Pipeline(open_routes(Recipe(window=1, weighting="mean")), Settings(**known))
    outputs = [*feed(pipeline, messages), *pipeline.finish()]
    scores = {(machine, time): found[0].raw for (machine, _, time), found in scores_of(outputs).items()}
    return scores, [(letter.reason, letter.detail) for letter in letters_of(outputs)], outputs


@pytest.mark.parametrize("by_header", [False, True], ids=["number before the datum", "GUID in a header"])
def test_rows_of_any_record_are_read_by_the_schema_that_wrote_them(
    open_routes: OpenRoutes, double: RegistryDouble, by_header: bool
) -> None:
    # given records of a plant's own schema, as confluent-kafka's serializer writes them
    messages = [written(double, row(), ROW, by_header=by_header) for _ in range(5)]
    before = len(double.calls)
    # when they are read with the paths that JSON of that form would need
    scores, letters, _ = read(open_routes, double, messages)
    # then they are rows, and the registry was asked once for all of them
    assert letters == []
    assert scores == {("pump-1", GRID): 1.0}
    kind = "/schemas/guids/" if by_header else "/schemas/ids/"
    assert [path.startswith(kind) for _, path in double.calls[before:]] == [True]


def test_decimals_are_numbers(open_routes: OpenRoutes, double: RegistryDouble) -> None:
    # given a table's rows as connectors of databases send them: each value a decimal, one of them NULL
    decimal = {"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 3}
    fixed = {"type": "fixed", "name": "Fixed", "size": 8, "logicalType": "decimal", "precision": 12, "scale": 1}
    schema = orjson.loads(ROW)
    for field, kind in zip(schema["fields"][2]["type"]["fields"], (decimal, fixed, decimal), strict=True):
        field["type"] = ["null", kind]
    values = [(Decimal("1.5"), Decimal("-0.5"), Decimal("0.125")), (Decimal("2.000"), Decimal("0.5"), None)]
    rows = [row(**dict(zip("abc", entries, strict=True))) for entries in values]
    rows[1]["at"] += 60_000
    messages = [written(double, each, orjson.dumps(schema).decode()) for each in rows]
    # when they are read beside rows of plain numbers that are equal to them
    scores, letters, _ = read(open_routes, double, messages)
    plain = [row(a=1.5, b=-0.5, c=0.125), row(a=2.0, b=0.5, c=None) | {"at": rows[1]["at"]}]
    expected, _, _ = read(open_routes, double, [written(double, each, ROW, subject_field="plain") for each in plain])
    # then they are the same rows
    assert letters == []
    assert len(scores) == 2
    assert scores == expected


@pytest.mark.parametrize(
    ("scale", "value", "reason"),
    [(0, b"\1" * 4_000, DeadLetterReason.NOT_DECODABLE), (10**9, b"\1", DeadLetterReason.NOT_A_NUMBER)],
    ids=["of 9,600 digits", "of a scale beyond all numbers"],
)
def test_a_decimal_that_no_sensor_sends_is_a_dead_letter(
    open_routes: OpenRoutes, double: RegistryDouble, scale: int, value: bytes, reason: DeadLetterReason
) -> None:
    # given a message with a decimal that no machine's number can be
    schema, plain = orjson.loads(ROW), orjson.loads(ROW)
    decimal = {"type": "bytes", "logicalType": "decimal", "precision": 10_000, "scale": scale}
    schema["fields"][2]["type"]["fields"][0]["type"] = decimal
    plain["fields"][2]["type"]["fields"][0]["type"] = "bytes"
    number = double.register("odd", {"schema": orjson.dumps(schema).decode()})["id"]
    datum = BytesIO()
    schemaless_writer(datum, parse_schema(plain), row() | {"values": {"a": value, "b": 0.5, "c": 0.5}})
    # when it comes, then it is a dead letter
    message = Message(b"\0" + number.to_bytes(4, "big") + datum.getvalue(), None, [])
    scores, letters, _ = read(open_routes, double, [message])
    assert scores == {}
    assert [found for found, _ in letters] == [reason]


def test_each_message_is_read_by_its_own_version(open_routes: OpenRoutes, double: RegistryDouble) -> None:
    # given a schema that got a field more in its middle
    newer = orjson.loads(ROW)
    newer["fields"].insert(1, {"name": "site", "type": "string", "default": ""})
    later = row() | {"site": "hall 4", "at": GRID // 1_000 + 60_000}
    messages = [written(double, row(), ROW), written(double, later, orjson.dumps(newer).decode())]
    # when messages of both come, then both are rows
    scores, letters, _ = read(open_routes, double, messages)
    assert letters == []
    assert sorted(scores) == [("pump-1", GRID), ("pump-1", GRID + 60_000_000)]
    assert double.count("GET", "/schemas/ids/") == 2


def test_schemas_that_refer_to_others_are_read(open_routes: OpenRoutes, double: RegistryDouble) -> None:
    # given a schema whose values are of a type with a subject of its own
    outer = orjson.loads(ROW)
    inner = outer["fields"][2]["type"] | {"namespace": "plant"}
    outer["fields"][2]["type"] = "plant.Values"
    double.register("values", {"schema": orjson.dumps(inner).decode()})
    schema = Schema(orjson.dumps(outer).decode(), "AVRO", [SchemaReference("plant.Values", "values", 1)])
    message = written(double, row(), schema)
    # when a message of it comes, then what it refers to is asked for too
    scores, letters, _ = read(open_routes, double, [message])
    assert letters == []
    assert scores == {("pump-1", GRID): 1.0}
    assert double.count("GET", "/subjects/values/versions/1") >= 1


def test_readings_of_records_are_assembled(open_routes: OpenRoutes, double: RegistryDouble) -> None:
    # given a gateway that sends lists of readings in Avro
    schema = {
        "type": "record",
        "name": "Batch",
        "fields": [
            {
                "name": "values",
                "type": {
                    "type": "array",
                    "items": {
                        "type": "record",
                        "name": "Reading",
                        "fields": [
                            {"name": "id", "type": "string"},
                            {"name": "v", "type": ["null", "double", "long", "boolean"]},
                            {"name": "q", "type": "int"},
                            {"name": "t", "type": "long"},
                        ],
                    },
                },
            }
        ],
    }
    values = [{"id": f"pump-1.{name}", "v": 0.5, "q": 192, "t": GRID // 1_000} for name in "abc"]
    message = written(double, {"values": values}, orjson.dumps(schema).decode())
    # when they are read with the paths of JSON, then they become rows
    scores, letters, _ = read(
        open_routes,
        double,
        [message],
        input=InputSettings(time="values[*].t", time_unit="ms"),
        assembly=AssemblySettings(
            value="values[*].v", tag="values[*].id", quality="values[*].q", patterns=("{machine}.{channel}",)
        ),
    )
    assert letters == []
    assert list(scores) == [("pump-1", GRID)]


def test_json_of_a_registry_and_json_without_are_both_read(open_routes: OpenRoutes, double: RegistryDouble) -> None:
    # given a JSON schema, and messages with its number and without
    number = double.register(TOPIC, {"schema": "{}", "schemaType": "JSON"})["id"]
    text = orjson.dumps(row())
    later = orjson.dumps(row() | {"at": GRID // 1_000 + 60_000})
    messages = [Message(b"\0" + number.to_bytes(4, "big") + text), Message(later)]
    # when they come, then both are rows
    scores, letters, _ = read(open_routes, double, messages)
    assert (letters, len(scores)) == ([], 2)


@pytest.mark.parametrize(
    ("schema", "kind", "detail"),
    [
        ("syntax = 'proto3';", "PROTOBUF", "is of type PROTOBUF, expected AVRO or JSON"),
        ('{"type": "array", "items": "null"}', "AVRO", "is no Avro schema that can be read with"),
        ('{"type": "nothing"}', "AVRO", "is no Avro schema that can be read with"),
        ("{", "AVRO", "is no Avro schema that can be read with"),
        (
            '{"type": "record", "name": "R", "fields": [{"name": "n", "type": ["null", "R"]}]}',
            "AVRO",
            "is no Avro schema",
        ),
    ],
)
def test_a_schema_that_cannot_be_read_with_is_a_dead_letter(
    open_routes: OpenRoutes, double: RegistryDouble, schema: str, kind: str, detail: str
) -> None:
    # given a schema that is not Avro, or that a few bytes of could claim any amount of memory
    number = double.register(TOPIC, {"schema": schema, "schemaType": kind})["id"]
    # when messages of it come, then each is a dead letter that says so
    messages = [Message(b"\0" + number.to_bytes(4, "big") + b"\x02\x02") for _ in range(3)]
    _, letters, _ = read(open_routes, double, messages)
    assert [reason for reason, _ in letters] == ["not-decodable"] * 3
    assert detail in letters[0][1]


def test_an_id_that_the_registry_does_not_know_is_asked_for_once_a_minute(
    open_routes: OpenRoutes, double: RegistryDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given messages with a number that nobody registered
    messages = [Message(b"\0\0\0\0\x63" + bytes([n])) for n in range(4)]
    # when they come, then each is a dead letter, and the registry was asked once
    _, letters, _ = read(open_routes, double, messages)
    assert [reason for reason, _ in letters] == ["not-decodable"] * 4
    assert f"schema 99 is not in the registry at {double.url}" in letters[0][1]
    assert double.count("GET", "/schemas/ids/99") == 1
    # and where that has been long ago, it is asked again
    monkeypatch.setattr(registry_module, "FORGET_UNKNOWN_S", -1.0)
    read(open_routes, double, messages)
    assert double.count("GET", "/schemas/ids/99") == 5


def test_a_datum_of_another_schema_is_a_dead_letter(open_routes: OpenRoutes, double: RegistryDouble) -> None:
    message = written(double, row(), ROW)
    assert message.value is not None
    _, letters, _ = read(open_routes, double, [Message(message.value[:-3]), Message(message.value + b"x")])
    assert [reason for reason, _ in letters] == ["not-decodable"] * 2


@pytest.mark.parametrize("by_token", [False, True], ids=["user and password", "token"])
def test_credentials_are_sent(open_routes: OpenRoutes, double: RegistryDouble, by_token: bool) -> None:
    # given a registry that wants to know who asks
    message = written(double, row(), ROW)
    double.user, double.token = ("reader", "se:cret"), "t0ken" if by_token else None
    known = {"token": "t0ken"} if by_token else {"username": "reader", "password": "se:cret"}
    # when the settings say it, then messages are read
    scores, letters, _ = read(open_routes, double, [message], registry=RegistrySettings(url=double.url, **known))
    assert (letters, len(scores)) == ([], 1)
    # and when they do not, the worker ends with a line that says what to do
    with pytest.raises(InputError, match=r"refuses this user .* check registry.username and registry.password"):
        read(open_routes, double, [message])


def test_a_registry_that_is_down_for_a_moment_is_waited_for(
    open_routes: OpenRoutes, double: RegistryDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a registry that answers the third time
    monkeypatch.setattr(registry_module, "_PAUSE_S", 0.01)
    message = written(double, row(), ROW)
    double.failures = 2
    # when a message comes, then it is read all the same
    scores, letters, _ = read(open_routes, double, [message])
    assert (letters, len(scores)) == ([], 1)


def test_a_registry_that_stays_away_ends_the_worker_with_what_to_do(
    open_routes: OpenRoutes, double: RegistryDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given no registry at the address
    monkeypatch.setattr(registry_module, "_PAUSE_S", 0.01)
    message = written(double, row(), ROW)
    settings = RegistrySettings(url="http://user:secret@127.0.0.1:9", timeout_s=0.05)
    # when a message comes, then nothing is a dead letter: the error says what to do, and no password
    with pytest.raises(InputError, match=r"http://127.0.0.1:9 did not give schema 1 within 0.05 s") as raised:
        read(open_routes, double, [message], registry=settings)
    assert "secret" not in str(raised.value)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Certificate and key of 127.0.0.1, signed by themselves."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "registry")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    pem = serialization.Encoding.PEM
    (folder / "cert.pem").write_bytes(signed.public_bytes(pem))
    (folder / "key.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "cert.pem", folder / "key.pem"


def test_tls_is_checked_against_the_authority_that_the_settings_name(
    open_routes: OpenRoutes, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a registry with HTTPS, whose certificate an authority of the plant's own signed
    monkeypatch.setattr(registry_module, "_PAUSE_S", 0.01)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with schema_registry(context) as double:
        number = double.register(TOPIC, {"schema": "{}", "schemaType": "JSON"})["id"]
        message = Message(b"\0" + number.to_bytes(4, "big") + orjson.dumps(row()))
        # when the settings name that authority, then messages are read
        trusted = RegistrySettings(url=double.url, ssl_ca_location=certificate[0])
        scores, letters, _ = read(open_routes, double, [message], registry=trusted)
        assert (letters, len(scores)) == ([], 1)
        # and without it the registry is not believed
        with pytest.raises(InputError, match="CERTIFICATE_VERIFY_FAILED"):
            read(open_routes, double, [message], registry=RegistrySettings(url=double.url, timeout_s=0.05))


def test_a_certificate_that_is_not_there_is_named(open_routes: OpenRoutes, double: RegistryDouble) -> None:
    missing = RegistrySettings(url=double.url, ssl_ca_location=Path("no-such.pem"))
    with pytest.raises(InputError, match=r"section \[registry\]"):
        read(open_routes, double, [], registry=missing)


def test_without_a_registry_nothing_has_changed(open_routes: OpenRoutes, double: RegistryDouble) -> None:
    # given JSON behind a schema's number, and no registry in the settings, when it comes, then the number is skipped
    message = Message(b"\0\0\0\0\x01" + orjson.dumps(row()))
    scores, letters, _ = read(open_routes, double, [message], registry=RegistrySettings())
    assert (letters, len(scores)) == ([], 1)
    assert double.calls == []


def test_the_client_is_loaded_where_it_is_wanted_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    # given an installation without the extra
    for name in [name for name in sys.modules if name.startswith("confluent_kafka.schema_registry")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "httpx2", None)
    monkeypatch.setitem(sys.modules, "authlib", None)
    # when no registry is set, then nothing is missed; else a line names the extra
    registry_module.SchemaRegistry(RegistrySettings())
    with pytest.raises(InputError, match=r"pip install 'wheeltapper\[registry\]'"):
        registry_module.SchemaRegistry(RegistrySettings(url="http://127.0.0.1:9"))
