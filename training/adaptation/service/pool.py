"""Runs jobs in niced processes of their own, bounded in time and memory: one that dies harms nobody else."""

from __future__ import annotations

import multiprocessing
import os
import resource
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pebble import ProcessExpired, ProcessPool

from wheeltapper.training.adaptation.service.life import JobOutcome
from wheeltapper.training.fitting.processes import ONE_THREAD, environment, exit_text, prepare

# Scoring and whatever else the machine does come first.
NICE = 10


class JobPool:
    """Starts jobs and tells which have ended; use as a context manager, which ends them all."""

    def __init__(
        self,
        workers: int,
        log: Path,
        *,
        execute: Callable[[Any], JobOutcome],
        timeout_s: float,
        memory_mb: int,
    ) -> None:
        """
        Args:
            workers: jobs side by side.
            log: what jobs print goes there.
            execute: a function of a module, called in the process with the job.
            timeout_s, memory_mb: a job that takes longer is killed; one that needs more address space fails.
        """
        self._log = log
        self._execute = execute
        self._timeout_s = timeout_s
        self._memory_mb = memory_mb
        self._workers = workers
        self._running: dict[str, tuple[Future[JobOutcome], float]] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        # Processes inherit it when they start: one for each job, so that none starts with what another has left in memory.
        self._stack.enter_context(environment(ONE_THREAD))
        self._pool = ProcessPool(
            self._workers,
            max_tasks=1,
            initializer=_start,
            initargs=(str(self._log), os.getpid(), self._memory_mb),
            context=multiprocessing.get_context("spawn"),
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.stop()
        self._pool.join()
        self._stack.close()

    def __len__(self) -> int:
        return len(self._running)

    def start(self, ident: str, job: Any) -> None:
        """Start a job; its time runs from now."""
        future = self._pool.schedule(self._execute, args=[job], timeout=self._timeout_s)
        self._running[ident] = future, time.monotonic()

    def ended(self) -> list[tuple[str, JobOutcome]]:
        """Jobs that have ended since the last call, each with its outcome."""
        done = [ident for ident, (future, _) in self._running.items() if future.done()]
        return [(ident, self._outcome(*self._running.pop(ident))) for ident in done]

    def _outcome(self, future: Future[JobOutcome], started: float) -> JobOutcome:
        seconds = time.monotonic() - started
        try:
            error = future.exception()
        except CancelledError:
            return JobOutcome("failed", "cancelled")
        if error is None:
            return future.result()
        if isinstance(error, TimeoutError):
            return JobOutcome("failed", f"killed after {seconds:.0f} s (adaptation.job_timeout_s)")
        if isinstance(error, ProcessExpired):
            text = f"its process ended by itself ({exit_text(error.exitcode)}) after {seconds:.0f} s"
            return JobOutcome("failed", f"{text}; {self._log} may say why")
        if isinstance(error, MemoryError):
            return JobOutcome(
                "failed", f"more than {self._memory_mb} MB of memory were needed (adaptation.job_memory_mb)"
            )
        return JobOutcome("failed", f"{type(error).__name__}: {error}; {self._log} may say more")


def _start(log: str, parent: int, memory_mb: int) -> None:
    prepare(log, parent)
    os.nice(NICE)
    resource.setrlimit(resource.RLIMIT_AS, (memory_mb * 2**20, memory_mb * 2**20))
