"""What a threshold is: the raise level of each score, learned in time order from windows that lie outside of alerts.

Sign: larger scores are stranger; the level is a calibrated score, where 1.0 is the bundle's alarm level. A threshold belongs to
one rule and holds no memory of its own: what it learns of one machine is a memory that the caller keeps and snapshots.

A window comes through `advance` while the machine is quiet, through `hold` while an alert is open or a run of loud windows
builds up. Times are event time, int64 microseconds; they rise, except where a machine's clock is set back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias, TypeVar

import numpy as np

S = TypeVar("S")

OperatorAction: TypeAlias = Literal["accept", "reset", "confirm", "reject"]


class Calibrated(Protocol):
    """What a threshold starts from; `RuleSpec` is one."""

    @property
    def identity(self) -> str:
        """Of the bundle: calibrated scores of another one mean something else."""
        ...

    @property
    def calibration_scores(self) -> np.ndarray:
        """[n] float64: calibrated scores of held-out normal windows, in time order."""
        ...

    @property
    def windows_per_day(self) -> float:
        """Scored windows per machine and day."""
        ...

    @property
    def calibrated_rate(self) -> float:
        """False alarms per machine and day that the level 1.0 was chosen for."""
        ...


@dataclass(frozen=True)
class Basis:
    """A `Calibrated` from values at hand."""

    calibration_scores: np.ndarray
    windows_per_day: float
    calibrated_rate: float
    identity: str = ""


class Threshold(Protocol[S]):
    """One rule's threshold; `S` is what it remembers of one machine."""

    def new(self) -> S:
        """What every machine starts with."""
        ...

    def adopt(self, memory: S) -> S:
        """A restored memory as far as it fits today's settings and bundle; else `new()`."""
        ...

    def level(self, memory: S) -> float:
        """The raise level now."""
        ...

    def advance(self, memory: S, scores: np.ndarray, times: np.ndarray) -> np.ndarray:
        """Learn from scores in turn, up to the first that reaches its level, of which no level is learned.

        How the scores are grouped changes nothing: advance(a + b) is advance(a) followed by advance(b).

        Args:
            scores: [k] float64 calibrated, outside of any alert.
            times: [k] int64, rising.

        Returns:
            [j] float64, the level in force at each of the first j scores; j < k only where score j - 1 reaches its level.
        """
        ...

    def pass_quiet(
        self,
        memories: Sequence[S],
        counts: Sequence[int],
        firsts: Sequence[int],
        lasts: Sequence[int],
        peaks: Sequence[float],
    ) -> list[float | None]:
        """Learn from scores of M machines, each outside of any alert, as far as that needs no look at each score.

        Args:
            memories: [M], each once. counts: [M], scores of each machine, one at least.
            firsts, lasts: [M], event times of the first and last of them; peaks: [M], the largest.

        Returns:
            [M]: the level in force at all of a machine's scores, which are below it: they are learned; None where `advance` has to be
            asked: then nothing is.
        """
        ...

    def hold(self, memory: S, score: float, time: int) -> float:
        """The level in force at one window while an alert is open or a run builds up; nothing ordinary is learned.

        A window that ends a run too short for an alert comes once more, through `advance`, which gives the same level.
        """
        ...

    def opened(self, memory: S, time: int, again: bool = False) -> None:
        """An alert opened with the last window; `again`: it is the last alert that goes on, which counts no second time."""
        ...

    def cleared(self, memory: S, time: int) -> None:
        """The open alert cleared with the last window."""
        ...

    def command(self, memory: S, action: OperatorAction, recent: float) -> S:
        """What an operator said.

        Args:
            action: accept: this is the new normal; reset: forget what was learned; confirm, reject: the last alarm was
                true, was false.
            recent: the level that the machine's recent scores need, with some room.

        Returns:
            the memory to go on with.
        """
        ...

    def reason(self, memory: S) -> str:
        """Why the level stands where it does, for a person; '' where there is nothing to say."""
        ...

    def dump(self, memory: S) -> Any:
        """The memory in JSON types; None where there is nothing to remember."""
        ...

    def load(self, saved: Any) -> S:
        """A memory from what `dump` gave.

        Raises:
            LookupError, TypeError, ValueError: it cannot be read.
        """
        ...


def first_loud(scores: np.ndarray, level: float) -> int:
    """How many of [k] scores there are up to and with the first that reaches `level`; k where none does."""
    loud = scores >= level
    first = int(loud.argmax()) if len(loud) else 0
    return first + 1 if len(loud) and loud[first] else len(scores)
