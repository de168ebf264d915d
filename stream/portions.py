"""How many messages are read at a time, by what they are expected to take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
        values, seconds: that they are expected to take.
        machines: of each block in `decoded.together` its machines' states; None where one has none yet.
    """

    partition: PartitionState
    batch: PartitionBatch
    decoded: Decoded
    values: float
    seconds: float
    machines: list[list[Machine | None]]


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
        intake = self._intakes[batch.topic]
        messages = fitting(batch, self._pace.most_messages)
        while True:
            decoded = intake.decode(batch.first(messages), self._pace.most_values / 2)
            machines = [partition.known(many.machines) for many in decoded.together]
            values, seconds = self._load(partition, decoded, machines)
            share = self._pace.share(values / 2, seconds)  # reading again costs more than twice the values
            if share == 1.0 or decoded.messages == 1:
                return Portion(partition, batch.first(decoded.messages), decoded, values, seconds, machines)
            messages = max(1, int(share * decoded.messages))

    def _load(
        self, partition: PartitionState, decoded: Decoded, machines: Sequence[Sequence[Machine | None]]
    ) -> tuple[float, float]:
        """(values, seconds) that these messages are expected to take."""
        values = seconds = 0.0
        for found in decoded.blocks:
            runtimes = partition.runtimes_of(found.machine, found.route)
            more = self._pace.expect(runtimes, found.block.length, found.block.size)
            values, seconds = values + more[0], seconds + more[1]
        for many, known in zip(decoded.together, machines, strict=True):
            more = self.load_together(partition, many, known)
            values, seconds = values + more[0], seconds + more[1]
        return values, seconds

    def load_together(
        self, partition: PartitionState, many: ManyMachines, machines: Sequence[Machine | None]
    ) -> tuple[float, float]:
        """(values, seconds) of a block of many machines: most are served by the same rules, else the dearest count."""
        served = {machine.runtimes for machine in machines if machine is not None}
        if None in machines:
            served.add(partition.runtimes_of(many.machines[machines.index(None)], many.route))
        loads = [self._pace.expect(runtimes, many.block.length, many.block.size) for runtimes in served]
        return max(values for values, _ in loads), max(seconds for _, seconds in loads)


def fitting(batch: PartitionBatch, most: int) -> int:
    """How many messages of a batch are read at a time: `most`, fewer where they are large, one at least."""
    total = 0
    for index, value in enumerate(batch.values[:most]):
        total += len(value or b"")
        if index and total > MOST_BYTES:
            return index
    return most
