"""One input partition: its machines, how far it has come, and how far it may be committed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import structlog

from wheeltapper.schemas.commands import AlarmCommand
from wheeltapper.schemas.events import ClearReason
from wheeltapper.stream.control.log import Change, ControlLog
from wheeltapper.stream.control.operators import tell
from wheeltapper.stream.core.calendar import Calendar, MaintenanceSpan, SpanSource
from wheeltapper.stream.core.counters import Counters
from wheeltapper.stream.core.judging import Emission
from wheeltapper.stream.core.scoring_loop import RuleRuntime
from wheeltapper.stream.deployment import Deployment, InForce
from wheeltapper.stream.input_life import InputLife
from wheeltapper.stream.input_seam import meet, without_repeats
from wheeltapper.stream.judges.silence import end_of_silence
from wheeltapper.stream.kinds.contract import Layout, Route
from wheeltapper.stream.machine import Machine, ServedRule
from wheeltapper.stream.orphans import ends_of_rules
from wheeltapper.stream.outgoing import alert_outputs
from wheeltapper.stream.partition_restore import Restore
from wheeltapper.stream.records import Output
from wheeltapper.stream.rule_book import RuleBook
from wheeltapper.stream.sealing import sealer_of
from wheeltapper.stream.settings import Settings
from wheeltapper.stream.state import (
    control_record,
    machine_snapshot,
    progress_record,
)
from wheeltapper.stream.state_parts import FRAMING, PartWriter

log = structlog.get_logger(__name__)

PartitionKey: TypeAlias = tuple[str, int]
"""Full name of the input topic, and the partition's number."""


def state_prefix(group: str, topic: str) -> bytes:
    """What keys in the `state` topic start with, for an input topic (its full name)."""
    return f"{group}/{topic}/".encode()


class PartitionState:
    """State of one input partition.

    A commit says: below this offset nothing need be read again, because snapshots hold what came of it. Snapshots are
    taken now and then, so the commit lags; after a restart the rows in between are read again, and as the pipeline is
    deterministic they lead to the same state. Output below `published` is already out and is not published again.

    Attributes:
        position: offset of the next message to handle.
        published: output of all input below it had been published when the partition was taken over.
        progress_written: position in the last progress record.
        reserved: no output of input from it on may be out: a record said so before.
        handled_before: input below it may have been handled by another worker, and its output be out.
        input_end: no input from it on can have been handled; None: that is not known.
        largest_record: bytes that the `state` topic takes; 0: any number. Larger ones go in parts.
        parts: which records are there in parts.
        refused: counts what was not used of the records, by reason.
        committed: offset up to which snapshots held everything at the last commit; None before the first.
        before: the group's commit as far as it is known, which may be the one before that; None: there is none.
        life: of its input; offsets of another life say nothing.
        state_prefix: what the keys of its records in the `state` topic start with: group and input topic.
        control: changes in force, and how far the control topics were applied.
        calendar: when which machines are in maintenance.
    """

    def __init__(
        self,
        key: PartitionKey,
        kind: str,
        settings: Settings,
        book: RuleBook,
        maintenance: Sequence[SpanSource] = (),
    ) -> None:
        self.key = key
        self.kind = kind
        self.position = 0
        self.published = 0
        self.progress_written = 0
        self.reserved = 0
        self.handled_before = 0
        self.input_end: int | None = None
        self.largest_record = 0
        self.parts = PartWriter()
        self.refused: dict[str, int] = {}
        self.committed: int | None = None
        self.before: int | None = None
        self.life = InputLife()
        self.state_prefix = state_prefix(settings.kafka.group, key[0])
        self._settings = settings.state
        self._sealer = sealer_of(settings.state)
        self._whole_settings = settings
        self._book = book
        self.control = ControlLog()
        self.calendar = Calendar(maintenance)
        self._machines: dict[str, Machine] = {}
        self._dirty: dict[str, float] = {}
        """Machine -> when its first row since the last snapshot was handled; in that order."""
        self._full: set[str] = set()
        """Machines with so many rows since their snapshot that the next one is due."""

    @property
    def number(self) -> int:
        """The partition's number in its topic."""
        return self.key[1]

    @property
    def machines(self) -> int:
        return len(self._machines)

    @property
    def all_machines(self) -> list[Machine]:
        """May be asked from any thread."""
        return list(self._machines.values())

    def machine(self, name: str, route: Route) -> Machine:
        """The machine's state, new where it has none."""
        machine = self._machines.get(name)
        if machine is None:
            machine = Machine(name, route, route.layout)
            machine.life = self.life.number
            self._begin(machine)
            self._fit(machine)
        return machine

    def _begin(self, machine: Machine) -> None:
        self._machines[machine.name] = machine
        machine.entries_full = self._settings.snapshot_windows * machine.route.layout.window

    def known(self, names: Iterable[str]) -> list[Machine | None]:
        """The machines' states; None where one has none yet."""
        find = self._machines.get
        return [find(name) for name in names]

    def find(self, name: str) -> Machine | None:
        """The machine's state; None where it has none."""
        return self._machines.get(name)

    def runtimes_of(self, name: str, route: Route) -> tuple[RuleRuntime, ...]:
        """The rules that serve a machine, or would serve it: its state is not begun by asking."""
        machine = self._machines.get(name)
        if machine is not None:
            return machine.runtimes
        deployments = self.control.deployments(self.control.in_force)
        return tuple(self._book.rules_of(name, route, deployments).runtimes.values())

    def known_machines(self) -> tuple[Machine, ...]:
        """All machines, in the order in which they came."""
        return tuple(self._machines.values())

    def fresh(self, emissions: Iterable[Emission]) -> Iterator[Output]:
        """The outputs that are not out already. This is the one place where what is read again after a restart is dropped."""
        return (emission.output for emission in emissions if emission.offset >= self.published)

    def addressed(self, records: Iterable[Output]) -> list[Output]:
        """Records of the `state` topic with their whole keys, group and input topic before the machine; in parts where they are too
        large, and sealed where there is a key."""
        largest = self.largest_record
        if largest:
            largest = max(1, largest - FRAMING - len(self.state_prefix) - self._sealer.overhead)
        addressed = []
        for record in records:
            for part in self.parts.write(record, largest):
                key = self.state_prefix + (part.key or b"")
                addressed.append(replace(part, key=key, value=self._sealer.seal(key, self.number, part.value)))
        return addressed

    # -- changes while the worker runs ------------------------------------------------------------------------------------

    @property
    def in_force(self) -> tuple[InForce, ...]:
        """Deployments that hold at `position`, in the order in which they came."""
        return self.control.deployments(self.control.in_force)

    @property
    def has_due_changes(self) -> bool:
        """True where `apply_changes` has something to do."""
        since = self.control.next_since
        return since is not None and since <= self.position

    def next_boundary(self) -> int | None:
        """The next offset behind `position` from which output is published, or a known change holds; None without one."""
        ahead = [since for since in (self.published, self.control.next_since) if since is not None]
        return min((offset for offset in ahead if offset > self.position), default=None)

    def add_change(self, change: Change) -> None:
        """Note a change that holds from here on; `apply_changes` puts it in force.

        While rows are read again whose output is or may be out, it holds behind them: they were scored without it.
        """
        self.control.forget(self.committable)
        self.control.add(change, max(self.position, self.published, self.handled_before))

    def apply_changes(self, now: float) -> list[Output]:
        """Put in force what is due at `position`; what has to be published of alerts that end by it.

        An open alert goes on under its id where a rule of the same name serves; where its rule is gone it ends here.
        """
        outputs: list[Output] = []
        for entry in self.control.due(self.position):
            self.control.in_force = entry.number
            change = entry.change
            if isinstance(change, AlarmCommand) and change.action == "maintenance":
                self.add_maintenance(change)
                continue
            for machine in self._machines.values():
                if machine.applied >= entry.number:
                    continue  # its snapshot is newer than the change
                ended = self._fit(machine) if isinstance(change, Deployment) else tell(machine, change)
                if ended is not None:
                    outputs += ended
                    self.mark(machine, now)
        # A restart that reads these offsets again has published this before.
        return outputs if self.position >= self.published else []

    def control_record(self) -> Output:
        """What a restart has to know of changes; to be out before any output that comes of them."""
        return control_record(self.control, self.number)

    def progress_record(self) -> Output:
        """What of its output is out, and what may be."""
        return progress_record(
            self.progress_written, self.number, self.reserved, self.life, self.committed, self.before
        )

    def add_maintenance(self, command: AlarmCommand) -> None:
        """Windows of maintenance that an operator announced."""
        assert command.start is not None
        assert command.until is not None
        self.calendar.add(MaintenanceSpan(command.machine, command.start, command.until))

    def served(self) -> Iterator[RuleRuntime]:
        """The rules at work on the partition's machines; some more than once."""
        return (served.runtime for machine in self._machines.values() for served in machine.rules.values())

    def _fit(self, machine: Machine) -> list[Output] | None:
        """Give a machine the rules that serve it now; outputs of alerts that end by it, None where nothing changed."""
        upto = max(machine.applied, self.control.in_force)
        wanted = self._book.rules_of(machine.name, machine.route, self.control.deployments(upto))
        before = machine.rules
        if before.keys() == wanted.runtimes.keys() and all(
            before[place].runtime is runtime and before[place].since == wanted.since.get(place)
            for place, runtime in wanted.runtimes.items()
        ):
            return None
        machine.memory.fit(wanted.layout)
        rules: dict[str, ServedRule] = {}
        for place, runtime in wanted.runtimes.items():
            known = before.pop(place, None)
            memory = runtime.new_memory() if known is None else runtime.adopt(known.memory)
            rules[place] = ServedRule(runtime, memory, wanted.since.get(place))
        machine.serve(rules)
        return alert_outputs(ends_of_rules(machine, before, ClearReason.SUPERSEDED), machine.route)

    def meet(self, machine: Machine, block: Any, counters: Counters) -> tuple[Any | None, list[Output]]:
        """A machine's first block in another life of the input: what of it is to be handled, and what has to be published."""
        block = without_repeats(machine, block, self.life, counters)
        if block is None:
            return None, []

        def layout() -> Layout:
            upto = max(machine.applied, self.control.in_force)
            return self._book.rules_of(machine.name, machine.route, self.control.deployments(upto)).layout

        return block, meet(machine, block, self.life, layout)

    # -- snapshots and commits ------------------------------------------------------------------------------------------

    def touch(self, machine: Machine, first_offset: int, last_offset: int, entries: int, now: float) -> None:
        """Note that messages first_offset..last_offset changed the machine at monotonic time `now` (s)."""
        if machine.touched(first_offset, last_offset, entries, now):
            self.see_touched(machine, now)

    def see_touched(self, machine: Machine, now: float) -> None:
        """Note what `Machine.touched` said was news, at monotonic time `now` (s)."""
        self._dirty.setdefault(machine.name, now)
        if machine.entries_since_snapshot >= machine.entries_full:
            self._full.add(machine.name)

    def mark(self, machine: Machine, now: float) -> None:
        """Note that something else than a message changed the machine: it is in the next snapshots."""
        if machine.dirty_from is None:
            machine.dirty_from = self.position
            self._dirty[machine.name] = now
        self._full.add(machine.name)

    def save_again(self, now: float) -> None:
        """Note that nothing is written of what it knows: it is in the next snapshots."""
        self.progress_written = 0
        for machine in self._machines.values():
            self.mark(machine, now)

    def snapshots(self, now: float, wall_us: int | None = None, *, everything: bool = False) -> list[Output]:
        """Snapshots that are due at monotonic time `now` (s). They count as taken: publish them.

        Args:
            wall_us: the wall clock now; snapshots then say when a machine was last heard.
        """
        if everything:
            due = list(self._dirty)
        else:
            oldest = now - self._settings.snapshot_interval_s
            due = list(self._full)
            for name, since in self._dirty.items():
                if since > oldest:
                    break
                if name not in self._full:
                    due.append(name)
        outputs = []
        for name in due:
            machine = self._machines[name]
            heard_at = (
                None
                if wall_us is None
                else wall_us - round((now - (now if machine.heard is None else machine.heard)) * 1e6)
            )
            machine.applied = max(machine.applied, self.control.in_force)
            outputs.append(machine_snapshot(machine, self.number, heard_at))
            machine.dirty_from = None
            machine.entries_since_snapshot = 0
            self._dirty.pop(name, None)
            self._full.discard(name)
        return outputs

    @property
    def is_saved(self) -> bool:
        """True where everything is in snapshots."""
        return not self._dirty

    @property
    def committable(self) -> int:
        """The offset up to which everything is in snapshots."""
        waiting = (self._machines[name].dirty_from for name in self._dirty)
        # A message that is half done has changed machines from offsets at or behind the position on.
        return min(
            (offset for offset in waiting if offset is not None and offset < self.position), default=self.position
        )

    # -- silence ----------------------------------------------------------------------------------------------------------

    def unheard(self, since: float) -> Iterator[tuple[Machine, float]]:
        """Machines not heard after monotonic time `since` (s), with the time each was; the longest silent first."""
        silent = [
            (machine.heard, name)
            for name, machine in self._machines.items()
            if machine.heard is not None and machine.heard <= since
        ]
        for heard, name in sorted(silent):
            yield self._machines[name], heard

    def heard_since(self, name: str, since: float) -> bool:
        """Whether the machine was heard here after monotonic time `since` (s)."""
        machine = self._machines.get(name)
        return machine is not None and machine.heard is not None and machine.heard > since

    def mark_silent(self, machine: Machine, now: float) -> None:
        """Note that the machine was found silent."""
        machine.silent_since, machine.cohort = machine.memory.last_time, None
        self.mark(machine, now)

    def forget(self, machine: Machine, reason: ClearReason) -> list[Output]:
        """Drop a machine from memory and state; what has to be published: its open alerts end."""
        events = ends_of_rules(machine, machine.rules, reason)
        if machine.silent_since is not None:
            events.append(end_of_silence(machine.name, machine.silent_since, machine.silent_since, reason))
        events += machine.route.kind.ended(machine.name, machine.memory.dump()[0], reason)
        del self._machines[machine.name]
        self._dirty.pop(machine.name, None)
        self._full.discard(machine.name)
        return alert_outputs(events, machine.route)

    # -- restore ------------------------------------------------------------------------------------------------------------

    def restore(
        self, records: dict[bytes, bytes], now: float = 0.0, wall_us: int | None = None
    ) -> tuple[list[Output], list[bytes]]:
        """Take over what the `state` topic holds for this partition, by machine: see `Restore`.

        Args:
            now, wall_us: monotonic time (s) and wall clock (us).

        Returns:
            what has to be published of alerts that ended, and keys whose records are of no use any more.
        """
        return Restore(self, self._book, self._whole_settings, now, wall_us).run(records)

    def take_over(self, machine: Machine, heard: float) -> None:
        """A machine of a snapshot, last heard at monotonic time `heard` (s)."""
        self._begin(machine)
        machine.heard = heard

    def drop(self, name: str) -> None:
        """Forget a machine whose snapshot turned out to be of no use."""
        self._machines.pop(name, None)
