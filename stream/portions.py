"""How many messages are read at a time, by what they are expected to take."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate

from wheeltapper.stream.kinds.contract import Decoded, Intake, ManyMachines
from wheeltapper.stream.machine import Machine
from wheeltapper.stream.pace import MOST_BYTES, Pace
from wheeltapper.stream.partition import PartitionState
from wheeltapper.stream.records import PartitionBatch


@dataclass(slots=True)
class Portion:
    """Messages of a partition that have been read.

    Attributes:
        batch: they themselves.
        load: (values, seconds) that they are expected to take.
        together: of each block in `decoded.together` its machines' states, None where one has none yet, and what it is expected to take.
    """

    partition: PartitionState
    batch: PartitionBatch
    decoded: Decoded
    load: tuple[float, float]
    together: list[tuple[list[Machine | None], tuple[float, float]]]


class Portions:
    """Reads messages in portions that a step may hold."""

    def __init__(self, intakes: Mapping[str, Intake], pace: Pace) -> None:
        """
        Args:
            intakes: by the full name of their input topic.
        """
        self._intakes = intakes
        self._pace = pace

    def next(self, partition: PartitionState, batch: PartitionBatch) -> Portion:
        """So many of the messages as a step may hold, one at least."""
        intake, pace = self._intakes[batch.topic], self._pace
        messages = fitting(batch, pace.most_messages)
        while True:
            decoded = intake.decode(batch.first(messages), pace.most_values / 2)
            values = seconds = 0.0
            for found in decoded.blocks:
                runtimes = partition.runtimes_of(found.machine, found.route)
                more = pace.expect(runtimes, found.block.length, found.block.size)
                values, seconds = values + more[0], seconds + more[1]
            together = [self._together(partition, many) for many in decoded.together]
            for _, more in together:
                values, seconds = values + more[0], seconds + more[1]
            share = pace.share(values / 2, seconds)  # reading again costs more than twice the values
            if share == 1.0 or decoded.messages == 1:
                return Portion(partition, batch.first(decoded.messages), decoded, (values, seconds), together)
            messages = max(1, int(share * decoded.messages))

    def _together(
        self, partition: PartitionState, many: ManyMachines
    ) -> tuple[list[Machine | None], tuple[float, float]]:
        """As of `Portion`. Most machines are served by the same rules; else the dearest count for all."""
        machines = partition.known(many.machines)
        served = {machine.runtimes for machine in machines if machine is not None}
        if None in machines:
            served.add(partition.runtimes_of(many.machines[machines.index(None)], many.route))
        loads = [self._pace.expect(runtimes, many.length, many.length * many.width) for runtimes in served]
        return machines, (max(values for values, _ in loads), max(seconds for _, seconds in loads))


def fitting(batch: PartitionBatch, most: int) -> int:
    """How many messages of a batch are read at a time: `most`, fewer where they are large, one at least."""
    sizes = [len(value or b"") for value in batch.values[:most]]
    if sum(sizes) <= MOST_BYTES:
        return most
    return max(1, bisect_right([*accumulate(sizes)], MOST_BYTES))
