"""Progress of a long job: a bar on a terminal; in a log a line after each epoch, and inside of a long one every ten seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Report = Callable[[int, float], None]
"""Called after each step: steps done since the first epoch's start, mean loss of this epoch so far."""


# Between two lines of a log, inside of an epoch.
LINE_EVERY_S = 10.0


@contextmanager
def epochs_progress(
    title: str,
    *,
    show: bool,
    epochs: int,
    steps_per_epoch: int,
    done: int = 0,
    notice: str = "",
    budget_s: float | None = None,
) -> Iterator[Report]:
    """A function to be called after each step.

    Args:
        show: False shows nothing at all.
        done: steps done already, by a run that this one continues.
        notice: a line to be printed first.
        budget_s: seconds after which it ends in any case.
    """
    if not show:
        yield lambda steps, loss: None
        return
    console = Console(file=sys.stderr)
    if notice:
        console.print(notice, highlight=False)
    if not console.is_terminal:
        yield _Lines(console, title, epochs, steps_per_epoch, done, budget_s)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(title, total=steps_per_epoch * epochs, completed=done, loss="-")

        def advance(steps: int, loss: float) -> None:
            epoch = (steps - 1) // steps_per_epoch + 1
            bar.update(task, completed=steps, description=f"{title}: epoch {epoch}/{epochs}", loss=f"{loss:.4g}")

        yield advance


class _Lines:
    """Progress as lines of a log, with the share that is done and the time that is left."""

    def __init__(
        self, console: Console, title: str, epochs: int, steps_per_epoch: int, done: int, budget_s: float | None
    ) -> None:
        self._console, self._title, self._epochs, self._steps_per_epoch = console, title, epochs, steps_per_epoch
        self._done, self._budget_s = done, budget_s
        self._started = self._told = time.monotonic()

    def __call__(self, steps: int, loss: float) -> None:
        now = time.monotonic()
        if steps % self._steps_per_epoch and now - self._told < LINE_EVERY_S:
            return
        self._told = now
        total = self._epochs * self._steps_per_epoch
        left = (now - self._started) * (total - steps) / max(steps - self._done, 1)
        if self._budget_s is not None:
            left = min(left, max(self._budget_s - (now - self._started), 0.0))
        self._console.print(
            f"{self._title}: epoch {-(-steps // self._steps_per_epoch)}/{self._epochs}, {steps / total:.0%}, "
            f"at most {left:.0f} s left, loss {loss:.4g}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )


@contextmanager
def working(text: str, *, show: bool) -> Iterator[None]:
    """A spinner with `text` on a terminal, for work whose end cannot be told; nothing elsewhere."""
    # The stream itself: what runs inside may point sys.stderr elsewhere to be quiet.
    console = Console(file=sys.stderr)
    if not show or not console.is_terminal:
        yield
        return
    with console.status(text):
        yield
