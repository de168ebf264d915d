"""Windows of many machines through one rule: collect, score in batches, let the judges see them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from wheeltapper.schemas.commands import AlarmAction
from wheeltapper.stream.core.alert_life import AlertState
from wheeltapper.stream.core.counters import Counters, observe
from wheeltapper.stream.core.distribution import SCORE_BOUNDS
from wheeltapper.stream.core.judging import (
    Collected,
    Commanded,
    DueTogether,
    DueWindows,
    Emission,
    Judge,
    RuleMemory,
    SeesTogether,
    judged_together,
    seeing,
)
from wheeltapper.stream.core.rule import RuleSpec
from wheeltapper.stream.core.scoring import BatchScorer


class RuleRuntime:
    """One rule at work: its scorer, its judges, and the windows collected in this batch."""

    def __init__(self, rule: RuleSpec, judges: Sequence[Judge | SeesTogether], *, shadow: bool = False) -> None:
        """
        Args:
            judges: in the order in which they see; the alert judge first, as it fills the levels that others read.
            shadow: it speaks to nobody.
        """
        self.shadow = shadow
        self.rule = rule
        self.judges = tuple(judges)
        self._seeing = [seeing(judge) for judge in judges]
        self.scorer = BatchScorer(rule)
        self.slots = {name: slot for judge in judges for name, slot in judge.slots.items()}
        self._collected: list[Collected] = []

    def new_memory(self) -> RuleMemory:
        """What every machine starts with."""
        return RuleMemory({name: slot.new() for name, slot in self.slots.items()})

    def dump(self, memory: RuleMemory) -> dict[str, Any]:
        """Every slot in JSON types; slots with nothing to remember are left out."""
        saved = {name: slot.dump(memory.slots[name]) for name, slot in self.slots.items()}
        return {name: value for name, value in saved.items() if value is not None}

    def load(self, saved: Mapping[str, Any], on_unreadable: Callable[[str, Exception], None]) -> RuleMemory:
        """A memory from what `dump` gave, of this rule or an earlier bundle's. A slot that cannot be read starts anew.

        Args:
            on_unreadable: told the name of such a slot and why.
        """
        memory = self.new_memory()
        for name, slot in self.slots.items():
            if saved.get(name) is None:
                continue
            try:
                memory.slots[name] = slot.adopt(slot.load(saved[name]))
            except (AttributeError, LookupError, TypeError, ValueError) as error:
                on_unreadable(name, error)
        return memory

    def adopt(self, memory: RuleMemory) -> RuleMemory:
        """The memory of another runtime of the same rule, under this one."""
        for name, slot in self.slots.items():
            known = memory.slots.get(name)
            memory.slots[name] = slot.new() if known is None else slot.adopt(known)
        return memory

    @property
    def has_windows(self) -> bool:
        """True where windows wait to be judged."""
        return bool(self._collected)

    def command(self, memory: RuleMemory, action: AlarmAction, time: int) -> list[AlertState]:
        """What an operator said of this rule on one machine, between two windows.

        Args:
            time: event time (us) from which it holds.

        Returns:
            alerts that ended by it, as they were when they ended; to publish their ends is the caller's.
        """
        # Judges that come later look at the alert of those before: they are told while it still stands.
        return [
            ended
            for judge in reversed(self.judges)
            if isinstance(judge, Commanded)
            for ended in judge.command(memory, action, time)
        ]

    def collect(
        self,
        machine: str,
        memory: RuleMemory,
        due: DueWindows,
        origin: Any = None,
        maintenance: np.ndarray | None = None,
    ) -> None:
        """Add a machine's windows to the batch; they are copied at once.

        Args:
            maintenance: [k] bool, windows in the machine's maintenance; None: there are none.
        """
        if due.run is None:
            self.scorer.add(due.samples, due.attributes, machine)
        else:
            self.scorer.add_rows(due.run, _AT_FIRST, np.array([len(due.times)]), [machine])
        masks = None if maintenance is None else (maintenance,)
        self._collected.append(Collected((machine,), (memory,), (origin,), due, masks))

    def collect_together(self, collected: Collected) -> None:
        """Add windows of many machines to the batch; they are copied at once."""
        due = collected.due
        assert isinstance(due, DueTogether)
        self.scorer.add_rows(due.rows, due.starts, due.counts, collected.machines)
        self._collected.append(collected)

    def judge(self, counters: Counters) -> Iterator[tuple[Any, list[Emission]]]:
        """Score what was collected and let every judge see it; (origin, emissions) of each machine that brings something about."""
        scored = self.scorer.finish()
        collected, self._collected = self._collected, []
        counters.windows += len(scored.score)
        if not self.shadow:
            observe(counters.scores, self.rule.manifest.detector, SCORE_BOUNDS, scored.score)
        counters.not_finite_scores += len(scored.raw) - int(np.count_nonzero(np.isfinite(scored.raw)))
        for judged in judged_together(collected, scored):
            told: dict[int, list[Emission]] = {}
            for see in self._seeing:
                for place, emissions in see(judged):
                    if emissions:
                        told.setdefault(place, []).extend(emissions)
            for place in sorted(told):
                yield judged.origins[place], told[place]


_AT_FIRST = np.zeros(1, dtype=np.int64)
