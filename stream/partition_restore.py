"""What a worker takes over of a partition at its start: what the `state` topic holds of it, machine by machine."""

from __future__ import annotations

from typing import Protocol

import structlog

from wheeltapper.schemas.clock import iso_from_micros
from wheeltapper.schemas.commands import AlarmCommand
from wheeltapper.schemas.events import ClearReason
from wheeltapper.stream.control.log import ControlLog, latest_since, life_of
from wheeltapper.stream.core.alert_judge import ALERT
from wheeltapper.stream.core.alert_life import AlertState, is_ahead
from wheeltapper.stream.core.counters import count
from wheeltapper.stream.input_life import InputLife, known_input
from wheeltapper.stream.judges.silence import allowed_silence_s, start_of_silence
from wheeltapper.stream.machine import Machine, ServedRule
from wheeltapper.stream.orphans import by_place, ends_of, ends_of_machine
from wheeltapper.stream.outgoing import alert_outputs
from wheeltapper.stream.records import Output
from wheeltapper.stream.rule_book import MachineRules, RuleBook
from wheeltapper.stream.settings import Settings
from wheeltapper.stream.state import (
    CONTROL,
    PROGRESS,
    Snapshot,
    SnapshotError,
    read_progress,
    read_reserved,
    read_snapshot,
)

log = structlog.get_logger(__name__)

DAY_S = 86_400.0


class Restored(Protocol):
    """What is filled: see `PartitionState`."""

    kind: str
    life: InputLife
    position: int
    published: int
    progress_written: int
    reserved: int
    input_end: int | None
    refused: dict[str, int]
    control: ControlLog

    @property
    def number(self) -> int: ...

    def take_over(self, machine: Machine, heard: float) -> None:
        """A machine of a snapshot, last heard at monotonic time `heard` (s)."""
        ...

    def drop(self, name: str) -> None:
        """Forget a machine whose snapshot turned out to be of no use."""
        ...

    def mark(self, machine: Machine, now: float) -> None:
        """Note that the machine is to be in the next snapshots; `now` is monotonic time (s)."""
        ...

    def add_maintenance(self, command: AlarmCommand) -> None:
        """Windows of maintenance that an operator announced."""
        ...


class Restore:
    """One partition's start from the records of the `state` topic.

    A snapshot that cannot be used costs its machine a warm-up, a slot that cannot be read costs that slot; a line in the
    log says so.
    """

    def __init__(
        self, partition: Restored, book: RuleBook, settings: Settings, now: float, wall_us: int | None
    ) -> None:
        """
        Args:
            now, wall_us: monotonic time (s) and wall clock (us).
        """
        self._partition = partition
        self._book = book
        self._no_data = settings.no_data
        # What is ahead of its sender's clock by more is no row's time, nor can it be the newest row's.
        self._ahead_us = round(max(settings.input.max_ahead_s, DAY_S) * 1e6)
        self._now = now
        self._wall_us = wall_us

    def run(self, records: dict[bytes, bytes]) -> tuple[list[Output], list[bytes]]:
        """See `PartitionState.restore`."""
        partition = self._partition
        progress = records.get(PROGRESS, b"")
        known = known_input(progress)
        if known is None or known.life.number == partition.life.number:
            self._restore_progress(progress)
        self._restore_control(records.get(CONTROL, b""))
        outputs: list[Output] = []
        unused: list[bytes] = []
        for key, value in records.items():
            if key in (PROGRESS, CONTROL):
                continue
            try:
                ended, is_unused = self._restore_machine(key, value)
            except SnapshotError as error:
                self._refuse("unreadable")
                log.warning("snapshot cannot be used, the machine warms up again", key=key, error=str(error))
                continue
            except Exception as error:  # whoever wrote it: a record must not keep the partition from being watched
                self._refuse("unreadable")
                partition.drop(key.decode(errors="replace"))
                log.error(
                    "snapshot cannot be used, the machine warms up again",
                    key=key,
                    error=f"{type(error).__name__}: {str(error)[:300]}",
                )
                continue
            outputs += ended
            if is_unused:
                unused.append(key)
        return outputs, unused

    def _restore_machine(self, key: bytes, value: bytes) -> tuple[list[Output], bool]:
        """One machine's snapshot: what has to be published of it, and whether its record is of no use any more.

        Raises:
            SnapshotError: it cannot be read.
        """
        partition = self._partition
        snapshot = read_snapshot(value)
        if snapshot.machine.encode() != key:
            log.debug("snapshot belongs to another group whose name starts with ours", key=key)
            return [], False
        beyond = partition.input_end is not None and snapshot.offset >= partition.input_end
        if snapshot.life > partition.life.number or (beyond and snapshot.life == partition.life.number):
            self._refuse("offset")
            log.error(
                "snapshot is of input that this worker's group has not handled: it is deleted, the machine warms up again",
                machine=snapshot.machine,
                offset=snapshot.offset,
                handled_up_to=partition.input_end,
            )
            return [], True
        kind = self._book.routes.kinds[partition.kind]
        route = self._book.routes.of(snapshot.machine, partition.kind)
        if route is None:
            log.warning("no bundle serves this machine any more: its alerts end", machine=snapshot.machine)
            ended = kind.ended(snapshot.machine, snapshot.memory, ClearReason.MACHINE_RETIRED)
            return alert_outputs([*ends_of_machine(snapshot), *ended]), True
        outputs: list[Output] = []
        applied = self._applied(snapshot)
        wanted = self._book.rules_of(snapshot.machine, route, partition.control.deployments(applied))
        try:
            machine = snapshot.restore(route, wanted.layout)
            self._check_clock(machine)
        except SnapshotError as error:
            self._refuse(error.reason)
            log.warning("rows of a snapshot cannot be used, the machine warms up again", key=key, error=str(error))
            machine = Machine(snapshot.machine, route, wanted.layout)
            machine.offset, machine.life = snapshot.offset, snapshot.life
            outputs += alert_outputs(kind.ended(snapshot.machine, snapshot.memory, ClearReason.SUPERSEDED), route)
        machine.applied = applied
        age_s = 0.0 if self._wall_us is None or snapshot.heard_at is None else (self._wall_us - snapshot.heard_at) / 1e6
        partition.take_over(machine, self._now - max(0.0, age_s))
        ended_rules = self._restore_rules(machine, snapshot, wanted)
        outputs += ended_rules
        if machine.silent_since is not None:  # a worker that ended in between may not have said so
            allowed_s = allowed_silence_s(self._no_data, route.layout.interval_us)
            silence = start_of_silence(machine.name, machine.silent_since, allowed_s, allowed_s)
            outputs += alert_outputs([silence], route)
        if ended_rules:
            partition.mark(machine, self._now)
        if machine.life == partition.life.number:
            machine.settle()
        return outputs, False

    def _refuse(self, reason: str) -> None:
        count(self._partition.refused, reason)

    def _check_clock(self, machine: Machine) -> None:
        """
        Raises:
            SnapshotError: the machine's newest row is of a time that cannot have come yet: later rows would all count as late.
        """
        last = machine.memory.last_time
        if self._wall_us is not None and last is not None and last > self._wall_us + self._ahead_us:
            raise SnapshotError(f"its newest row is of {iso_from_micros(last)}, which is ahead of now", "clock")

    def _restore_progress(self, value: bytes) -> None:
        partition = self._partition
        published, reserved = read_progress(value), read_reserved(value)
        if partition.input_end is not None and published > partition.input_end:
            # Else output of all rows up to there would be held back as told already.
            self._refuse("progress")
            log.error(
                "the state says that output of input is out that has not been handled: it is taken to be out up to the commit",
                partition=partition.number,
                published=published,
                handled_up_to=partition.input_end,
            )
            published = partition.position
        # While rows are read again, progress is not written: it would fall behind what is already out.
        partition.published = partition.progress_written = published
        partition.reserved = reserved if partition.input_end is None else min(reserved, partition.input_end)

    def _restore_control(self, value: bytes) -> None:
        partition = self._partition
        if not value:
            return
        try:
            latest = latest_since(value)
            if (
                partition.input_end is not None
                and latest > partition.input_end
                and life_of(value) == partition.life.number
            ):
                raise ValueError(f"a change holds from offset {latest}, and {partition.input_end} is not handled yet")
            partition.control = ControlLog.from_bytes(value, partition.position, partition.life.number)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            self._refuse("changes")
            log.error(
                "changes in force cannot be read: the bundles given at start serve",
                error=f"{type(error).__name__}: {error}",
            )
            return
        for entry in partition.control.deployments(partition.control.number):
            self._book.prepare_again(entry.deployment)
        for command in partition.control.maintenance():
            partition.add_maintenance(command)

    def _applied(self, snapshot: Snapshot) -> int:
        """Number of the last change that the machine has seen: its snapshot may be newer than the commit."""
        partition = self._partition
        applied = snapshot.applied
        if applied is None:  # a version whose snapshots did not say so
            behind = max(partition.position, snapshot.offset + 1)
            entries = partition.control.entries
            applied = next((entry.number - 1 for entry in entries if entry.since > behind), partition.control.number)
        # Beyond the log's own count there is no change: the machine would never meet another one.
        return max(min(applied, partition.control.number), partition.control.in_force)

    def _restore_rules(self, machine: Machine, snapshot: Snapshot, wanted: MachineRules) -> list[Output]:
        """Give each rule its memory back; outputs of alerts whose rule does not serve any more."""
        saved = by_place(snapshot.rules, wanted.runtimes)
        rules: dict[str, ServedRule] = {}
        for place, runtime in wanted.runtimes.items():
            known = saved.pop(place, None)

            def unreadable(slot: str, error: Exception, place: str = place) -> None:
                self._refuse("slot")
                log.warning(
                    "part of a snapshot cannot be read and starts anew",
                    machine=machine.name,
                    rule=place,
                    part=slot,
                    error=f"{type(error).__name__}: {error}",
                )

            memory = runtime.new_memory() if known is None else runtime.load(known.slots, unreadable)
            alert: AlertState = memory.slots[ALERT]
            if self._wall_us is not None and is_ahead(alert, self._wall_us + self._ahead_us):
                unreadable(ALERT, ValueError("it is of a time ahead of now"))
                memory.slots[ALERT] = AlertState()
            rules[place] = ServedRule(runtime, memory, wanted.since.get(place))
        machine.serve(rules)
        events = ends_of(saved, machine.name, machine.memory.last_time, ClearReason.SUPERSEDED)
        return alert_outputs(events, machine.route)
