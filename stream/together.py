"""Ordinary input of many machines, taken in at once: what most machines send most of the time.

Ordinary are rows in order and without a gap, that lack no value, of a machine that is known, speaks, and waits for nothing. They need
no sorting, filling or starting anew; what has to be checked of them is checked for all machines together. Whatever else comes goes
machine by machine through `Memory.take`, which is the rule: this path must bring about the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from wheeltapper.stream.core.counters import Counters
from wheeltapper.stream.core.policies import WindowRules
from wheeltapper.stream.core.row_clock import UNBOUNDED
from wheeltapper.stream.kinds.contract import ManyMachines
from wheeltapper.stream.machine import Machine
from wheeltapper.stream.partition import PartitionState
from wheeltapper.stream.records import PartitionBatch

Collect = Callable[[PartitionState, Machine, Any], None]
"""Each part of a machine's input to the windows that it completes."""


class Together:
    """Takes ordinary rows in."""

    def __init__(self, policy: WindowRules, counters: Counters) -> None:
        self._policy = policy
        self._counters = counters

    def take(
        self,
        partition: PartitionState,
        many: ManyMachines,
        machines: Sequence[Machine | None],
        batch: PartitionBatch,
        now: float,
        collect: Collect,
    ) -> list[int]:
        """Take in what is ordinary; the places of machines whose input is not, or not for certain.

        Args:
            machines: those of `many`; None where one is not known yet.
            batch: the messages that the rows came in.
            now: monotonic time (s).
            collect: told of each machine that has windows to score.
        """
        block, counters = many.block, self._counters
        offsets, times, values = block.offsets, block.times, block.values
        interval_us = many.route.layout.interval_us
        gap = self._policy.max_gap_intervals * interval_us or UNBOUNDED
        largest = min(gap, self._policy.max_jump_intervals * interval_us or UNBOUNDED)
        marks = np.stack((times, offsets), axis=1)
        lasts = many.edges[1:] - 1
        firsts = many.edges[:-1]
        ordinary = are_ordinary(many.edges, times, values, largest).tolist()
        places = np.searchsorted(np.array(batch.offsets, dtype=np.int64), offsets[lasts]).tolist()
        stamps, life, touch = batch.timestamps_ms, partition.life.number, partition.touch
        left: list[int] = []
        rows = newest = 0
        for place, (machine, start, last, first_offset, last_offset, first_time, last_time) in enumerate(
            zip(
                machines,
                firsts.tolist(),
                lasts.tolist(),
                offsets[firsts].tolist(),
                offsets[lasts].tolist(),
                times[firsts].tolist(),
                times[lasts].tolist(),
                strict=True,
            )
        ):
            if (
                machine is None
                or not ordinary[place]
                or machine.life != life
                or machine.offset >= first_offset
                or machine.silent_since is not None
            ):
                left.append(place)
                continue
            memory: Any = machine.memory
            count = last + 1 - start
            if memory.layout.interval_us != interval_us or not memory.is_ordinary(first_time, largest):
                left.append(place)
                continue
            stop = last + 1
            memory.take_ordinary(
                values[start:stop], marks[start:stop], last_time, stamps[places[place]], gap, counters, machine.name
            )
            rows += count
            newest = max(newest, last_time)
            seen = memory.tail.seen
            for runtime in machine.runtimes:
                rule = runtime.rule
                behind = seen - rule.first_scored
                if behind > 0 and (behind - 1) // rule.stride > (behind - 1 - count) // rule.stride:
                    collect(partition, machine, block.only(slice(start, last + 1)))
                    break
            touch(machine, first_offset, last_offset, count, now)
        counters.rows += rows
        counters.newest_time = max(counters.newest_time, newest)
        return left


def are_ordinary(edges: np.ndarray, times: np.ndarray, values: np.ndarray, largest: int) -> np.ndarray:
    """[M] bool: machines whose rows lack no value, and follow each other by at most `largest` us."""
    whole = ~np.isnan(values).any(axis=1)
    if len(times) > len(edges) - 1:
        steps = times[1:] - times[:-1]
        follows = (steps > 0) & (steps <= largest)
        follows[edges[1:-1] - 1] = True  # from one machine to the next
        whole[1:] &= follows
    return np.logical_and.reduceat(whole, edges[:-1])
