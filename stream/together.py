"""Ordinary input of many machines, taken in at once: what most machines send most of the time.

Ordinary are rows in order and without a gap, that lack no value, of a machine that is known, speaks, and waits for nothing. They need
no sorting, filling or starting anew; what has to be checked of them is checked for all machines together, and the windows that they
complete are cut together. Whatever else comes goes machine by machine through `Memory.take`, which is the rule: this path must bring
about the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from wheeltapper.stream.core.counters import Counters
from wheeltapper.stream.core.due_windows import due_together
from wheeltapper.stream.core.judging import Collected
from wheeltapper.stream.core.policies import WindowRules
from wheeltapper.stream.core.row_clock import UNBOUNDED, go_on
from wheeltapper.stream.core.row_store import ranges
from wheeltapper.stream.kinds.contract import ManyMachines
from wheeltapper.stream.machine import Cohort, Machine
from wheeltapper.stream.partition import PartitionState
from wheeltapper.stream.records import PartitionBatch


@dataclass(slots=True)
class Waiting:
    """A block of many machines that is to be taken in.

    Attributes:
        machines: those of `many`; None where one is not known yet.
        batch: the messages that the rows came in.
    """

    partition: PartitionState
    many: ManyMachines
    machines: Sequence[Machine | None]
    batch: PartitionBatch


class Together:
    """Takes ordinary rows in."""

    def __init__(self, policy: WindowRules, counters: Counters) -> None:
        self._policy = policy
        self._counters = counters

    def take(self, waiting: Sequence[Waiting], now: float) -> list[list[int]]:
        """Take in what is ordinary; for each block the places of machines whose input is not, or not for certain.

        Args:
            waiting: at most one block of a partition.
            now: monotonic time (s).
        """
        left: list[list[int]] = [[] for _ in waiting]
        widths = [each.many.width for each in waiting]
        for width in dict.fromkeys(widths):
            those = [number for number, other in enumerate(widths) if other == width]
            self._take_alike([waiting[number] for number in those], [left[number] for number in those], now)
        return left

    def _take_alike(self, waiting: Sequence[Waiting], left: Sequence[list[int]], now: float) -> None:
        """`take` of blocks with as many channels; fills `left`."""
        rows = _Rows(waiting)
        cohorts = dict.fromkeys([None if machine is None else machine.cohort for machine in rows.machines])
        for cohort in cohorts:
            if len(cohorts) == 1:
                places = np.arange(len(rows.machines))
            else:
                those = [cohort is (None if machine is None else machine.cohort) for machine in rows.machines]
                places = np.flatnonzero(those)
            odd = places if cohort is None else self._take_cohort(cohort, rows, places, now)
            for place in odd.tolist():
                block = rows.block_of[place]
                left[block].append(place - rows.first_place[block])
        if len(cohorts) > 1:
            for each in left:
                each.sort()

    def _take_cohort(self, cohort: Cohort, rows: _Rows, places: np.ndarray, now: float) -> np.ndarray:
        """Take in the rows of a cohort's machines, of all those at `places`; gives the places that are not ordinary."""
        store, interval_us = cohort.store, cohort.interval_us
        gap = self._policy.max_gap_intervals * interval_us or UNBOUNDED
        largest = min(gap, self._policy.max_jump_intervals * interval_us or UNBOUNDED)
        everyone = len(places) == len(rows.machines)
        machines = rows.machines if everyone else [rows.machines[place] for place in places.tolist()]
        slots = np.array([machine.slot for machine in machines])
        handled = np.array([machine.offset for machine in machines])
        steps = rows.first_times[places] - store.last_time[slots]
        ordinary = (
            rows.are_ordinary(largest)[places]
            & (steps > 0)
            & (steps <= largest)
            & (rows.first_offsets[places] > handled)
            & (store.buffer[slots] >= 0)
        )
        odd = places[:0]
        if not ordinary.all():
            odd, places, slots = places[~ordinary], places[ordinary], slots[ordinary]
            if not len(places):
                return odd
            everyone = False
            machines = [rows.machines[place] for place in places.tolist()]
        counts, last_times = rows.counts[places], rows.last_times[places]
        values, marks = rows.values, rows.marks
        if not everyone:
            picked = ranges(rows.edges[places], counts)
            values, marks = values[picked], marks[picked]
        self._note(cohort, machines, rows, places, slots)
        go_on(store, slots, rows.stamps[places], counts)
        store.last_time[slots] = last_times
        self._append(cohort, machines, rows, places, slots, counts, values, marks)
        self._counters.rows += len(marks)
        self._counters.newest_time = max(self._counters.newest_time, int(last_times.max()))
        owners = rows.owners
        for place, machine, first, last, count in zip(
            places.tolist(),
            machines,
            rows.first_offsets[places].tolist(),
            rows.last_offsets[places].tolist(),
            counts.tolist(),
            strict=True,
        ):
            if machine.touched(first, last, count, now):
                owners[place].see_touched(machine, now)
        return odd

    def _append(
        self,
        cohort: Cohort,
        machines: Sequence[Machine],
        rows: _Rows,
        places: np.ndarray,
        slots: np.ndarray,
        counts: np.ndarray,
        values: np.ndarray,
        marks: np.ndarray,
    ) -> None:
        """Rows to their buffers, and the windows that they complete to their scorers; as many rows at a time as a buffer has room for."""
        store = cohort.store
        most, longest = store.rows - store.keep, int(counts.max())
        if longest <= most:
            store.append(slots, counts, values, marks)
            self._collect(cohort, machines, rows, places, slots, counts)
            return
        starts = np.cumsum(counts) - counts
        for done in range(0, longest, most):
            some = np.flatnonzero(counts > done)
            part = np.minimum(counts[some] - done, most)
            picked = ranges(starts[some] + done, part)
            those = [machines[place] for place in some.tolist()]
            store.append(slots[some], part, values[picked], marks[picked])
            self._collect(cohort, those, rows, places[some], slots[some], part)

    def _collect(
        self,
        cohort: Cohort,
        machines: Sequence[Machine],
        rows: _Rows,
        places: np.ndarray,
        slots: np.ndarray,
        counts: np.ndarray,
    ) -> None:
        for index, runtime in enumerate(cohort.runtimes):
            due = due_together(cohort.store, slots, counts, runtime.rule)
            if due is None:
                continue
            mine = machines if len(due.places) == len(machines) else [machines[place] for place in due.places.tolist()]
            owners = [rows.owners[place] for place in places[due.places].tolist()]
            masks: list[np.ndarray | None] | None = None
            if not all(owner.calendar.is_empty for owner in {*owners}):
                edges = [0, *np.cumsum(due.counts).tolist()]
                masks = [
                    owner.calendar.mask(machine.name, due.times[start:stop], machine.patterned)
                    for owner, machine, start, stop in zip(owners, mine, edges, edges[1:], strict=False)
                ]
            names = [machine.name for machine in mine]
            memories = [machine.served[index].memory for machine in mine]
            runtime.collect_together(Collected(names, memories, owners, due, masks))

    def _note(
        self, cohort: Cohort, machines: Sequence[Machine], rows: _Rows, places: np.ndarray, slots: np.ndarray
    ) -> None:
        """What is noted of a machine's first rows, for the log."""
        for place in np.flatnonzero(cohort.store.settled[slots] == 0).tolist():
            memory: Any = machines[place].memory
            start, stop = rows.edges[places[place]], rows.edges[places[place] + 1]
            memory.see_whole(rows.marks[start:stop, 0], self._counters, machines[place].name)


class _Rows:
    """The rows of several blocks, one block behind another; M machines, n rows.

    Attributes:
        machines, owners: [M] and the partition of each. block_of: [M] number of each one's block; first_place: of each block.
        edges: [M + 1], rows edges[i] .. edges[i + 1] are those of machine i; counts: [M].
        values: [n, C] float32; marks: [n, 2] int64, times (us) and input offsets.
        first_times, last_times, first_offsets, last_offsets: [M] of each machine's first and last row.
        stamps: [M] timestamp (ms) of the record that each machine's last row came in.
    """

    def __init__(self, waiting: Sequence[Waiting]) -> None:
        self.machines: list[Any] = [*chain.from_iterable(each.machines for each in waiting)]
        self.owners: list[PartitionState] = []
        self.block_of: list[int] = []
        self.first_place: list[int] = []
        for number, each in enumerate(waiting):
            count = len(each.machines)
            self.first_place.append(len(self.owners))
            self.owners += [each.partition] * count
            self.block_of += [number] * count
        self.edges, self.marks, self.values = waiting[0].many.gather([each.many for each in waiting])
        self.counts = self.edges[1:] - self.edges[:-1]
        firsts, lasts = self.edges[:-1], self.edges[1:] - 1
        first_marks, last_marks = self.marks[firsts], self.marks[lasts]
        self.first_times, self.first_offsets = first_marks[:, 0], first_marks[:, 1]
        self.last_times, self.last_offsets = last_marks[:, 0], last_marks[:, 1]
        stamps: list[int] = []
        last_offsets = self.last_offsets.tolist()
        for each, first in zip(waiting, self.first_place, strict=True):
            stamp_at = dict(zip(each.batch.offsets, each.batch.timestamps_ms, strict=True))
            stamps += [stamp_at[offset] for offset in last_offsets[first : first + len(each.machines)]]
        self.stamps = np.array(stamps, dtype=np.int64)
        self._whole = np.logical_and.reduceat(~np.isnan(self.values).any(axis=1), firsts)

    def are_ordinary(self, largest: int) -> np.ndarray:
        """[M] bool: machines whose rows lack no value, and follow each other by at most `largest` us."""
        if len(self.marks) == len(self.machines):
            return self._whole
        times = self.marks[:, 0]
        steps = times[1:] - times[:-1]
        follows = np.ones(len(times), dtype=np.bool_)
        np.logical_and(steps > 0, steps <= largest, out=follows[1:])
        follows[self.edges[1:-1]] = True  # from one machine to the next
        found: np.ndarray = self._whole & np.logical_and.reduceat(follows, self.edges[:-1])
        return found
