"""The contract between the scoring loop and the judges that look at scores: alerts, published scores, label questions.

A judge sees one machine's windows of one rule and batch at a time, in time order. What it remembers of a machine lies in named
slots, which a snapshot holds one by one: a slot that cannot be read costs its judge's memory alone. What a judge gives out is
an emission: an output and the input offset that it came from, so that the pipeline, and it alone, drops what is already out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

import numpy as np

from wheeltapper.stream.core.scoring import ScoredWindows
from wheeltapper.stream.core.windows import SpannedRows

if TYPE_CHECKING:
    from wheeltapper.schemas.commands import AlarmAction
    from wheeltapper.stream.core.alert_life import AlertState

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Emission:
    """An output and the input offset of the message that led to it; whose kind of output is the judge's to say."""

    offset: int
    output: Any


@dataclass(frozen=True, slots=True)
class Refused:
    """Input that was read, and then found to be from the future.

    Attributes:
        offset: input offset of the message that it came in; by: of the one with which it was refused.
        value: it alone as a message, and content_type: how that is encoded.
        detail: why, for a person.
    """

    offset: int
    by: int
    value: bytes
    content_type: str
    detail: str


@dataclass(frozen=True, slots=True)
class DueWindows:
    """Windows of one machine that are due for a rule.

    Attributes:
        samples: [k, *shape] float32, what the graph takes of each; a view that is copied before the machine goes on.
        times: [k] int64 event time of each scored sample, rising.
        offsets: [k] int64 input offset of the message that completed each window.
        quality: [k] float64 share of measured values.
        actual: [k, C] float32, the scored samples in raw units; NaN where a value was imputed.
        rows: of rows, those that the windows lie in.
        attributes: [k, A] float32, the operating point, of a graph that takes it.
        spans: [k, 2] int64, of sound: input offsets of the first and last message with samples of each window.
        run: [(k - 1) * stride + W, C] float32, the rows that the windows lie in, where they lie in one piece; a view, as `samples`.
    """

    samples: np.ndarray
    times: np.ndarray
    offsets: np.ndarray
    quality: np.ndarray
    actual: np.ndarray
    rows: SpannedRows | None = None
    attributes: np.ndarray | None = None
    spans: np.ndarray | None = None
    run: np.ndarray | None = None


@dataclass(slots=True)
class RuleMemory:
    """What one rule's judges remember of one machine, by slot."""

    slots: dict[str, Any]


class Slot(Protocol[S]):
    """One named part of a rule's memory; `dump` and `load` go through JSON types."""

    def new(self) -> S: ...

    def adopt(self, memory: S) -> S:
        """A memory of an earlier bundle or setting, as far as it fits today's; else `new()`."""
        ...

    def dump(self, memory: S) -> Any: ...

    def load(self, saved: Any) -> S:
        """
        Raises:
            AttributeError, LookupError, TypeError, ValueError: it cannot be read.
        """
        ...


@dataclass(slots=True)
class Judged:
    """One machine's windows of one rule and batch: all that a judge may see.

    The windows are entries [start, stop) of `scored`. Scores are there once the batch has been scored.

    Attributes:
        origin: the caller's own, e.g. the partition.
        raw: [k] as the graph gave it; score: [k] float64 calibrated, 1.0 is the alarm level; peak: the largest of them.
        levels: [k] float64, raise level in force at each window; the alert judge, who comes first, fills it.
        level_reason: why the raise level stands where it does, for a person; the alert judge fills it before it reports.
        maintenance: [k] bool, windows during the machine's maintenance: no alarm, nothing learned; None: there are none.
        steps: (position of the window, what happened to the alert there), in order; the alert judge fills it too.
    """

    machine: str
    memory: RuleMemory
    origin: Any
    due: DueWindows
    start: int
    stop: int
    scored: ScoredWindows = field(init=False)
    raw: np.ndarray = field(init=False)
    score: np.ndarray = field(init=False)
    peak: float = field(init=False)
    levels: np.ndarray = field(init=False)
    level_reason: str = field(init=False, default="")
    maintenance: np.ndarray | None = None
    steps: Sequence[tuple[int, str]] = ()


class Judge(Protocol):
    """Looks at scores.

    Attributes:
        slots: what it remembers of a machine, by slot name.
    """

    @property
    def slots(self) -> Mapping[str, Slot[Any]]: ...

    def see(self, judged: Judged) -> Iterable[Emission]:
        """Look at one machine's windows, change its memory, say what is to be published."""
        ...


@runtime_checkable
class Commanded(Protocol):
    """A judge that operators can tell something."""

    def command(self, memory: RuleMemory, action: AlarmAction, time: int) -> list[AlertState]:
        """What an operator said of the rule on one machine, from event time `time` (us) on; alerts that ended by it."""
        ...
