"""What tests of the worker on a broker share: a rig around one plant, and what came out of it against what must."""

from __future__ import annotations

import socket
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import orjson
from confluent_kafka import OFFSET_END, Consumer, IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec
from prometheus_client.parser import text_string_to_metric_families

from tests.helpers.plant import THRESHOLD, Expected, Message, Plant, expect
from tests.integration.kafka_tools import Broker, Record, consume_all, create_topic, create_topics, produce
from tests.integration.processes import WorkerProcess, run_worker, start_worker
from tests.unit.stream.bundles import Recipe, write_bundle

RUNNERS = ("faust", "direct")

# Normal rows score up to 0.5, those of a fault 3 and more.
RECIPE = Recipe(channels=("a", "b", "c", "d"), window=8, stride=2)

# A worker starts within 3 s on a machine of its own; tests share theirs.
PATIENCE_S = 120.0
# A process that is told to end does so within ten seconds on a machine of its own; one that hangs does not in a minute.
STOPS_WITHIN_S = 60.0
# Settings by which a worker soon notices what has become of its topics.
ASKS_OFTEN = {"WHEELTAPPER_INPUT__CHECK_INTERVAL_S": "1.0"}


@dataclass
class Rig:
    """Topics and a group of one test's own on a broker, and a bundle for its workers.

    Attributes:
        threshold: variables of its workers' threshold: `THRESHOLD`, which the reference knows; empty: the worker's defaults.
    """

    broker: Broker
    runner: str
    prefix: str
    folder: Path
    recipe: Recipe
    bundle: Path
    sensors: str
    produced: int = 0
    threshold: dict[str, str] = field(default_factory=lambda: threshold_variables())
    _started: int = 0

    def produce(self, messages: Iterable[Message], **how: Any) -> None:
        """Send them and remember how many."""
        self.produced += produce(self.broker, self.sensors, messages, **how)

    def start(self, **how: Any) -> AbstractContextManager[WorkerProcess]:
        """A worker in the background; `how` as for `worker_command`."""
        return start_worker(self.broker, [self.bundle], self._log_file(), **self.usual(how))

    def run(self, **how: Any) -> WorkerProcess:
        """A worker until it is idle, which ends with 0."""
        return run_worker(self.broker, [self.bundle], self._log_file(), **self.usual(how))

    def _log_file(self) -> Path:
        self._started += 1
        return self.folder / f"worker-{self._started}.log"

    def usual(self, how: dict[str, Any]) -> dict[str, Any]:
        options = ["--group", self.group, *how.pop("options", ())]
        environment = {**self.threshold, **(how.pop("environment", None) or {})}
        return {
            "runner": self.runner, "prefix": self.prefix, "options": options, "environment": environment, **how,
        }  # fmt: skip

    @property
    def group(self) -> str:
        return f"{self.prefix}group"

    @property
    def transactional(self) -> bool:
        """True where output and offsets commit together."""
        return self.runner == "direct" and self.broker.supports_transactions

    def expect(self, plant: Plant) -> Expected:
        """What must come of these rows."""
        return expect(plant, self.recipe, self.bundle)

    def records(self, name: str) -> list[Record]:
        """What lies in one of the project's topics, as a reader of committed data sees it in the end."""
        topic = f"{self.prefix}{name}"
        if self.transactional:
            _await_open_transactions(self.broker, topic)
        return consume_all(self.broker, topic, timeout_s=PATIENCE_S)

    def messages(self, name: str) -> list[dict[str, Any]]:
        """The same, parsed."""
        return [orjson.loads(record.value or b"null") for record in self.records(name)]

    def make_sensors_anew(self) -> None:
        """Delete the input topic and create it again."""
        admin = AdminClient(self.broker.client())
        partitions = len(admin.list_topics(timeout=60).topics[self.sensors].partitions)
        admin.delete_topics([self.sensors], operation_timeout=60)[self.sensors].result()
        create_topic(self.broker, self.sensors, partitions)

    def empty(self, name: str) -> None:
        """Delete the records of one of the project's topics."""
        topic = f"{self.prefix}{name}"
        admin = AdminClient(self.broker.client())
        ends = [
            TopicPartition(topic, number, OFFSET_END) for number in admin.list_topics(topic).topics[topic].partitions
        ]
        for future in admin.delete_records(ends, request_timeout=60).values():
            future.result()

    def committed(self) -> dict[int, int]:
        """Partition -> committed offset, of the partitions that have one."""
        client = Consumer(self.broker.client(**{"group.id": self.group}))
        try:
            partitions = client.list_topics(self.sensors, timeout=60).topics[self.sensors].partitions
            asked = [TopicPartition(self.sensors, number) for number in partitions]
            deadline = time.monotonic() + PATIENCE_S
            while True:
                try:
                    found = client.committed(asked, timeout=10)
                    break
                except KafkaException:  # a broker that has just started does not know its groups yet
                    assert time.monotonic() < deadline
                    time.sleep(0.5)
            return {answer.partition: answer.offset for answer in found if answer.offset >= 0}
        finally:
            client.close()

    def ends(self) -> dict[int, int]:
        """Partition -> offset behind its last message, of the partitions that hold any."""
        ends: dict[int, int] = {}
        for record in consume_all(self.broker, self.sensors, timeout_s=PATIENCE_S):
            ends[record.partition] = max(ends.get(record.partition, 0), record.offset + 1)
        return ends


def threshold_variables() -> dict[str, str]:
    """`THRESHOLD` as a worker's variables."""
    return {
        f"WHEELTAPPER_THRESHOLD__{name.upper()}": str(value)
        for name, value in THRESHOLD.model_dump(exclude_unset=True).items()
    }


def _await_open_transactions(broker: Broker, topic: str) -> None:
    """Until the broker has ended what a killed worker left open: up to 30 s, unless its successor has its id."""
    admin = AdminClient(broker.client())
    asked = {
        TopicPartition(topic, number): OffsetSpec.latest()
        for number in admin.list_topics(topic).topics[topic].partitions
    }
    deadline = time.monotonic() + PATIENCE_S
    while True:
        every, committed = (
            {tp: future.result().offset for tp, future in admin.list_offsets(asked, isolation_level=level).items()}
            for level in (IsolationLevel.READ_UNCOMMITTED, IsolationLevel.READ_COMMITTED)
        )
        if every == committed:
            return
        assert time.monotonic() < deadline, f"{topic}: a transaction stays open"
        time.sleep(0.5)


def make_rig(
    broker: Broker, runner: str, prefix: str, folder: Path, *, partitions: int = 4, sensors: str | None = None
) -> Rig:
    """Topics and bundle; `sensors` is the full name of an input topic that exists already."""
    folder.mkdir(parents=True, exist_ok=True)
    bundle = write_bundle(folder, RECIPE)
    create_topics(broker, prefix, partitions)
    return Rig(broker, runner, prefix, folder, RECIPE, bundle, sensors or f"{prefix}sensors")


def side_by_side(rigs: Iterable[Rig], scenario: Callable[[Rig], None]) -> None:
    """The scenario on every rig at the same time: most of it is waiting for the broker to miss somebody.

    Raises:
        Exception: what the first rig's, else the next one's raised, with a note that says whose it was.
    """
    rigs = list(rigs)
    with ThreadPoolExecutor(len(rigs)) as pool:
        for rig, outcome in zip(rigs, [pool.submit(scenario, rig) for rig in rigs], strict=True):
            try:
                outcome.result()
            except BaseException as error:
                error.add_note(f"by the runner {rig.runner} on {rig.broker.kind}; logs in {rig.folder}")
                raise


def assert_alerts(rig: Rig, expected: Expected, *, exactly_once: bool, machines: Collection[str] | None = None) -> None:
    """Alerts and localizations are those of the reference: ids, events, times, and what they say.

    Args:
        machines: whose are looked at; None: everybody's.
    """
    for name, wanted, key in (
        ("alerts", expected.alerts, ("alert_id", "event", "time")),
        ("localizations", expected.localizations, ("alert_id", "time")),
    ):
        found = [message for message in rig.messages(name) if machines is None or message["machine"] in machines]
        _assert_events(found, wanted, key, exactly_once)


def _assert_events(
    found: list[dict[str, Any]], expected: list[dict[str, Any]], key: tuple[str, ...], exactly_once: bool
) -> None:
    def name(message: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(message[field] for field in key)

    counts, wanted = Counter(map(name, found)), Counter(map(name, expected))
    assert set(counts) == set(wanted), f"missing {set(wanted) - set(counts)}, not expected {set(counts) - set(wanted)}"
    if exactly_once:
        assert counts == wanted, f"more than once: {counts - wanted}"
    by_name = {name(message): message for message in expected}
    for message in found:
        wanted_one = by_name[name(message)]
        assert_like(_without_input(message), _without_input(wanted_one))
        # Offsets are those of the messages that were really sent.
        assert (message.get("input") is None) == (wanted_one.get("input") is None), name(message)


def _without_input(message: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in message.items() if key != "input"}


def assert_like(found: Any, wanted: Any, where: str = "message") -> None:
    """Equal, numbers to six digits."""
    if isinstance(wanted, dict):
        assert found.keys() == wanted.keys(), where
        for key, value in wanted.items():
            assert_like(found[key], value, f"{where}.{key}")
    elif isinstance(wanted, list):
        assert len(found) == len(wanted), where
        for index, value in enumerate(wanted):
            assert_like(found[index], value, f"{where}[{index}]")
    elif isinstance(wanted, float):
        assert abs(found - wanted) <= 1e-5 * max(1.0, abs(wanted)), f"{where}: {found} instead of {wanted}"
    else:
        assert found == wanted, f"{where}: {found!r} instead of {wanted!r}"


def assert_scores(rig: Rig, expected: Expected, *, exactly_once: bool) -> None:
    """Every window has its score, and it is the reference's."""
    counts: Counter[tuple[str, int]] = Counter()
    for block in rig.messages("scores"):
        for time_us, score in zip(block["time"], block["score"], strict=True):
            name = (block["machine"], time_us)
            counts[name] += 1
            assert name in expected.scores, f"a score that should not be: {name}"
            assert abs(score - expected.scores[name]) <= 1e-4 * max(1.0, expected.scores[name]), name
    assert set(counts) == set(expected.scores), f"{len(set(expected.scores) - set(counts))} scores are missing"
    if exactly_once:
        assert max(counts.values()) == 1, f"twice: {[name for name, count in counts.items() if count > 1][:5]}"


def assert_committed_to_the_end(rig: Rig) -> None:
    """Nothing that was produced waits, and no commit lies behind the end."""
    assert rig.committed() == rig.ends()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def http_get(port: int, path: str) -> tuple[int, str]:
    """(status, body) of a worker's health server; (0, '') where nothing listens yet."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return 0, ""


def metrics(port: int) -> dict[str, float]:
    """Metric -> value, summed over its labels; empty where nothing listens yet."""
    totals: dict[str, float] = {}
    for family in text_string_to_metric_families(http_get(port, "/metrics")[1]):
        for sample in family.samples:
            totals[sample.name] = totals.get(sample.name, 0.0) + sample.value
    return totals


def wait_until(
    condition: Callable[[], bool],
    what: str,
    worker: WorkerProcess,
    timeout_s: float = PATIENCE_S,
    tell: Callable[[], object] = str,
) -> None:
    """Until `condition` holds; fails with the worker's log where it ends, or where it takes too long, and with what `tell` says."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert worker.process.poll() is None, f"worker ended before {what}:\n{worker.log()[-4000:]}"
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what} {tell()}\n{worker.log()[-4000:]}"
        time.sleep(0.1)


def await_counts(worker: WorkerProcess, port: int, expected: Mapping[str, float]) -> None:
    """Until the worker's metrics are these: what it counts of one message, it counts one after the other."""

    def differing() -> dict[str, float | None]:
        found = metrics(port)
        return {name: found.get(name) for name, value in expected.items() if found.get(name) != value}

    wait_until(lambda: not differing(), "its counts were as expected", worker, tell=differing)


def await_rows(worker: WorkerProcess, port: int, rows: int) -> None:
    """Until the worker has handled exactly so many."""
    await_counts(worker, port, {"wheeltapper_rows_total": rows})


class Feed:
    """Messages that arrive over time, from a thread: a context manager that ends when all have been sent."""

    def __init__(self, rig: Rig, messages: Sequence[Message], seconds: float) -> None:
        self._rig = rig
        self._messages = messages
        self._pause_s = seconds / len(messages)
        self._failure: BaseException | None = None
        self._hurry = threading.Event()
        self._thread = threading.Thread(target=self._send, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self._hurry.set()
        if kind is None:
            self.wait()

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def wait(self, timeout_s: float = PATIENCE_S) -> None:
        """Until everything was delivered, without further pauses."""
        self._hurry.set()
        self._thread.join(timeout_s)
        assert not self._thread.is_alive(), f"the feed was not delivered in {timeout_s:g} s"
        if self._failure is not None:
            raise self._failure

    def _send(self) -> None:
        try:
            self._rig.produce(self._slowly())
        except BaseException as error:
            self._failure = error

    def _slowly(self) -> Iterator[Message]:
        for message in self._messages:
            self._hurry.wait(self._pause_s)
            yield message
