"""The contract between the scoring loop and the judges that look at scores: alerts, published scores, label questions.

A judge sees one machine's windows of one rule and batch at a time, in time order; one that has a quick way for machines where nothing
happens sees those of all machines first. What it remembers of a machine lies in named slots, which a snapshot holds one by one: a slot
that cannot be read costs its judge's memory alone. What a judge gives out is an emission: an output and the input offset that it came from, so that the pipeline, and it alone, drops what is already out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar, runtime_checkable

import numpy as np

from wheeltapper.stream.core.due_windows import DueTogether
from wheeltapper.stream.core.due_windows import DueWindows as DueWindows
from wheeltapper.stream.core.scoring import ScoredWindows

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


@dataclass(slots=True)
class Collected:
    """Windows of machines under one rule that wait for their scores.

    Attributes:
        machines, memories, origins: M of them; see `Judged`.
        due: of one machine, or of all M.
        maintenance: [M] each machine's windows during its maintenance, as of `Judged`; None: no machine is in maintenance.
    """

    machines: Sequence[str]
    memories: Sequence[RuleMemory]
    origins: Sequence[Any]
    due: DueWindows | DueTogether
    maintenance: Sequence[np.ndarray | None] | None = None


class JudgedTogether:
    """Scored windows of one rule: those of M machines, each once, K windows in all, machine by machine.

    Attributes:
        scored: of the whole batch, in which these are windows `base` .. `base + K`.
        machines, slots, origins: M each; `slots` what each machine's memory holds.
        score: [K], as of `ScoredWindows`.
        counts: [M], windows of each. edges: [M + 1], windows edges[i] .. edges[i + 1] are those of machine i.
        times, offsets, quality: [K], as of `DueWindows`. first_times, last_times: [M] of each machine's first and last window.
        levels: [K] float64, as of `Judged`.
        peaks: [M] each machine's largest score.
    """

    def __init__(self, collected: Sequence[Collected], scored: ScoredWindows, base: int = 0) -> None:
        self._collected = collected
        self.scored = scored
        self.base = base
        only = collected[0] if len(collected) == 1 else None
        self.machines: Sequence[str] = only.machines if only else [m for each in collected for m in each.machines]
        memories = only.memories if only else [memory for each in collected for memory in each.memories]
        self.slots = [memory.slots for memory in memories]
        self.origins: Sequence[Any] = only.origins if only else [o for each in collected for o in each.origins]
        self.memories = memories
        self.times = _joined([each.due.times for each in collected])
        self.offsets = _joined([each.due.offsets for each in collected])
        self.quality = _joined([each.due.quality for each in collected])
        self.counts: list[int] = []
        for each in collected:
            self.counts += each.due.counts.tolist() if isinstance(each.due, DueTogether) else [len(each.due.times)]
        edges = np.cumsum([0, *self.counts])
        self.edges: list[int] = edges.tolist()
        first, last = edges[:-1], edges[1:] - 1
        self.first_times: list[int] = self.times[first].tolist()
        self.last_times: list[int] = self.times[last].tolist()
        self.score = scored.score[base : base + len(self.times)]
        self.peaks: list[float] = np.maximum.reduceat(self.score, first).tolist()
        self.levels = np.empty(len(self.times))
        self._known: dict[int, Judged] = {}
        self._actual: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.machines)

    @property
    def actual(self) -> np.ndarray:
        """[K, C], as of `DueWindows`."""
        if self._actual is None:
            self._actual = _joined([each.due.actual for each in self._collected])
        return self._actual

    def maintenance(self, place: int) -> np.ndarray | None:
        """As of `Judged`, of one machine."""
        known, place = self._find(place)
        return None if known.maintenance is None else known.maintenance[place]

    @property
    def has_maintenance(self) -> bool:
        """True where a machine may be in maintenance."""
        return any(each.maintenance is not None for each in self._collected)

    def one(self, place: int) -> Judged:
        """What judges see of one machine; the same object each time."""
        judged = self._known.get(place)
        if judged is not None:
            return judged
        known, own = self._find(place)
        start, stop = self.edges[place], self.edges[place + 1]
        due = known.due
        if isinstance(due, DueTogether):
            due = due.one(own, start - self.edges[place - own])
        scored, base = self.scored, self.base
        judged = Judged(self.machines[place], self.memories[place], self.origins[place], due, base + start, base + stop)
        judged.scored, judged.peak = scored, self.peaks[place]
        judged.raw, judged.score = scored.raw[base + start : base + stop], self.score[start:stop]
        judged.levels = self.levels[start:stop]
        judged.maintenance = None if known.maintenance is None else known.maintenance[own]
        self._known[place] = judged
        return judged

    def _find(self, place: int) -> tuple[Collected, int]:
        for each in self._collected:
            if place < len(each.machines):
                return each, place
            place -= len(each.machines)
        raise IndexError(place)


def judged_together(collected: Sequence[Collected], scored: ScoredWindows) -> Iterator[JudgedTogether]:
    """What was collected, as far as each machine is there once: windows of one that come later are judged later."""
    group: list[Collected] = []
    known: set[int] = set()
    base = 0
    for each in collected:
        memories = {*map(id, each.memories)}
        if not known.isdisjoint(memories):
            judged = JudgedTogether(group, scored, base)
            base += len(judged.times)
            yield judged
            group, known = [], set()
        group.append(each)
        known |= memories
    if group:
        yield JudgedTogether(group, scored, base)


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


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
class SeesTogether(Protocol):
    """A judge that looks at many machines at once: what most of them bring about is nothing, or looks alike.

    Attributes:
        slots: as of `Judge`.
    """

    @property
    def slots(self) -> Mapping[str, Slot[Any]]: ...

    def see_together(self, judged: JudgedTogether) -> Iterable[tuple[int, Iterable[Emission]]]:
        """As `Judge.see` of one machine after the other: (place, emissions) of those that bring something about, in order."""
        ...


Seeing: TypeAlias = Callable[[JudgedTogether], Iterable[tuple[int, Iterable[Emission]]]]


def seeing(judge: Judge | SeesTogether) -> Seeing:
    """Puts many machines before a judge, one by one where it sees no more."""
    if isinstance(judge, SeesTogether):
        return judge.see_together
    see = judge.see
    return lambda judged: ((place, see(judged.one(place))) for place in range(len(judged)))


@runtime_checkable
class Commanded(Protocol):
    """A judge that operators can tell something."""

    def command(self, memory: RuleMemory, action: AlarmAction, time: int) -> list[AlertState]:
        """What an operator said of the rule on one machine, from event time `time` (us) on; alerts that ended by it."""
        ...
