"""One machine in one input partition: what it remembers, under which rules."""

from __future__ import annotations

from dataclasses import dataclass

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


class Machine:
    """State of one machine in one input partition.

    Attributes:
        patterned: the machine that patterns are about; its name, unless its kind keeps several states of a machine.
        memory: what is kept of its input; the kind's own.
        rules: by place: the rule's name, or its shadow's.
        runtimes: those of `rules`, in their order.
        offset: input offset of the last message applied; -1 before the first.
        life: of the partition's input in which `offset` was counted.
        applied: number of the last change in the partition's control log that a snapshot of it has seen; 0: none.
        silent_since: event time (us) of its newest row when it was found silent; None while it speaks.
        dirty_from: offset of the first message that no snapshot holds yet; None where all is snapshotted.
        entries_since_snapshot: rows applied since.
    """

    __slots__ = (
        "applied",
        "dirty_from",
        "entries_since_snapshot",
        "life",
        "memory",
        "name",
        "offset",
        "patterned",
        "route",
        "rules",
        "runtimes",
        "silent_since",
    )

    def __init__(self, name: str, route: Route, layout: Layout) -> None:
        self.name = name
        self.patterned = route.kind.machine_of(name)
        self.route = route
        self.memory: Memory = route.kind.memory(layout)
        self.rules: dict[str, ServedRule] = {}
        self.runtimes: tuple[RuleRuntime, ...] = ()
        self.offset = -1
        self.life = 0
        self.applied = 0
        self.silent_since: int | None = None
        self.dirty_from: int | None = None
        self.entries_since_snapshot = 0

    def serve(self, rules: dict[str, ServedRule]) -> None:
        """These rules serve it from here on."""
        self.rules = rules
        self.runtimes = tuple(served.runtime for served in rules.values())
