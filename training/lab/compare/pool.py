"""Worker processes that may hang, crash or be killed without harm to the run or to each other: a pebble pool.

A dead process or a job beyond its deadline costs that job alone, unlike in `concurrent.futures`, whose whole pool breaks.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from pebble import ProcessExpired, ProcessPool

from wheeltapper.training.fitting.processes import ONE_THREAD, environment, exit_text, prepare

# Training that was asked to stop after its budget may take that many times as long: an epoch, a fit cannot be halved.
HARD_FACTOR = 3.0
# Reading, exporting and judging come on top; they have no budget of their own.
GRACE_S = 300.0

Outcome = dict[str, Any]


class Job(Protocol):
    """One piece of work; plain values only, so that it can be sent to another process."""

    @property
    def title(self) -> str: ...

    @property
    def budget_s(self) -> float | None:
        """Seconds that training may take."""
        ...


J = TypeVar("J", bound=Job)


def hard_limit_s(job: Job) -> float | None:
    """Seconds after which a job's process is killed; None without a budget."""
    return None if job.budget_s is None else HARD_FACTOR * job.budget_s + GRACE_S


class Pool(Generic[J]):
    """Runs jobs in `workers` processes; use as a context manager, which ends them all."""

    def __init__(
        self,
        workers: int,
        log: Path,
        *,
        execute: Callable[[J], Outcome],
        limit_s: Callable[[J], float | None] = hard_limit_s,
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
        self._running: dict[Future[Outcome], tuple[J, float]] = {}

    def __enter__(self) -> Pool[J]:
        # Processes inherit it when they start, and a new one starts for each that dies.
        self._stack.enter_context(environment(ONE_THREAD))
        self._pool = ProcessPool(
            self._count,
            initializer=prepare,
            initargs=(str(self._log), os.getpid()),
            context=multiprocessing.get_context("spawn"),
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.stop()
        self._pool.join()
        self._stack.close()

    @property
    def running(self) -> list[J]:
        return [job for job, _ in self._running.values()]

    def run(
        self, jobs: Sequence[J], *, on_start: Callable[[J], None] = lambda job: None
    ) -> Iterator[tuple[J, Outcome]]:
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
            reason = exit_text(error.exitcode)
            return _lost("failed", f"its process ended by itself ({reason}); {self._log.name} may say why", seconds)
        # pebble hands on whatever leaves a job, SystemExit too: raised here, it would end the run.
        return _lost("failed", f"{type(error).__name__}: {error}; {self._log.name} may say why", seconds)


def _lost(status: str, error: str, seconds: float) -> Outcome:
    return {"status": status, "error": error, "values": {}, "seconds": seconds}
