"""A real Apache Kafka for the length of a measurement, and what is written to and read from it outside of the contenders."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from workload import PARTITIONS

REPOSITORY = Path(__file__).resolve().parents[2]


def find_kafka() -> Path | None:
    """The start script: named by WHEELTAPPER_TEST_KAFKA or WHEELTAPPER_KAFKA, else beside the checkout."""
    for variable in ("WHEELTAPPER_TEST_KAFKA", "WHEELTAPPER_KAFKA"):
        named = os.environ.get(variable)
        if named and not Path(named).is_file():
            raise SystemExit(f"bench: {variable} is {named}, which is no file; expected Kafka's start script")
        if named:
            return Path(named)
    beside = REPOSITORY.parent / "shared" / "kafka" / "kafka"
    return beside if beside.is_file() else None


@contextmanager
def running_kafka(script: Path, folder: Path) -> Iterator[str]:
    """Starts a broker on an empty folder, gives its address, and kills it at the end."""
    started = subprocess.run(
        [script, "start", folder, str(_free_port_pair()), "log.retention.ms=-1"], capture_output=True, text=True
    )
    try:
        if started.returncode != 0:
            raise RuntimeError(f"{script} start: {started.stderr.strip()[-500:]}")
        yield started.stdout.strip().splitlines()[-1]
    finally:
        if (folder / "pid").is_file():
            subprocess.run([script, "kill", folder], check=False)


def _free_port_pair() -> int:
    """A port P such that P and P + 1 (the controller's) are free now."""
    while True:
        with socket.socket() as first:
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            if port < 65_535:
                with socket.socket() as second:
                    if second.connect_ex(("127.0.0.1", port + 1)) != 0:
                        return port


def create_topics(brokers: str, names: Iterable[str], *, compact: Iterable[str] = ()) -> None:
    """Creates topics of `PARTITIONS` partitions and waits until every one has its leaders."""
    compacted = set(compact)
    wanted = [
        NewTopic(name, PARTITIONS, 1, config={"cleanup.policy": "compact" if name in compacted else "delete"})
        for name in (*names, *compacted)
    ]
    admin = AdminClient({"bootstrap.servers": brokers})
    for future in admin.create_topics(wanted).values():
        future.result(30)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        known = admin.list_topics(timeout=10).topics
        if all(len(known[t.topic].partitions) == PARTITIONS for t in wanted if t.topic in known) and all(
            t.topic in known for t in wanted
        ):
            return
        time.sleep(0.1)
    raise RuntimeError(f"topics {[t.topic for t in wanted]} have no leaders after 30 s")


def new_producer(brokers: str, **more: object) -> Producer:
    """Idempotent, because librdkafka may reorder the first rows of a new topic otherwise; Java's partitioner."""
    return Producer(
        {
            "bootstrap.servers": brokers,
            "enable.idempotence": True,
            "partitioner": "murmur2_random",
            "queue.buffering.max.messages": 1_000_000,
            "queue.buffering.max.kbytes": 1_000_000,
            **more,
        }
    )


def fill(brokers: str, topic: str, messages: Iterable[tuple[bytes, bytes, list[tuple[str, bytes]]]]) -> int:
    """Produces (key, value, headers) and waits for every delivery; returns how many there were."""
    failures: list[object] = []

    def delivered(error: object, _message: object) -> None:
        if error is not None:
            failures.append(error)

    producer = new_producer(brokers, **{"linger.ms": 50})
    count = 0
    for key, value, headers in messages:
        while True:
            try:
                producer.produce(topic, value, key, headers=headers, on_delivery=delivered)
                break
            except BufferError:
                producer.poll(0.1)
        count += 1
        if count % 1000 == 0:
            producer.poll(0)
    producer.flush(120)
    if failures or len(producer):
        raise RuntimeError(f"{topic}: {len(failures)} messages failed, {len(producer)} undelivered: {failures[:1]}")
    return count


def read_events(brokers: str, topic: str) -> list[tuple[str, str, int, int]]:
    """Every committed opened and cleared step on an alerts topic, in no particular order, repeats included."""
    consumer = Consumer(
        {
            "bootstrap.servers": brokers,
            "group.id": "bench-check",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
        }
    )
    events = []
    try:
        consumer.assign([TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)])
        ended: set[int] = set()
        deadline = time.monotonic() + 60
        while len(ended) < PARTITIONS:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{topic}: not read to its end in 60 s (an open transaction?)")
            for message in consumer.consume(1000, 0.5):
                if message.error() is not None:
                    if message.error().name() == "_PARTITION_EOF":
                        ended.add(message.partition())
                        continue
                    raise RuntimeError(f"{topic}: {message.error()}")
                alert = orjson.loads(message.value())
                if alert["event"] in ("opened", "cleared"):
                    events.append((alert["machine"], alert["event"], alert["opened_at"], alert["time"]))
    finally:
        consumer.close()
    return events
