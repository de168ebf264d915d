"""Progress of a long job: a bar on a terminal, one line per epoch in a log."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Report = Callable[[int, float], None]
"""Called after each step: steps done since the first epoch's start, mean loss of this epoch so far."""


@contextmanager
def epochs_progress(
    title: str, *, show: bool, epochs: int, steps_per_epoch: int, done: int = 0, notice: str = ""
) -> Iterator[Report]:
    """A function to be called after each step.

    Args:
        show: False shows nothing at all.
        done: steps done already, by a run that this one continues.
        notice: a line to be printed first.
    """
    if not show:
        yield lambda steps, loss: None
        return
    console = Console(file=sys.stderr)
    if notice:
        console.print(notice, highlight=False)
    if not console.is_terminal:

        def line(steps: int, loss: float) -> None:
            if steps % steps_per_epoch == 0:
                console.print(f"{title}: epoch {steps // steps_per_epoch}/{epochs}, loss {loss:.4g}", highlight=False)

        yield line
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
