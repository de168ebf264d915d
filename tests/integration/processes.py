"""The program's commands as child processes."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import forked
from tests.helpers.forked import Command
from tests.integration.kafka_tools import Broker
from wheeltapper.cli import main


class WorkerProcess:
    """`wheeltapper WORDS..`, a worker for instance, as a child process; its output is in `log_file`."""

    def __init__(self, words: Sequence[str], log_file: Path, environment: dict[str, str] | None = None) -> None:
        self.log_file = log_file
        with log_file.open("ab") as output:
            self.process = Command(
                words,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})},
            )

    def log(self) -> str:
        """What it printed so far."""
        return self.log_file.read_text(errors="replace")

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait()

    def terminate(self, timeout_s: float = 120.0) -> int:
        """SIGTERM, as a supervisor would; returns the exit code."""
        self.process.terminate()
        return self.process.wait(timeout_s)

    def wait(self, timeout_s: float = 240.0) -> int:
        """Its exit code once it ended by itself."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"worker did not end in {timeout_s:g} s:\n{self.log()[-4000:]}") from None

    def wait_for(self, text: str, timeout_s: float = 120.0) -> None:
        """Until it has printed `text`."""
        deadline = time.monotonic() + timeout_s
        while text not in self.log():
            assert self.process.poll() is None, f"worker ended before it said {text!r}:\n{self.log()[-4000:]}"
            assert time.monotonic() < deadline, f"no {text!r} in {timeout_s:g} s:\n{self.log()[-4000:]}"
            time.sleep(0.1)


def worker_command(
    broker: Broker,
    bundles: Sequence[str | Path],
    *,
    runner: str,
    prefix: str | None = None,
    until_idle_s: float | None = None,
    config: Path | None = None,
    options: Sequence[str] = (),
) -> list[str]:
    """The command line of a worker, behind `wheeltapper`."""
    command = ["worker", "--brokers", broker.address, "--runner", runner]
    for bundle in bundles:
        command += ["--bundle", str(bundle)]
    if prefix is not None:
        command += ["--prefix", prefix]
    if until_idle_s is not None:
        command += ["--until-idle", f"{until_idle_s:g}"]
    if config is not None:
        command += ["--config", str(config)]
    return [*command, *options]


@contextmanager
def start_worker(
    broker: Broker,
    bundles: Sequence[str | Path],
    log_file: Path,
    *,
    environment: dict[str, str] | None = None,
    **how: Any,
) -> Iterator[WorkerProcess]:
    """A worker in the background, killed at the end of the block if it still runs; `how` as for `worker_command`."""
    worker = WorkerProcess(worker_command(broker, bundles, **how), log_file, environment)
    try:
        yield worker
    finally:
        worker.kill()


def run_worker(broker: Broker, bundles: Sequence[str | Path], log_file: Path, **how: Any) -> WorkerProcess:
    """A worker until it is idle; it must end with exit code 0. `how` as for `start_worker`."""
    how.setdefault("until_idle_s", 1.0)
    with start_worker(broker, bundles, log_file, **how) as worker:
        code = worker.wait()
        assert code == 0, f"worker ended with {code}:\n{worker.log()[-4000:]}"
    return worker


def run_here(capfd: pytest.CaptureFixture[str], *words: str) -> subprocess.CompletedProcess[str]:
    """`wheeltapper WORDS...` in this process, for what is refused before anything starts; output captured as text."""
    capfd.readouterr()
    try:
        code: Any = main(list(words))
    except SystemExit as end:
        code = end.code
    return subprocess.CompletedProcess(words, code, *capfd.readouterr())


def run_command(
    *words: str, timeout_s: float = 120.0, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """`wheeltapper WORDS...` to its end, output captured as text."""
    return forked.run(words, text=True, timeout=timeout_s, env={**os.environ, **(environment or {})})
