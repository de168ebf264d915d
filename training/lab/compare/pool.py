"""Worker processes that may hang, crash or be killed without harm to the run or to each other.

`concurrent.futures` gives up all its work when one process dies and cannot stop a task that takes too long; both will
happen in a night of training other people's networks.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from wheeltapper.training.lab.compare.jobs import Job

# One thread a worker: jobs are many, and libraries that each start a thread a core only wait for each other.
ONE_THREAD = dict.fromkeys(
    (
        "OMP_NUM_THREADS",
        "MKL_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "NUMEXPR_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
        "NUMBA_NUM_THREADS",
    ),
    "1",
)
# Training that was asked to stop after its budget may take that many times as long: an epoch, a fit cannot be halved.
HARD_FACTOR = 3.0
# Reading, exporting and judging come on top; they have no budget of their own.
GRACE_S = 300.0
_PARENT_CHECK_S = 1.0

Outcome = dict[str, Any]
Execute = Callable[[Job], Outcome]


def hard_limit_s(job: Job) -> float | None:
    """Seconds after which a job's process is killed; None without a budget."""
    return None if job.budget_s is None else HARD_FACTOR * job.budget_s + GRACE_S


@dataclass
class _Worker:
    process: BaseProcess
    connection: Connection
    job: Job | None = None
    started: float = 0.0
    deadline: float | None = None


class Pool:
    """Runs jobs in `workers` processes; use as a context manager, which ends them all."""

    def __init__(
        self,
        workers: int,
        log: Path,
        *,
        execute: Execute,
        limit_s: Callable[[Job], float | None] = hard_limit_s,
    ) -> None:
        """
        Args:
            execute: a function of a module, called in the workers.
            log: what workers print goes there.
            limit_s: when a job's process is killed.
        """
        self._count = workers
        self._log = log
        self._execute = execute
        self._limit_s = limit_s
        self._workers: list[_Worker] = []

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.join()
            worker.connection.close()
        self._workers = []

    @property
    def running(self) -> list[Job]:
        return [worker.job for worker in self._workers if worker.job is not None]

    def run(
        self, jobs: Sequence[Job], *, on_start: Callable[[Job], None] = lambda job: None
    ) -> Iterator[tuple[Job, Outcome]]:
        """Yields each job with its outcome as it ends; a process that dies or is killed is an outcome too."""
        waiting = deque(jobs)
        while waiting or self.running:
            self._hand_out(waiting, on_start)
            busy = [worker for worker in self._workers if worker.job is not None]
            ready = wait([worker.connection for worker in busy], timeout=self._patience(busy))
            for worker in busy:
                assert worker.job is not None
                job = worker.job
                if worker.connection in ready:
                    yield job, self._outcome(worker)
                elif worker.deadline is not None and time.monotonic() >= worker.deadline:
                    yield job, self._kill(worker)

    def _hand_out(self, waiting: deque[Job], on_start: Callable[[Job], None]) -> None:
        idle = deque(worker for worker in self._workers if worker.job is None)
        while waiting and (idle or len(self._workers) < self._count):
            worker = idle.popleft() if idle else self._start()
            try:
                worker.connection.send(waiting[0])
            except OSError:  # it died while it had nothing to do
                self._remove(worker)
                continue
            worker.job, worker.started = waiting.popleft(), time.monotonic()
            limit = self._limit_s(worker.job)
            worker.deadline = None if limit is None else worker.started + limit
            on_start(worker.job)

    def _patience(self, busy: list[_Worker]) -> float | None:
        deadlines = [worker.deadline for worker in busy if worker.deadline is not None]
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else None

    def _outcome(self, worker: _Worker) -> Outcome:
        try:
            outcome: Outcome = worker.connection.recv()
        except (EOFError, OSError):
            worker.process.join(timeout=5)
            code = worker.process.exitcode
            self._remove(worker)
            return self._lost(
                worker, "failed", f"its process ended by itself ({_exit_text(code)}); {self._log.name} may say why"
            )
        worker.job = None
        return outcome

    def _kill(self, worker: _Worker) -> Outcome:
        self._remove(worker)
        limit = time.monotonic() - worker.started
        return self._lost(worker, "killed", f"killed after {limit:.0f} s: it did not end in time for its budget")

    def _lost(self, worker: _Worker, status: str, error: str) -> Outcome:
        seconds = round(time.monotonic() - worker.started, 3)
        return {"status": status, "error": error, "values": {}, "seconds": seconds}

    def _remove(self, worker: _Worker) -> None:
        worker.process.kill()
        worker.process.join()
        worker.connection.close()
        self._workers.remove(worker)

    def _start(self) -> _Worker:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(
            target=_serve, args=(theirs, self._execute, str(self._log), os.getpid()), daemon=True, name="compare-worker"
        )
        with _environment(ONE_THREAD):
            process.start()
        theirs.close()
        worker = _Worker(process, ours)
        self._workers.append(worker)
        return worker


def _serve(connection: Connection, execute: Execute, log: str, parent: int) -> None:
    """A worker's life: jobs in, outcomes out, until the other end goes away."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends us
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(descriptor, sys.stdout.fileno())
    os.dup2(descriptor, sys.stderr.fileno())
    threading.Thread(target=_end_with_parent, args=(parent,), daemon=True).start()
    while True:
        try:
            job = connection.recv()
        except EOFError:
            return
        connection.send(execute(job))


def _end_with_parent(parent: int) -> None:
    """A parent that was killed says nothing: nobody would want the result of the hours that a training still takes."""
    while os.getppid() == parent:
        time.sleep(_PARENT_CHECK_S)
    os._exit(1)


def _exit_text(code: int | None) -> str:
    if code is None:
        return "unknown reason"
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
        return f"signal {name}" + (", often too little memory" if name == "SIGKILL" else "")
    return f"exit code {code}"


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
