"""Brokers for the tests: the embedded one always, a real Apache Kafka where there is one, once with TLS, SASL and ACLs."""

from __future__ import annotations

import datetime
import ipaddress
import itertools
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.helpers.shared import folder_of_this_run, shared
from tests.integration.kafka_tools import (
    PATIENT,
    Broker,
    KafkaNode,
    await_brokers,
    free_port_pair,
    why_no_kafka,
)
from tests.integration.secure_kafka import SecureKafka
from tests.integration.worker_tools import RUNNERS
from wheeltapper.deploy.broker import EmbeddedBroker, find_binary
from wheeltapper.schemas.errors import InputError

_numbers = itertools.count(1)
# What formatting writes, in the folder of the run.
FORMATTED = "kafka-formatted"
# Administrator, worker, stranger.
_USERS = (("admin", "admin-secret"), ("worker", "worker-secret"), ("stranger", "stranger-secret"))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs any one broker, or any one runner, has its turn with the others at night."""
    for item in items:
        if not {"one_broker", "one_runner", "each_once", "real_broker"} & {mark.name for mark in item.iter_markers()}:
            continue
        parameters = getattr(getattr(item, "callspec", None), "params", {})
        broker = parameters.get("broker")
        runner = next((value for value in parameters.values() if isinstance(value, str) and value in RUNNERS), None)
        if (
            (item.get_closest_marker("one_broker") and broker == "kafka")
            or (item.get_closest_marker("real_broker") and broker == "tansu")
            or (item.get_closest_marker("one_runner") and runner == "faust")
            or (item.get_closest_marker("each_once") and (runner, broker) in {("faust", "kafka"), ("direct", "tansu")})
        ):
            item.add_marker(pytest.mark.nightly)


@pytest.fixture(scope="session")
def embedded_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of an embedded broker."""
    try:
        find_binary()
    except InputError as error:
        pytest.skip(str(error))
    with shared(folder_of_this_run(tmp_path_factory), "tansu", _embedded_broker) as address:
        yield address


@pytest.fixture
def own_embedded_broker(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    """An embedded broker of this test alone."""
    try:
        find_binary()
    except InputError as error:
        pytest.skip(str(error))
    with EmbeddedBroker(log_file=tmp_path / "broker.log") as broker:
        yield broker


@contextmanager
def _embedded_broker(folder: Path) -> Iterator[str]:
    with EmbeddedBroker(log_file=folder / "broker.log") as broker:
        yield broker.client_address


@pytest.fixture(scope="session")
def real_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a real Apache Kafka."""
    reason = why_no_kafka()
    if reason:
        pytest.skip(reason)
    with shared(folder_of_this_run(tmp_path_factory), "kafka", _kafka) as address:
        yield address


@contextmanager
def _kafka(folder: Path) -> Iterator[str]:
    node = KafkaNode(folder / "node", PATIENT, formatted=folder.parent / FORMATTED)
    try:
        address = node.start()
        await_brokers(Broker(address, "kafka", supports_transactions=True))
        yield address
    finally:
        node.kill()


@pytest.fixture
def own_kafka(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaNode]:
    """A real Apache Kafka of this test alone, not yet started: it may be killed and started again."""
    reason = why_no_kafka()
    if reason:
        pytest.skip(reason)
    node = KafkaNode(tmp_path / "kafka", formatted=folder_of_this_run(tmp_path_factory) / FORMATTED)
    try:
        yield node
    finally:
        node.kill()


@pytest.fixture(params=["tansu", pytest.param("kafka", marks=pytest.mark.kafka)])
def broker(request: pytest.FixtureRequest) -> Broker:
    """Each broker in turn."""
    if request.param == "tansu":
        return Broker(request.getfixturevalue("embedded_broker"), "tansu", supports_transactions=False)
    return Broker(request.getfixturevalue("real_kafka"), "kafka", supports_transactions=True)


@pytest.fixture
def topics_prefix(request: pytest.FixtureRequest) -> str:
    """A topic prefix that no other test of this run uses."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[:60]
    return f"{name}-{os.environ.get('PYTEST_XDIST_WORKER', 'gw')}-{next(_numbers)}."


@pytest.fixture(scope="session")
def secure_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKafka]:
    """A real Apache Kafka behind TLS and SASL/PLAIN, with ACLs."""
    reason = why_no_kafka()
    if reason:
        pytest.skip(reason)
    with shared(folder_of_this_run(tmp_path_factory), "secure-kafka", _secure_kafka) as line:
        address, ca_file = line.split(" ", 1)
        yield SecureKafka(address, Path(ca_file), *_USERS)


@contextmanager
def _secure_kafka(folder: Path) -> Iterator[str]:
    """Its address and the PEM file of its authority."""
    key_file, ca_file = _make_certificate(folder)
    admin = _USERS[0]
    users = " ".join(f'user_{name}="{password}"' for name, password in _USERS)
    port = free_port_pair()
    node = KafkaNode(
        folder / "node",
        [
            f"listeners=SASL_SSL://127.0.0.1:{port},CONTROLLER://127.0.0.1:{port + 1}",
            f"advertised.listeners=SASL_SSL://127.0.0.1:{port}",
            "listener.security.protocol.map=SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name=SASL_SSL",
            "sasl.mechanism.inter.broker.protocol=PLAIN",
            "sasl.enabled.mechanisms=PLAIN",
            "listener.name.sasl_ssl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule "
            f'required username="{admin[0]}" password="{admin[1]}" {users};',
            f"ssl.keystore.location={key_file}",
            "ssl.keystore.type=PEM",
            f"ssl.truststore.location={ca_file}",
            "ssl.truststore.type=PEM",
            "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            f"super.users=User:{admin[0]};User:ANONYMOUS",
            *PATIENT,
        ],
        port=port,
        formatted=folder.parent / FORMATTED,
    )
    try:
        address = node.start()
        await_brokers(SecureKafka(address, ca_file, *_USERS).as_user(admin))
        yield f"{address} {ca_file}"
    finally:
        node.kill()


def _make_certificate(folder: Path) -> tuple[Path, Path]:
    """PEM files of the broker's key with its certificate, and of that certificate alone, which is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    hosts = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName(hosts), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    plain = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    key_file, ca_file = folder / "broker.pem", folder / "ca.pem"
    ca_file.write_bytes(certificate.public_bytes(Encoding.PEM))
    key_file.write_bytes(key.private_bytes(*plain) + ca_file.read_bytes())
    return key_file, ca_file
