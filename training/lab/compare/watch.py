"""Shows how far a comparison is: a bar and what is running on a terminal, a line a job elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from wheeltapper.training.lab.compare.pool import Job


class Shown(Protocol):
    """Told of every job."""

    def start(self, job: Job) -> None: ...

    def end(self, job: Job, outcome: dict[str, Any]) -> None: ...


Watch = Callable[[str, int, int], AbstractContextManager[Shown]]
"""(title, jobs in all, jobs that were done before) -> whom to tell."""


class _Silent:
    def start(self, job: Job) -> None:
        pass

    def end(self, job: Job, outcome: dict[str, Any]) -> None:
        pass


@contextmanager
def silent_watch(title: str, total: int, kept: int) -> Iterator[Shown]:
    """Shows nothing."""
    yield _Silent()


@contextmanager
def console_watch(title: str, total: int, kept: int) -> Iterator[Shown]:
    """On standard error."""
    console = Console(file=sys.stderr, highlight=False, soft_wrap=True)
    if kept:
        console.print(f"{title}: {kept} of {total} were done by an earlier run and still hold", markup=False)
    if kept == total:
        yield _Silent()
        return
    if not console.is_terminal:
        yield _Lines(console, title, total, kept)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn("[dim]{task.fields[now]}"),
    )
    with Progress(*columns, console=console, speed_estimate_period=600) as progress:
        yield _Bar(progress, title, total, kept)


class _Lines:
    def __init__(self, console: Console, title: str, total: int, kept: int) -> None:
        self._console, self._title, self._total, self._done = console, title, total, kept

    def start(self, job: Job) -> None:
        pass

    def end(self, job: Job, outcome: dict[str, Any]) -> None:
        self._done += 1
        self._console.print(f"[{self._done}/{self._total}] {job.title}: {outcome_text(outcome)}", markup=False)


class _Bar:
    def __init__(self, progress: Progress, title: str, total: int, kept: int) -> None:
        self._progress = progress
        self._task = progress.add_task(title, total=total, completed=kept, now="")
        self._running: list[str] = []

    def start(self, job: Job) -> None:
        self._running.append(job.title)
        self._show()

    def end(self, job: Job, outcome: dict[str, Any]) -> None:
        self._running.remove(job.title)
        self._progress.advance(self._task)
        if outcome["status"] != "done":
            self._progress.console.print(f"{job.title}: {outcome_text(outcome)}", markup=False)
        self._show()

    def _show(self) -> None:
        self._progress.update(self._task, now="; ".join(self._running))


def outcome_text(outcome: dict[str, Any]) -> str:
    """'VUS-PR .345, 3.2 s', or why there is none."""
    if outcome["status"] != "done":
        return f"{outcome['status']}: {outcome['error']}"
    vus = outcome["values"].get("vus_pr")
    cut = ", cut by its budget" if outcome["values"].get("cut") else ""
    return f"{f'VUS-PR {vus:.3f}, ' if vus is not None else ''}{outcome['seconds']:.1f} s{cut}"
