"""One input partition: its machines, how far it has come, and how far it may be committed."""

from __future__ import annotations

import structlog

from wheeltapper.stream.core.windows import Machine
from wheeltapper.stream.records import Output
from wheeltapper.stream.routes import Route, Routes
from wheeltapper.stream.settings import StateSettings
from wheeltapper.stream.state import (
    PROGRESS,
    SnapshotError,
    machine_snapshot,
    read_progress,
    restore_machine,
    snapshot_header,
)

log = structlog.get_logger(__name__)


class PartitionState:
    """State of one input partition.

    A commit says: below this offset nothing need be read again, because snapshots hold what came of it. Snapshots are
    taken now and then, so the commit lags; after a restart the rows in between are read again, and as the pipeline is
    deterministic they lead to the same state. Output below `published` is already out and is not published again.

    Attributes:
        position: offset of the next message to handle.
        published: output of all input below it had been published when the partition was taken over.
        progress_written: position in the last progress record.
    """

    def __init__(self, partition: int, settings: StateSettings) -> None:
        self.partition = partition
        self.position = 0
        self.published = 0
        self.progress_written = 0
        self._settings = settings
        self._machines: dict[str, Machine] = {}
        self._dirty: dict[str, float] = {}
        """Machine -> when its first row since the last snapshot was handled; in that order."""
        self._full: set[str] = set()
        """Machines with so many rows since their snapshot that the next one is due."""

    def machine(self, name: str, route: Route) -> Machine:
        """The machine's state, new where it has none."""
        machine = self._machines.get(name)
        if machine is None:
            machine = self._machines[name] = Machine(name, route)
        return machine

    @property
    def machines(self) -> int:
        return len(self._machines)

    def touch(self, machine: Machine, first_offset: int, last_offset: int, rows: int, now: float) -> None:
        """Note that messages first_offset..last_offset changed the machine at monotonic time `now` (s)."""
        machine.offset = last_offset
        machine.rows_since_snapshot += rows
        if machine.dirty_from is None:
            machine.dirty_from = first_offset
            self._dirty[machine.name] = now
        if machine.rows_since_snapshot >= self._settings.snapshot_windows * machine.route.window:
            self._full.add(machine.name)

    def snapshots(self, now: float, *, everything: bool = False) -> list[Output]:
        """Snapshots that are due at monotonic time `now` (s). Call `snapshotted` once they are on their way."""
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
            outputs.append(machine_snapshot(machine, self.partition))
            machine.dirty_from = None
            machine.rows_since_snapshot = 0
            self._dirty.pop(name, None)
            self._full.discard(name)
        return outputs

    @property
    def committable(self) -> int:
        """The offset up to which everything is in snapshots."""
        waiting = (self._machines[name].dirty_from for name in self._dirty)
        return min((offset for offset in waiting if offset is not None), default=self.position)

    def restore(self, records: dict[bytes, bytes], routes: Routes) -> int:
        """Take over what the `state` topic holds for this partition, by machine; how many machines it held.

        A snapshot that cannot be used costs its machine a warm-up, and a line in the log says so.
        """
        # While rows are read again, progress is not written: it would fall behind what is already out.
        self.published = self.progress_written = read_progress(records.pop(PROGRESS, b""))
        for key, value in records.items():
            try:
                name = snapshot_header(value)[0]["machine"]
                if name.encode() != key:  # of a group whose name, with a slash in it, starts like ours
                    continue
                route = routes.of(name)
                if route is None:
                    log.warning("no bundle serves this machine any more", machine=name)
                    continue
                machine, orphans = restore_machine(value, route)
            except (SnapshotError, AttributeError, LookupError, TypeError) as error:
                log.warning("snapshot cannot be used, the machine warms up again", key=key, error=str(error))
                continue
            self._machines[name] = machine
            for bundle, state in orphans.items():
                if state.opened_at is not None:
                    log.warning("its bundle serves no more: open alert is forgotten", machine=name, bundle=bundle)
        return len(self._machines)
