"""What integration and chaos tests do with brokers and workers, apart from what they assert."""

from __future__ import annotations

import os
import resource
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic

from wheeltapper.schemas.topics import TOPICS, topic_name

CHECKOUT = Path(__file__).resolve().parents[2]
# Of a Kafka that several test processes share: on a busy machine it may be late with its heartbeat, and must not count
# itself as lost for that. (One that is killed and started again could not register so long.)
PATIENT = ("broker.session.timeout.ms=60000", "broker.heartbeat.interval.ms=10000")
# A node of the tests idles most of the time: with these for half of the CPU time.
QUIET = ("metadata.max.idle.interval.ms=0", "num.network.threads=1", "num.io.threads=2")
# Java compiles quickly instead of well: brokers of tests live for minutes. Less than half of the CPU time.
JAVA_ENVIRONMENT = {"JAVA_TOOL_OPTIONS": "-XX:TieredStopAtLevel=1"}
# A partition costs a real Kafka a hundredth of a CPU second, and nearly every test has topics of its own.
OF_ALL_PARTITIONS = ("sensors", "audio", "scores", "alerts", "state")
# The largest message of any test is 20 MB. What brokers and topics take is theirs to say: brokers have their default limits.
LARGEST_MESSAGE = 32 * 1024 * 1024


@dataclass(frozen=True)
class Broker:
    """A broker that a test may use; `config` is what a confluent-kafka client needs to reach it."""

    address: str
    kind: str
    supports_transactions: bool
    config: dict[str, str] = field(default_factory=dict)

    def client(self, **options: Any) -> dict[str, Any]:
        return {"bootstrap.servers": self.address, "log_level": 0, **self.config, **options}


@dataclass(frozen=True)
class Record:
    """A message as it came."""

    key: bytes | None
    value: bytes | None
    headers: dict[str, bytes]
    partition: int
    offset: int
    timestamp_ms: int


def find_kafka_script() -> Path | None:
    """The start script of a real Apache Kafka: $WHEELTAPPER_TEST_KAFKA, else shared/kafka/kafka beside the checkout."""
    named = os.environ.get("WHEELTAPPER_TEST_KAFKA")
    script = Path(named) if named else CHECKOUT.parent / "shared" / "kafka" / "kafka"
    return script if script.is_file() else None


def why_no_kafka() -> str | None:
    """What a real Apache Kafka lacks here; None where it can be started."""
    if find_kafka_script() is None:
        return "needs a real Apache Kafka: name its start script in WHEELTAPPER_TEST_KAFKA"
    return None if shutil.which("java") else "needs a real Apache Kafka, which needs Java 17"


def free_port_pair() -> int:
    """A port P with P and P + 1 free: the broker's and its controller's.

    Below the ports that the system gives to clients: until the broker listens, one of theirs would be taken by any of the many
    clients of other tests. By chance that no seed repeats, as test processes are seeded alike.
    """
    chance = secrets.SystemRandom()
    while True:
        port = chance.randrange(15_000, 32_000, 2)
        with socket.socket() as first, socket.socket() as second:
            try:
                first.bind(("127.0.0.1", port))
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port


class KafkaNode:
    """A real Apache Kafka of one node, by its start script. Its data stay in `folder` over kill and start.

    Args:
        formatted: a folder that the first of several nodes fills with what formatting writes; the others copy it, which saves
            them a Java program of two seconds.
    """

    def __init__(
        self, folder: Path, settings: Sequence[str] = (), *, port: int | None = None, formatted: Path | None = None
    ) -> None:
        script = find_kafka_script()
        assert script is not None, why_no_kafka()
        self._script = script
        self._folder = folder
        self._formatted = formatted
        self._port = port or free_port_pair()
        self._settings = [
            # Transactions that a killed worker left open are looked for this often: 10 s otherwise.
            "transaction.abort.timed.out.transaction.cleanup.interval.ms=1000",
            *QUIET,
            *settings,
        ]

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    def add_settings(self, *settings: str) -> None:
        """KEY=VALUE, of the next start."""
        self._settings += settings

    @property
    def pid(self) -> int:
        """Of its process, while it runs."""
        return int((self._folder / "pid").read_text())

    @property
    def data(self) -> Path:
        """Folder of its logs, one folder in it for each partition."""
        return self._folder / "data"

    def partitions(self, prefix: str = "") -> list[Path]:
        """Folders of the partitions of topics whose names begin so, but for the cluster's own metadata."""
        found = sorted(path for path in self.data.glob(f"{prefix}*-*") if path.is_dir())
        return [path for path in found if not path.name.startswith("__cluster_metadata")]

    def stand_still(self, seconds: float) -> None:
        """SIGSTOP, and SIGCONT later: its connections stay open, it does nothing."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            time.sleep(seconds)
        finally:
            os.kill(self.pid, signal.SIGCONT)

    def fill_disk(self, bytes_left: int, timeout_s: float = 120.0) -> None:
        """Let no file grow by more than so much beyond the largest log there is; returns once the broker has ended by that.

        To it a limit on files is what a full disk is: a write fails, and as it has no other folder it goes. Needs no rights.
        """
        largest = max(path.stat().st_size for path in self.data.glob("*/*.log"))
        pid = self.pid
        _, most = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (largest + bytes_left, most))
        deadline = time.monotonic() + timeout_s
        while Path(f"/proc/{pid}").exists() and b"java" in Path(f"/proc/{pid}/cmdline").read_bytes():
            assert time.monotonic() < deadline, f"Kafka goes on after {timeout_s:g} s without room for its logs"
            time.sleep(0.2)

    def start(self) -> str:
        """Start, wait until it listens, return the address."""
        data = self._folder / "data"
        if self._formatted is not None and self._formatted.is_dir() and not data.exists():
            shutil.copytree(self._formatted, data)
        command = [str(self._script), "start", str(self._folder), str(self._port), *self._settings]
        environment = {**os.environ, **JAVA_ENVIRONMENT}
        done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment)
        if done.returncode != 0:
            self.kill()
            raise RuntimeError(f"Kafka did not start: {done.stderr[-2000:]}")
        if self._formatted is not None and not self._formatted.exists():
            _keep_what_formatting_wrote(data, self._formatted)
        return self.address

    def stop(self) -> None:
        """As an operator would."""
        subprocess.run([str(self._script), "stop", str(self._folder)], check=True, timeout=60)

    def kill(self) -> None:
        """kill -9, as a power cut would; nothing happens if it does not run."""
        if (self._folder / "pid").is_file():
            subprocess.run([str(self._script), "kill", str(self._folder)], capture_output=True, timeout=60)


def _keep_what_formatting_wrote(data: Path, kept: Path) -> None:
    """Nothing is kept where another process has done so meanwhile, or where the start script writes something else."""
    found = [data / name for name in ("meta.properties", "bootstrap.checkpoint")]
    if all(path.is_file() for path in found):
        own = kept.with_name(f"{kept.name}-{os.getpid()}")
        own.mkdir()
        for path in found:
            shutil.copy(path, own)
        with suppress(OSError):
            own.rename(kept)


def await_brokers(broker: Broker, timeout_s: float = 120.0) -> None:
    """Until a Kafka that listens also works: a new one tells its clients for a while that it has no brokers."""
    admin = AdminClient(broker.client())
    deadline = time.monotonic() + timeout_s
    while True:
        with suppress(KafkaException):
            if admin.list_topics(timeout=5).brokers:
                return
        assert time.monotonic() < deadline, f"{broker.address}: has no brokers after {timeout_s:g} s"
        time.sleep(0.1)


def create_topics(broker: Broker, prefix: str, partitions: int = 4) -> None:
    """Every topic of the project, as `wheeltapper topics create` makes them, but seldom used ones with one partition."""
    _create(
        broker,
        [
            NewTopic(
                topic_name(prefix, spec.name),
                (spec.partitions or partitions) if spec.name in OF_ALL_PARTITIONS else 1,
                1,
                config=spec.kafka_config(),
            )
            for spec in TOPICS.values()
        ],
    )


def create_topic(broker: Broker, name: str, partitions: int, **config: str) -> None:
    """One topic of the test's own."""
    settings = {key.replace("_", "."): value for key, value in config.items()}
    _create(broker, [NewTopic(name, partitions, 1, config=settings)])


def _create(broker: Broker, topics: list[NewTopic]) -> None:
    """Returns once the broker has all of them with their leaders: its answer comes earlier."""
    admin = AdminClient(broker.client())
    for future in admin.create_topics(topics, operation_timeout=60, request_timeout=60).values():
        future.result()
    waiting = {topic.topic for topic in topics}
    deadline = time.monotonic() + 120
    while waiting:
        assert time.monotonic() < deadline, f"topics without leaders after 120 s: {waiting}"
        found = admin.list_topics(timeout=60).topics
        waiting = {
            name
            for name in waiting
            if name not in found
            or not found[name].partitions
            or any(partition.leader < 0 for partition in found[name].partitions.values())
        }
        time.sleep(0.05 if waiting else 0)


def topic_settings(broker: Broker, name: str) -> dict[str, str]:
    """A topic's settings as the broker tells them."""
    admin = AdminClient(broker.client())
    resource = ConfigResource(ConfigResource.Type.TOPIC, name)
    entries = admin.describe_configs([resource], request_timeout=60)[resource].result()
    return {key: entry.value for key, entry in entries.items() if entry.value is not None}


def limit_messages(broker: Broker, topic: str, largest: int, timeout_s: float = 120.0) -> None:
    """Let a topic of a real Kafka take messages of less than `largest` bytes; returns once it refuses others.

    Its answer to the change, and what it tells of the setting, come earlier than that. What the probes send is aborted.
    """
    entry = ConfigEntry("max.message.bytes", str(largest), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
    admin = AdminClient(broker.client())
    admin.incremental_alter_configs([resource])[resource].result()
    probe = Producer(broker.client(**{"transactional.id": f"{topic}-probe"}))
    probe.init_transactions(60)
    refusals: list[KafkaError] = []

    def on_delivery(error: KafkaError | None, _message: object) -> None:
        if error is not None:
            refusals.append(error)

    deadline = time.monotonic() + timeout_s
    while not refusals:
        assert time.monotonic() < deadline, f"{topic} still takes messages of {largest} bytes after {timeout_s:g} s"
        probe.begin_transaction()
        probe.produce(topic, bytes(largest), key=b"probe", on_delivery=on_delivery)
        probe.flush(60)
        probe.abort_transaction(60)
    assert refusals[0].code() == KafkaError.MSG_SIZE_TOO_LARGE, refusals[0]


def partition_counts(broker: Broker) -> dict[str, int]:
    """Topic name -> number of partitions."""
    topics = AdminClient(broker.client()).list_topics(timeout=60).topics
    return {name: len(topic.partitions) for name, topic in topics.items()}


def produce(
    broker: Broker,
    topic: str,
    records: Iterable[tuple[bytes | None, bytes | None, Sequence[tuple[str, bytes]]]],
    *,
    transaction: str | None = None,
    abort: bool = False,
    timestamp_ms: int | None = None,
    compression: str = "none",
    partitioner: str = "consistent_random",
) -> int:
    """Send (key, value, headers) in order, idempotently, and wait for every delivery; returns their number.

    Args:
        transaction: transactional id, to send all in one transaction; `abort` ends it so.
        partitioner: of librdkafka; records without a key lie in another partition each time, unless it is 'consistent'.
    """
    options: dict[str, Any] = {
        "enable.idempotence": True,
        "message.max.bytes": LARGEST_MESSAGE,
        "compression.type": compression,
        "partitioner": partitioner,
    }
    if transaction is not None:
        options["transactional.id"] = transaction
    producer = Producer(broker.client(**options))
    failures: list[KafkaError] = []
    delivered = 0

    def on_delivery(error: KafkaError | None, _message: object) -> None:
        nonlocal delivered
        if error is None:
            delivered += 1
        else:
            failures.append(error)

    if transaction is not None:
        producer.init_transactions(60)
        producer.begin_transaction()
    stamp = {} if timestamp_ms is None else {"timestamp": timestamp_ms}
    for key, value, headers in records:
        while True:
            try:
                producer.produce(topic, value, key=key, headers=list(headers), on_delivery=on_delivery, **stamp)
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    left = producer.flush(120)
    if transaction is not None:
        if abort:
            producer.abort_transaction(30)
        else:
            producer.commit_transaction(30)
    assert not left, f"{left} messages to {topic} not delivered in 120 s"
    assert not failures, f"{topic}: {failures[0]}"
    return delivered


def consume_all(
    broker: Broker,
    topic: str,
    *,
    at_least: int = 0,
    timeout_s: float = 120.0,
    isolation: str = "read_committed",
) -> list[Record]:
    """Every record up to the topic's end; where there are fewer than `at_least`, those that follow in `timeout_s` too.

    In the order of each partition, partitions mixed.
    """
    consumer = Consumer(
        broker.client(
            **{
                "group.id": "tests",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "isolation.level": isolation,
                "auto.offset.reset": "earliest",
            }
        )
    )
    records: list[Record] = []
    try:
        partitions = consumer.list_topics(topic, timeout=60).topics[topic].partitions
        assert partitions, f"topic {topic} does not exist"
        consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in partitions])
        unfinished = set(partitions)
        deadline = time.monotonic() + timeout_s
        while unfinished or len(records) < at_least:
            assert time.monotonic() < deadline, (
                f"{topic}: {len(records)} records in {timeout_s:g} s, expected {at_least}; ends not reached: {unfinished}"
            )
            for message in consumer.consume(5_000, timeout=0.2):
                error = message.error()
                if error is not None:
                    assert error.code() == KafkaError._PARTITION_EOF or error.retriable(), str(error)
                    if error.code() == KafkaError._PARTITION_EOF:
                        unfinished.discard(message.partition())
                    continue
                records.append(
                    Record(
                        message.key(),
                        message.value(),
                        dict(message.headers() or ()),
                        message.partition(),
                        message.offset(),
                        message.timestamp()[1],
                    )
                )
    finally:
        consumer.close()
    return records
