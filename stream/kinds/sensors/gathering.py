"""Rows of one message each, packed while a batch is read, become arrays at its end."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

import numpy as np

from wheeltapper.stream.core.row_memory import RowBlock
from wheeltapper.stream.kinds.contract import Decoded, Gathered, MachineBlock, Route
from wheeltapper.stream.kinds.sensors.shapes import Shape
from wheeltapper.stream.records import PartitionBatch


class RowReader:
    """Reads the values of one-row JSON for one route.

    Attributes:
        route: the route.
        pick: the channels' values in the route's order.
        pack: them as float32 bytes; takes numbers only, where numpy would convert "1.5" without a word. Raises OverflowError where one
            is beyond 32 bits, struct.error where one is no number.
        width: fields that a message has where no channel is unknown.
        names: of the channels' fields.
        order: the channels' names as objects of an earlier message, if messages have them in the route's order: the
            parser gives the same objects again, and comparing those costs next to nothing.
        shape: of the newest message that was read by its shape.
        pick_of_shape: the channels' values out of that shape's; None: they are just those.
        picks: the same for every shape that came.
    """

    __slots__ = ("names", "order", "pack", "pick", "pick_of_shape", "picks", "route", "shape", "width")

    def __init__(self, route: Route, sources: list[str], fields_beside: int) -> None:
        self.route = route
        self.pick: Callable[[Any], Any] = itemgetter(*sources) if len(sources) > 1 else lambda v: (v[sources[0]],)
        self.pack = struct.Struct(f"<{len(sources)}f").pack
        self.width = len(sources) + fields_beside
        self.order = sources
        self.names = sources
        self.shape: Shape | None = None
        self.pick_of_shape: Callable[[Any], Any] | None = None
        self.picks: dict[Shape, Callable[[Any], Any] | None] = {}

    def pack_with_null(self, values: Any) -> bytes:
        """As `pack`, with NaN for null."""
        return self.pack(*[math.nan if value is None else value for value in values])


class BatchRows:
    """The machines of a batch, numbered as they come, and what was read of them.

    Attributes:
        number_of: machine -> its number.
        readers: by number.
        takers: by number; they take what the reader packed of a row.
        rows: what they took of single rows.
        numbers, times, positions: of the same rows, all readers' in turn: the machine's number, the time, the place in the batch.
        blocks: number -> what its other messages held: (position in the batch, times [n], values [n, C]) of each.
    """

    __slots__ = ("blocks", "number_of", "numbers", "positions", "readers", "rows", "takers", "times")

    def __init__(self) -> None:
        self.number_of: dict[str, int] = {}
        self.readers: list[RowReader] = []
        self.takers: list[Callable[[bytes], None]] = []
        self.rows: dict[RowReader, list[bytes]] = {}
        self.numbers: list[int] = []
        self.times: list[int] = []
        self.positions: list[int] = []
        self.blocks: dict[int, list[tuple[int, np.ndarray, np.ndarray]]] = {}

    def end(self, batch: PartitionBatch, measured: Callable[[np.ndarray], np.ndarray], decoded: Decoded) -> None:
        """What was read of the batch becomes blocks: one of all machines of a reader that have single rows alone, one of each other
        machine.

        Args:
            measured: [n, C] -> the same with NaN where a number says that there is no value.
        """
        names = [*self.number_of]
        whole = len(self.positions) == len(batch)
        offsets = batch.offsets if whole else [batch.offsets[position] for position in self.positions]
        if len(self.rows) == 1 and not self.blocks and len({*self.numbers}) == len(names):
            ((reader, packed),) = self.rows.items()
            decoded.together.append(PackedRows(reader, names, self.numbers, self.times, offsets, packed, measured))
            return
        of_machine: dict[int, list[int]] = {}
        """Number -> its rows' places in `numbers`, `times` and `positions`."""
        packed_rows: list[bytes] = []
        following = {reader: iter(packed) for reader, packed in self.rows.items()}
        for place, number in enumerate(self.numbers):
            of_machine.setdefault(number, []).append(place)
            packed_rows.append(next(following[self.readers[number]]))
        parts: dict[RowReader, PackedRows] = {}
        for number, places in of_machine.items():
            reader = self.readers[number]
            part = parts.get(reader)
            if part is None or number in self.blocks:
                part = PackedRows(reader, [], [], [], [], [], measured)
            part.add(
                names[number],
                [self.times[place] for place in places],
                [offsets[place] for place in places],
                [packed_rows[place] for place in places],
            )
            if number in self.blocks:
                self.blocks[number] += [
                    (self.positions[place], part.block.times[row : row + 1], part.block.values[row : row + 1])
                    for row, place in enumerate(places)
                ]
            else:
                parts[reader] = part
        decoded.together += parts.values()
        for number, blocks in self.blocks.items():
            blocks.sort(key=itemgetter(0))
            block = _merged(batch.offsets, blocks)
            decoded.blocks.append(MachineBlock(names[number], self.readers[number].route, block))


class PackedRows:
    """See `stream.kinds.contract.ManyMachines`: rows of one message each, of machines of one reader.

    Attributes:
        machines: M of them.
        numbers, times, offsets, packed: of each row, in the order in which they came: the machine's number among these, the time, the
            input offset, the values.
        measured: see `BatchRows.end`.
    """

    __slots__ = ("_gathered", "machines", "measured", "numbers", "offsets", "packed", "reader", "times")

    def __init__(
        self,
        reader: RowReader,
        machines: list[str],
        numbers: list[int],
        times: list[int],
        offsets: list[int],
        packed: list[bytes],
        measured: Callable[[np.ndarray], np.ndarray],
    ) -> None:
        self.reader = reader
        self.machines = machines
        self.numbers = numbers
        self.times = times
        self.offsets = offsets
        self.packed = packed
        self.measured = measured
        self._gathered: Gathered | None = None

    def add(self, machine: str, times: list[int], offsets: list[int], packed: list[bytes]) -> None:
        """One more machine's rows."""
        self.numbers += [len(self.machines)] * len(times)
        self.machines.append(machine)
        self.times += times
        self.offsets += offsets
        self.packed += packed

    @property
    def route(self) -> Route:
        """Of all of them."""
        return self.reader.route

    @property
    def length(self) -> int:
        """Rows."""
        return len(self.numbers)

    @property
    def width(self) -> int:
        """Values of a row."""
        return len(self.reader.names)

    @property
    def newest(self) -> int:
        """The latest event time (us)."""
        return max(self.times)

    @property
    def block(self) -> RowBlock:
        """All rows, machine by machine."""
        if self._gathered is None:
            self._gathered = self.gather([self])
        _, marks, values = self._gathered
        return RowBlock(marks[:, 1], marks[:, 0], values)

    def one(self, place: int) -> MachineBlock:
        """The block of one of them."""
        block = self.block
        assert self._gathered is not None
        edges = self._gathered.edges
        rows = slice(int(edges[place]), int(edges[place + 1]))
        return MachineBlock(self.machines[place], self.route, block.only(rows))

    @staticmethod
    def gather(parts: Sequence[PackedRows]) -> Gathered:
        """The rows of several, which have as many values each; machine by machine, those of one part behind those of another."""
        numbers, times, offsets, packed = parts[0].numbers, parts[0].times, parts[0].offsets, parts[0].packed
        machines = len(parts[0].machines)
        for part in parts[1:]:
            numbers = numbers + [machines + number for number in part.numbers]
            times, offsets, packed = times + part.times, offsets + part.offsets, packed + part.packed
            machines += len(part.machines)
        owners = np.array(numbers, dtype=np.int64)
        order = owners.argsort(kind="stable")
        marks = np.empty((len(owners), 2), dtype=np.int64)
        marks[:, 0] = times
        marks[:, 1] = offsets
        values = np.frombuffer(b"".join(packed), dtype="<f4").reshape(len(owners), parts[0].width)
        edges = np.zeros(machines + 1, dtype=np.int64)
        np.bincount(owners, minlength=machines).cumsum(out=edges[1:])
        return Gathered(edges, marks[order], parts[0].measured(values[order]))


def _merged(offsets: Sequence[int], blocks: list[tuple[int, np.ndarray, np.ndarray]]) -> RowBlock:
    """One machine's blocks, one behind another.

    Args:
        offsets: [n] of the batch's messages.
        blocks: as of `BatchRows`.
    """
    of_blocks = np.repeat([offsets[position] for position, *_ in blocks], [len(times) for _, times, _ in blocks])
    return RowBlock(
        of_blocks,
        np.concatenate([times for _, times, _ in blocks]),
        np.concatenate([values for _, _, values in blocks]),
    )
