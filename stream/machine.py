"""One machine in one input partition: what it remembers, under which rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from wheeltapper.stream.core.judging import RuleMemory
from wheeltapper.stream.core.scoring_loop import RuleRuntime
from wheeltapper.stream.kinds.contract import Layout, Memory, Route


@dataclass(slots=True)
class ServedRule:
    """One rule at work on a machine.

    Attributes:
        since: input offset from which its deployment holds; None where it was given at start.
    """

    runtime: RuleRuntime
    memory: RuleMemory
    since: int | None = None


class Cohort:
    """Machines whose input may be taken in at once: their rows lie in one store, and the same rules serve them."""

    __slots__ = ("__weakref__", "interval_us", "runtimes", "store")

    def __init__(self, store: Any, interval_us: int, runtimes: tuple[RuleRuntime, ...]) -> None:
        self.store = store
        self.interval_us = interval_us
        self.runtimes = runtimes


class Machine:
    """State of one machine in one input partition.

    Attributes:
        patterned: the machine that patterns are about; its name, unless its kind keeps several states of a machine.
        memory: what is kept of its input; the kind's own.
        rules: by place: the rule's name, or its shadow's.
        runtimes: those of `rules`, in their order; served: the rules themselves.
        cohort: the machines that its next input may be taken in with; None: it has to be looked at alone. slot: its own in their store.
        offset: input offset of the last message applied; -1 before the first.
        life: of the partition's input in which `offset` was counted.
        applied: number of the last change in the partition's control log that a snapshot of it has seen; 0: none.
        silent_since: event time (us) of its newest row when it was found silent; None while it speaks.
        dirty_from: offset of the first message that no snapshot holds yet; None where all is snapshotted.
        entries_since_snapshot: rows applied since; entries_full: so many that a snapshot is due.
        heard: monotonic time (s) of its last message; None: it has had none here.
    """

    __slots__ = (
        "applied",
        "cohort",
        "dirty_from",
        "entries_full",
        "entries_since_snapshot",
        "heard",
        "life",
        "memory",
        "name",
        "offset",
        "patterned",
        "route",
        "rules",
        "runtimes",
        "served",
        "silent_since",
        "slot",
    )

    def __init__(self, name: str, route: Route, layout: Layout) -> None:
        self.name = name
        self.patterned = route.kind.machine_of(name)
        self.route = route
        self.memory: Memory = route.kind.memory(layout)
        self.rules: dict[str, ServedRule] = {}
        self.runtimes: tuple[RuleRuntime, ...] = ()
        self.served: tuple[ServedRule, ...] = ()
        self.cohort: Cohort | None = None
        self.slot = -1
        self.offset = -1
        self.life = 0
        self.applied = 0
        self.silent_since: int | None = None
        self.dirty_from: int | None = None
        self.entries_since_snapshot = self.entries_full = 0
        self.heard: float | None = None

    def serve(self, rules: dict[str, ServedRule]) -> None:
        """These rules serve it from here on."""
        self.rules = rules
        self.served = tuple(rules.values())
        self.runtimes = tuple(served.runtime for served in self.served)
        self.cohort = None

    def settle(self) -> None:
        """Note whether its next input may be taken in together with that of others; to be asked after any that was not."""
        placed = self.memory.placed() if self.silent_since is None else None
        if placed is None:
            self.cohort = None
            return
        self.slot = placed.slot
        known = self.cohort
        if known is None or known.store is not placed.store:
            key, cohorts = (placed.interval_us, self.runtimes), placed.store.cohorts
            known = cohorts.get(key)
            if known is None:
                known = cohorts[key] = Cohort(placed.store, placed.interval_us, self.runtimes)
            self.cohort = known

    def touched(self, first_offset: int, last_offset: int, entries: int, now: float) -> bool:
        """Note that messages first_offset .. last_offset changed it at monotonic time `now` (s); whether that is news for its partition."""
        self.offset = last_offset
        self.heard = now
        self.entries_since_snapshot = entries = self.entries_since_snapshot + entries
        if self.dirty_from is not None:
            return entries >= self.entries_full
        self.dirty_from = first_offset
        return True
