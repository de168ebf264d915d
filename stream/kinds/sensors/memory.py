"""Rows of one machine, and the readings that rows are put together from where messages carry those."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from wheeltapper.stream.core.assembly import Assembler
from wheeltapper.stream.core.counters import Counters
from wheeltapper.stream.core.policies import WindowPolicy, WindowRules
from wheeltapper.stream.core.readings import AssemblyRules, ReadingBlock
from wheeltapper.stream.core.row_memory import Placed, RowBlock, RowLayout, RowMemory


class SensorMemory(RowMemory):
    """See `RowMemory`; takes blocks of readings too."""

    __slots__ = ("_assembler", "_rules")

    def __init__(self, layout: RowLayout) -> None:
        super().__init__(layout)
        self._assembler: Assembler | None = None
        self._rules = AssemblyRules()

    def take(
        self,
        block: RowBlock | ReadingBlock,
        policy: WindowRules,
        counters: Counters,
        machine: str,
        stamp_of: Callable[[int], int] | None = None,
    ) -> Iterator[RowBlock]:
        """Take rows or readings in; yields each part that windows may then be cut from, before the next part is taken.

        Args:
            stamp_of: as of `RowMemory.take`; readings bring their own.
        """
        if isinstance(block, RowBlock):
            yield from super().take(block, policy, counters, machine, stamp_of)
            return
        if self._assembler is None:
            self._assembler = self._new_assembler()
            self.rate = None  # its rows are on the grid; it looks at the rate of readings itself
        self._rules = block.rules
        # The assembler has settled which times are believed.
        settled = WindowPolicy(clock_restart_rows=0, max_gap_intervals=policy.max_gap_intervals, max_jump_intervals=0)
        for restarted, rows in self._assembler.take(block, policy, counters, machine):
            if restarted:
                self.restart()
            if len(rows):
                yield from super().take(rows, settled, counters, machine)

    def placed(self) -> Placed | None:
        """See `RowMemory.placed`; rows that are put together from readings go another way."""
        return None if self._assembler is not None else super().placed()

    def rest(self, counters: Counters, machine: str) -> Iterator[RowBlock]:
        """Rows that wait for readings of their time, or for other rows, where none follow."""
        yield from super().rest(counters, machine)
        if self._assembler is not None:
            rows = self._assembler.rest(self._rules, counters, machine)
            settled = WindowPolicy(clock_restart_rows=0, max_jump_intervals=0)
            if len(rows):
                yield from super().take(rows, settled, counters, machine)

    def fit(self, layout: RowLayout) -> None:
        """Go on under another layout of the same channels: rules came or went."""
        super().fit(layout)
        if self._assembler is not None:
            self._assembler.fit(layout.interval_us)

    def dump(self) -> tuple[dict[str, Any], bytes]:
        """Header (JSON types) and body of a snapshot: those of the rows, and in the header what the assembler holds."""
        header, body = super().dump()
        if self._assembler is not None:
            header["assembly"] = self._assembler.dump()
        return header, body

    def load(self, header: dict[str, Any], body: memoryview) -> None:
        """Take over what `dump` gave.

        Raises:
            AttributeError, LookupError, TypeError, ValueError: it cannot be read, or is of other channels.
        """
        saved = header.get("assembly")
        assembler = None
        if saved is not None:
            assembler = self._new_assembler()
            assembler.load(saved)
        super().load(header, body)
        self._assembler = assembler
        if assembler is not None:
            self.rate = None

    def _new_assembler(self) -> Assembler:
        return Assembler(len(self.layout.channels), self.layout.interval_us)
