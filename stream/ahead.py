"""Rows and chunks from the future: those whose event time is too far ahead of the timestamp of the record that they came in.

The verdict on an entry follows from its time and its record's timestamp alone, which the log of Kafka keeps: reading it again after
a restart, or in other company, gives the same. Where records have no timestamps, only neighbours tell
(`stream.core.row_clock`, `stream.kinds.audio.clock`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import structlog

from wheeltapper.schemas.clock import iso_from_micros
from wheeltapper.schemas.errors import DecodeError
from wheeltapper.schemas.events import DeadLetterReason
from wheeltapper.schemas.text import duration
from wheeltapper.stream.core.counters import Counters
from wheeltapper.stream.core.judging import Emission
from wheeltapper.stream.dead_letters import dead_letter
from wheeltapper.stream.kinds.contract import Decoded, MachineBlock
from wheeltapper.stream.records import PartitionBatch

log = structlog.get_logger(__name__)

REMEMBERED = 10_000
"""Machines of which it is remembered that the log told of them."""


class AheadCheck:
    """Refuses what is more than `input.max_ahead_s` ahead of its record."""

    def __init__(self, max_ahead_s: float, counters: Counters) -> None:
        """
        Args:
            max_ahead_s: 0: nothing is refused.
        """
        self._most_us = round(max_ahead_s * 1e6)
        self._counters = counters
        self._told: dict[str, int] = {}
        """Machine -> entries refused; the log tells of the first, the tenth, the hundredth and so on."""

    def refuse(self, batch: PartitionBatch, decoded: Decoded) -> tuple[Decoded, list[Emission]]:
        """What is left without entries from the future, with dead letters for the messages that held nothing else.

        Returns:
            the rest, and dead letters of messages of which other entries are taken.
        """
        if not self._most_us or not (decoded.blocks or decoded.together):
            return decoded, []
        stamps = [stamp for stamp in batch.timestamps_ms if stamp > 0]
        if not stamps:
            return decoded, []
        # No entry before the earliest record's limit is ahead: nearly always that settles it.
        earliest = min(stamps) * 1_000 + self._most_us
        newest = [int(found.block.times.max()) for found in decoded.blocks]
        newest += [many.newest for many in decoded.together]
        if max(newest) <= earliest:
            return decoded, []
        blocks: list[MachineBlock] = []
        bad: dict[int, list[int]] = {}
        """Offset -> times of its entries that are ahead."""
        taken: set[int] = set()
        for found in decoded.each():
            block = self._without(batch, found, bad)
            if len(block.offsets):
                taken.update(np.unique(block.offsets).tolist())
                blocks.append(MachineBlock(found.machine, found.route, block))
        letters = [Emission(offset, self._letter(batch, offset, bad[offset])) for offset in sorted(bad)]
        whole = [letter for letter in letters if letter.offset not in taken]
        partly = [letter for letter in letters if letter.offset in taken]
        return replace(decoded, blocks=blocks, together=[], dead_letters=[*decoded.dead_letters, *whole]), partly

    def _without(self, batch: PartitionBatch, found: MachineBlock, bad: dict[int, list[int]]) -> Any:
        """The machine's block without the entries that are ahead, which are noted."""
        block = found.block
        stamps = np.array([batch.stamp_of(offset) for offset in block.offsets.tolist()], dtype=np.int64)
        is_ahead = (stamps > 0) & (block.times > stamps * 1_000 + self._most_us)
        if not is_ahead.any():
            return block
        for offset, time in zip(block.offsets[is_ahead].tolist(), block.times[is_ahead].tolist(), strict=True):
            bad.setdefault(offset, []).append(time)
        self._tell(found.machine, int(is_ahead.sum()), int(block.times[is_ahead][0]), int(stamps[is_ahead][0]))
        return block.only(~is_ahead)

    def _tell(self, machine: str, refused: int, time: int, stamp_ms: int) -> None:
        self._counters.ahead_rows += refused
        if len(self._told) > REMEMBERED:
            self._told.clear()
        before = self._told.get(machine, 0)
        self._told[machine] = now = before + refused
        if len(str(before)) == len(str(now)) and before:
            return
        log.warning(
            "from the future: refused, to dead-letters (time-ahead)",
            machine=machine,
            time=iso_from_micros(time),
            record_timestamp=iso_from_micros(stamp_ms * 1_000),
            ahead=duration((time - stamp_ms * 1_000) / 1e6),
            refused=now,
            what_to_do="set the sender's clock; input.max_ahead_s is the limit",
        )

    def _letter(self, batch: PartitionBatch, offset: int, times: list[int]) -> Any:
        index = batch.index_of(offset)
        stamp = batch.timestamps_ms[index] * 1_000
        error = DecodeError(
            DeadLetterReason.TIME_AHEAD,
            f"event time {iso_from_micros(times[0])} is {duration((times[0] - stamp) / 1e6)} ahead of the record's timestamp "
            f"{iso_from_micros(stamp)}, at most {duration(self._most_us / 1e6)} is taken (input.max_ahead_s): check the sender's "
            f"clock; rows or chunks concerned: {len(times)}",
        )
        return dead_letter(batch, index, error)
