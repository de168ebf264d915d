"""One input partition: its machines, how far it has come, and how far it may be committed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TypeAlias

import structlog

from wheeltapper.schemas.commands import AlarmCommand
from wheeltapper.schemas.events import ClearReason
from wheeltapper.stream.control.log import Change, ControlLog
from wheeltapper.stream.control.operators import tell
from wheeltapper.stream.core.calendar import Calendar, MaintenanceSpan, SpanSource
from wheeltapper.stream.core.judging import Emission
from wheeltapper.stream.core.scoring_loop import RuleRuntime
from wheeltapper.stream.deployment import Deployment, InForce
from wheeltapper.stream.judges.silence import allowed_silence_s, end_of_silence, start_of_silence
from wheeltapper.stream.kinds.contract import Route
from wheeltapper.stream.machine import Machine, ServedRule
from wheeltapper.stream.orphans import by_place, ends_of, ends_of_machine, ends_of_rules
from wheeltapper.stream.outgoing import alert_outputs
from wheeltapper.stream.records import Output
from wheeltapper.stream.rule_book import MachineRules, RuleBook
from wheeltapper.stream.settings import Settings
from wheeltapper.stream.state import (
    CONTROL,
    PROGRESS,
    Snapshot,
    SnapshotError,
    control_record,
    machine_snapshot,
    progress_record,
    read_progress,
    read_reserved,
    read_snapshot,
)

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
        self.state_prefix = state_prefix(settings.kafka.group, key[0])
        self._settings = settings.state
        self._no_data = settings.no_data
        self._book = book
        self.control = ControlLog()
        self.calendar = Calendar(maintenance)
        self._machines: dict[str, Machine] = {}
        self._heard: dict[str, float] = {}
        """Machine -> monotonic time (s) of its last message; in that order."""
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
            machine = self._machines[name] = Machine(name, route, route.layout)
            self._fit(machine)
        return machine

    def find(self, name: str) -> Machine | None:
        """The machine's state; None where it has none."""
        return self._machines.get(name)

    def fresh(self, emissions: Iterable[Emission]) -> Iterator[Output]:
        """The outputs that are not out already. This is the one place where what is read again after a restart is dropped."""
        return (emission.output for emission in emissions if emission.offset >= self.published)

    def addressed(self, records: Iterable[Output]) -> list[Output]:
        """Records of the `state` topic with their whole keys: group and input topic before the machine."""
        return [replace(record, key=self.state_prefix + (record.key or b"")) for record in records]

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
                self._add_maintenance(change)
                continue
            for machine in self._machines.values():
                if machine.applied >= entry.number:
                    continue  # its snapshot is newer than the change
                ended = self._fit(machine) if isinstance(change, Deployment) else tell(machine, change)
                if ended is not None:
                    outputs += ended
                    self._mark(machine, now)
        # A restart that reads these offsets again has published this before.
        return outputs if self.position >= self.published else []

    def control_record(self) -> Output:
        """What a restart has to know of changes; to be out before any output that comes of them."""
        return control_record(self.control, self.number)

    def progress_record(self) -> Output:
        """What of its output is out, and what may be."""
        return progress_record(self.progress_written, self.number, self.reserved)

    def _add_maintenance(self, command: AlarmCommand) -> None:
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
        machine.rules = {}
        for place, runtime in wanted.runtimes.items():
            known = before.pop(place, None)
            memory = runtime.new_memory() if known is None else runtime.adopt(known.memory)
            machine.rules[place] = ServedRule(runtime, memory, wanted.since.get(place))
        return alert_outputs(ends_of_rules(machine, before, ClearReason.SUPERSEDED), machine.route)

    # -- snapshots and commits ------------------------------------------------------------------------------------------

    def touch(self, machine: Machine, first_offset: int, last_offset: int, entries: int, now: float) -> None:
        """Note that messages first_offset..last_offset changed the machine at monotonic time `now` (s)."""
        machine.offset = last_offset
        machine.entries_since_snapshot += entries
        self._heard.pop(machine.name, None)
        self._heard[machine.name] = now
        if machine.dirty_from is None:
            machine.dirty_from = first_offset
            self._dirty[machine.name] = now
        if machine.entries_since_snapshot >= self._settings.snapshot_windows * machine.route.layout.window:
            self._full.add(machine.name)

    def _mark(self, machine: Machine, now: float) -> None:
        """Note that something else than a message changed the machine: it is in the next snapshots."""
        if machine.dirty_from is None:
            machine.dirty_from = self.position
            self._dirty[machine.name] = now
        self._full.add(machine.name)

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
            heard_at = None if wall_us is None else wall_us - round((now - self._heard.get(name, now)) * 1e6)
            machine.applied = max(machine.applied, self.control.in_force)
            outputs.append(machine_snapshot(machine, self.number, heard_at))
            machine.dirty_from = None
            machine.entries_since_snapshot = 0
            self._dirty.pop(name, None)
            self._full.discard(name)
        return outputs

    @property
    def committable(self) -> int:
        """The offset up to which everything is in snapshots."""
        waiting = (self._machines[name].dirty_from for name in self._dirty)
        return min((offset for offset in waiting if offset is not None), default=self.position)

    # -- silence ----------------------------------------------------------------------------------------------------------

    def unheard(self, since: float) -> Iterator[tuple[Machine, float]]:
        """Machines not heard after monotonic time `since` (s), with the time each was; the longest silent first."""
        for name, heard in list(self._heard.items()):
            if heard > since:
                return
            yield self._machines[name], heard

    def mark_silent(self, machine: Machine, now: float) -> None:
        """Note that the machine was found silent."""
        machine.silent_since = machine.memory.last_time
        self._mark(machine, now)

    def forget(self, machine: Machine, reason: ClearReason) -> list[Output]:
        """Drop a machine from memory and state; what has to be published: its open alerts end."""
        events = ends_of_rules(machine, machine.rules, reason)
        if machine.silent_since is not None:
            events.append(end_of_silence(machine.name, machine.silent_since, machine.silent_since, reason))
        events += machine.route.kind.ended(machine.name, machine.memory.dump()[0], reason)
        del self._machines[machine.name]
        self._heard.pop(machine.name, None)
        self._dirty.pop(machine.name, None)
        self._full.discard(machine.name)
        return alert_outputs(events, machine.route)

    # -- restore ------------------------------------------------------------------------------------------------------------

    def restore(
        self, records: dict[bytes, bytes], now: float = 0.0, wall_us: int | None = None
    ) -> tuple[list[Output], list[bytes]]:
        """Take over what the `state` topic holds for this partition, by machine.

        A snapshot that cannot be used costs its machine a warm-up, a slot that cannot be read costs that slot; a line in the
        log says so.

        Args:
            now, wall_us: monotonic time (s) and wall clock (us).

        Returns:
            what has to be published of alerts that ended, and keys whose records are of no use any more.
        """
        # While rows are read again, progress is not written: it would fall behind what is already out.
        self.published = self.progress_written = read_progress(records.get(PROGRESS, b""))
        self.reserved = read_reserved(records.get(PROGRESS, b""))
        self._restore_control(records.get(CONTROL, b""))
        outputs: list[Output] = []
        unused: list[bytes] = []
        kind = self._book.routes.kinds[self.kind]
        for key, value in records.items():
            if key in (PROGRESS, CONTROL):
                continue
            try:
                snapshot = read_snapshot(value)
                if snapshot.machine.encode() != key:
                    log.debug("snapshot belongs to another group whose name starts with ours", key=key)
                    continue
                route = self._book.routes.of(snapshot.machine, self.kind)
                if route is None:
                    log.warning("no bundle serves this machine any more: its alerts end", machine=snapshot.machine)
                    outputs += alert_outputs(ends_of_machine(snapshot))
                    outputs += alert_outputs(kind.ended(snapshot.machine, snapshot.memory, ClearReason.MACHINE_RETIRED))
                    unused.append(key)
                    continue
                applied = self._applied(snapshot)
                wanted = self._book.rules_of(snapshot.machine, route, self.control.deployments(applied))
            except SnapshotError as error:
                log.warning("snapshot cannot be used, the machine warms up again", key=key, error=str(error))
                continue
            try:
                machine = snapshot.restore(route, wanted.layout)
            except SnapshotError as error:
                log.warning("rows of a snapshot cannot be used, the machine warms up again", key=key, error=str(error))
                machine = Machine(snapshot.machine, route, wanted.layout)
                machine.offset = snapshot.offset
                outputs += alert_outputs(kind.ended(snapshot.machine, snapshot.memory, ClearReason.SUPERSEDED), route)
            machine.applied = applied
            self._machines[machine.name] = machine
            age_s = 0.0 if wall_us is None or snapshot.heard_at is None else (wall_us - snapshot.heard_at) / 1e6
            self._heard[machine.name] = now - max(0.0, age_s)
            ended = self._restore_rules(machine, snapshot, wanted)
            outputs += ended
            if machine.silent_since is not None:  # a worker that ended in between may not have said so
                allowed_s = allowed_silence_s(self._no_data, route.layout.interval_us)
                silence = start_of_silence(machine.name, machine.silent_since, allowed_s, allowed_s)
                outputs += alert_outputs([silence], route)
            if ended:
                self._mark(machine, now)
        self._heard = dict(sorted(self._heard.items(), key=lambda entry: entry[1]))
        return outputs, unused

    def _restore_control(self, value: bytes) -> None:
        if not value:
            return
        try:
            self.control = ControlLog.from_bytes(value, self.position)
        except (LookupError, TypeError, ValueError) as error:
            log.error(
                "changes in force cannot be read: the bundles given at start serve",
                error=f"{type(error).__name__}: {error}",
            )
            return
        for entry in self.control.deployments(self.control.number):
            self._book.prepare_again(entry.deployment)
        for command in self.control.maintenance():
            self._add_maintenance(command)

    def _applied(self, snapshot: Snapshot) -> int:
        """Number of the last change that the machine has seen: its snapshot may be newer than the commit."""
        applied = snapshot.applied
        if applied is None:  # a version whose snapshots did not say so
            behind = max(self.position, snapshot.offset + 1)
            entries = self.control.entries
            applied = next((entry.number - 1 for entry in entries if entry.since > behind), self.control.number)
        return max(applied, self.control.in_force)

    def _restore_rules(self, machine: Machine, snapshot: Snapshot, wanted: MachineRules) -> list[Output]:
        """Give each rule its memory back; outputs of alerts whose rule does not serve any more."""
        saved = by_place(snapshot.rules, wanted.runtimes)
        for place, runtime in wanted.runtimes.items():
            known = saved.pop(place, None)

            def unreadable(slot: str, error: Exception, place: str = place) -> None:
                log.warning(
                    "part of a snapshot cannot be read and starts anew",
                    machine=machine.name,
                    rule=place,
                    part=slot,
                    error=f"{type(error).__name__}: {error}",
                )

            memory = runtime.new_memory() if known is None else runtime.load(known.slots, unreadable)
            machine.rules[place] = ServedRule(runtime, memory, wanted.since.get(place))
        events = ends_of(saved, machine.name, machine.memory.last_time, ClearReason.SUPERSEDED)
        return alert_outputs(events, machine.route)
