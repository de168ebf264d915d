"""Rows of one message each, packed while a batch is read, become arrays at its end."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from operator import itemgetter
from typing import Any

import numpy as np

from wheeltapper.stream.core.row_memory import RowBlock
from wheeltapper.stream.kinds.contract import Decoded, MachineBlock, ManyMachines, Route
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

    def gather(self, batch: PartitionBatch, measured: Callable[[np.ndarray], np.ndarray], decoded: Decoded) -> None:
        """What was read of the batch becomes blocks: one of all machines of a reader that have single rows alone, one of each other
        machine.

        Args:
            measured: [n, C] -> the same with NaN where a number says that there is no value.
        """
        offsets = np.array(batch.offsets, dtype=np.int64)
        names = [*self.number_of]
        numbers = np.array(self.numbers, dtype=np.int64)
        times = np.array(self.times, dtype=np.int64)
        positions = np.array(self.positions, dtype=np.int64)
        beside: dict[int, tuple[RowBlock, np.ndarray]] = {}
        """Number -> single rows of a machine that has blocks too, and where in the batch they came."""
        for reader, packed in self.rows.items():
            if not packed:
                continue
            values = np.frombuffer(b"".join(packed), dtype="<f4").reshape(-1, len(reader.names))
            if len(packed) < len(numbers):
                mine = np.flatnonzero(np.array([other is reader for other in self.readers])[numbers])
                within = np.argsort(numbers[mine], kind="stable")
                order, values = mine[within], values[within]
            else:
                order = np.argsort(numbers, kind="stable")
                values = values[order]
            owners, places = numbers[order], positions[order]
            rows = RowBlock(offsets[places], times[order], measured(values))
            if self.blocks:
                kept = np.ones(len(owners), dtype=np.bool_)
                for number in self.blocks:
                    if self.readers[number] is reader:
                        those = owners == number
                        beside[number] = rows.only(those), places[those]
                        kept &= ~those
                rows, owners = rows.only(kept), owners[kept]
            if len(owners):
                # np.diff takes longer than everything else that is done for a few rows.
                changes = np.flatnonzero(owners[1:] != owners[:-1])
                edges = np.zeros(len(changes) + 2, dtype=np.int64)
                np.add(changes, 1, out=edges[1:-1])
                edges[-1] = len(owners)
                machines = [names[number] for number in owners[edges[:-1]].tolist()]
                decoded.together.append(ManyMachines(machines, reader.route, edges, rows))
        for number, blocks in self.blocks.items():
            block = _merged(offsets, blocks, *beside.get(number, ()))
            decoded.blocks.append(MachineBlock(names[number], self.readers[number].route, block))


def _merged(
    offsets: np.ndarray,
    blocks: list[tuple[int, np.ndarray, np.ndarray]],
    rows: RowBlock | None = None,
    positions: np.ndarray | None = None,
) -> RowBlock:
    """One machine's single rows and blocks, in the order in which they came.

    Args:
        offsets: [n] of the batch's messages.
        blocks: as of `BatchRows`.
        rows, positions: its single rows, and where in the batch they came.
    """
    of_blocks = np.repeat([index for index, _, _ in blocks], [len(times) for _, times, _ in blocks])
    block = RowBlock(
        offsets[of_blocks],
        np.concatenate([times for _, times, _ in blocks]),
        np.concatenate([values for _, _, values in blocks]),
    )
    if rows is None or positions is None:
        return block
    return block.behind(rows).only(np.argsort(np.concatenate([positions, of_blocks]), kind="stable"))
