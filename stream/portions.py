"""How many messages are read at a time, by what they are expected to take."""

from __future__ import annotations

from collections.abc import Mapping

from wheeltapper.stream.core.scoring_loop import RuleRuntime
from wheeltapper.stream.kinds.contract import Decoded, Intake, ManyMachines
from wheeltapper.stream.pace import MOST_BYTES, Pace
from wheeltapper.stream.partition import PartitionState
from wheeltapper.stream.records import PartitionBatch


class Portions:
    """Reads messages in portions that a step may hold."""

    def __init__(self, intakes: Mapping[str, Intake], pace: Pace) -> None:
        """
        Args:
            intakes: by the full name of their input topic.
        """
        self._intakes = intakes
        self._pace = pace
        self._last: tuple[ManyMachines, tuple[float, float]] | None = None
        """The block that was looked at last and what it takes: a step asks several times."""

    def decode(self, partition: PartitionState, batch: PartitionBatch) -> Decoded:
        """So many of the messages as a step may hold, one at least."""
        intake = self._intakes[batch.topic]
        messages = fitting(batch, self._pace.most_messages)
        while True:
            decoded = intake.decode(batch.first(messages), self._pace.most_values / 2)
            values, seconds = self.load(partition, decoded)
            share = self._pace.share(values / 2, seconds)  # reading again costs more than twice the values
            if share == 1.0 or decoded.messages == 1:
                return decoded
            messages = max(1, int(share * decoded.messages))

    def load(self, partition: PartitionState, decoded: Decoded) -> tuple[float, float]:
        """(values, seconds) that these messages are expected to take."""
        values = seconds = 0.0
        for found in decoded.blocks:
            runtimes = partition.runtimes_of(found.machine, found.route)
            more = self._pace.expect(runtimes, found.block.length, found.block.size)
            values, seconds = values + more[0], seconds + more[1]
        for many in decoded.together:
            more = self.load_together(partition, many)
            values, seconds = values + more[0], seconds + more[1]
        return values, seconds

    def load_together(self, partition: PartitionState, many: ManyMachines) -> tuple[float, float]:
        """`load` of a block of many machines: most are served by the same rules."""
        known = self._last
        if known is not None and known[0] is many:
            return known[1]
        lengths: dict[tuple[RuleRuntime, ...], int] = {}
        for name, length in zip(many.machines, (many.edges[1:] - many.edges[:-1]).tolist(), strict=True):
            runtimes = partition.runtimes_of(name, many.route)
            lengths[runtimes] = lengths.get(runtimes, 0) + length
        values, seconds = float(many.block.size), 0.0
        for runtimes, length in lengths.items():
            more = self._pace.expect(runtimes, length, 0)
            values, seconds = values + more[0], seconds + more[1]
        self._last = (many, (values, seconds))
        return values, seconds


def fitting(batch: PartitionBatch, most: int) -> int:
    """How many messages of a batch are read at a time: `most`, fewer where they are large, one at least."""
    total = 0
    for index, value in enumerate(batch.values[:most]):
        total += len(value or b"")
        if index and total > MOST_BYTES:
            return index
    return most
