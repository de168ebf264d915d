"""Worker processes that may hang, crash or be killed without harm to the run or to each other: a pebble pool.

A dead process or a job beyond its deadline costs that job alone, unlike in `concurrent.futures`, whose whole pool breaks.
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
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from pebble import ProcessExpired, ProcessPool

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
        self._stack = ExitStack()
        self._running: dict[Future[Outcome], tuple[Job, float]] = {}

    def __enter__(self) -> Pool:
        # Processes inherit it when they start, and a new one starts for each that dies.
        self._stack.enter_context(_environment(ONE_THREAD))
        self._pool = ProcessPool(
            self._count,
            initializer=_prepare,
            initargs=(str(self._log), os.getpid()),
            context=multiprocessing.get_context("spawn"),
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.stop()
        self._pool.join()
        self._stack.close()

    @property
    def running(self) -> list[Job]:
        return [job for job, _ in self._running.values()]

    def run(
        self, jobs: Sequence[Job], *, on_start: Callable[[Job], None] = lambda job: None
    ) -> Iterator[tuple[Job, Outcome]]:
        """Yields each job with its outcome as it ends; a process that dies or is killed is an outcome too."""
        waiting = deque(jobs)
        while waiting or self._running:
            while waiting and len(self._running) < self._count:  # so that a job's time runs from when it has a process
                job = waiting.popleft()
                future = self._pool.schedule(self._execute, args=[job], timeout=self._limit_s(job))
                self._running[future] = job, time.monotonic()
                on_start(job)
            for future in wait(self._running, return_when=FIRST_COMPLETED).done:
                job, started = self._running.pop(future)
                yield job, self._outcome(future, round(time.monotonic() - started, 3))

    def _outcome(self, future: Future[Outcome], seconds: float) -> Outcome:
        error = future.exception()
        if error is None:
            return future.result()
        if isinstance(error, TimeoutError):
            return _lost("killed", f"killed after {seconds:.0f} s: it did not end in time for its budget", seconds)
        if isinstance(error, ProcessExpired):
            reason = _exit_text(error.exitcode)
            return _lost("failed", f"its process ended by itself ({reason}); {self._log.name} may say why", seconds)
        # pebble hands on whatever leaves a job, SystemExit too: raised here, it would end the run.
        return _lost("failed", f"{type(error).__name__}: {error}; {self._log.name} may say why", seconds)


def _lost(status: str, error: str, seconds: float) -> Outcome:
    return {"status": status, "error": error, "values": {}, "seconds": seconds}


def _prepare(log: str, parent: int) -> None:
    """A worker's start."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends us
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(descriptor, sys.stdout.fileno())
    os.dup2(descriptor, sys.stderr.fileno())
    threading.Thread(target=_end_with_parent, args=(parent,), daemon=True).start()


def _end_with_parent(parent: int) -> None:
    """A parent that was killed says nothing: nobody would want the result of the hours that a training still takes."""
    while os.getppid() == parent:
        time.sleep(_PARENT_CHECK_S)
    os._exit(1)


def _exit_text(code: int) -> str:
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
