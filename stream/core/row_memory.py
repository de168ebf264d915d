"""What is kept of one machine's rows between messages: its clock and the tail that windows are cut from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wheeltapper.stream.core.counters import Counters
from wheeltapper.stream.core.imputation import filled
from wheeltapper.stream.core.imputation import usual_values as usual_values
from wheeltapper.stream.core.judging import DueWindows, Emission
from wheeltapper.stream.core.policies import WindowRules
from wheeltapper.stream.core.row_clock import RowClock
from wheeltapper.stream.core.rule import RuleSpec
from wheeltapper.stream.core.windows import RowTail


@dataclass(frozen=True, slots=True)
class RowBlock:
    """Rows of one machine out of one batch, in offset order.

    Attributes:
        offsets: [n] int64, input offset of the message that each row came in.
        times: [n] int64, event time, microseconds UTC.
        values: [n, C] float32 in the layout's channel order; NaN where a sensor gave nothing.
    """

    offsets: np.ndarray
    times: np.ndarray
    values: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets)

    def after(self, offset: int) -> RowBlock:
        """The rows of messages behind `offset`."""
        new = self.offsets > offset
        return RowBlock(self.offsets[new], self.times[new], self.values[new])


@dataclass(frozen=True, slots=True, eq=False)
class RowLayout:
    """What rows of a machine look like to its rules.

    Attributes:
        channels: C names, the columns of the machine's window.
        interval_us: sampling interval.
        fill: [C] float32, raw units: what a channel counts as until its first value has come.
        window: rows kept: the longest window of the rules.
        blank: rows of NaN before a machine's first: what the rules' windows reach back to while it warms up.
    """

    channels: tuple[str, ...]
    interval_us: int
    fill: np.ndarray
    window: int
    blank: int = 0


def row_layout(rules: Sequence[RuleSpec]) -> RowLayout:
    """The layout of machines that these rules serve side by side; their bundles agree on the channels."""
    first = rules[0].manifest
    return RowLayout(
        channels=first.channel_names,
        interval_us=round(first.sampling_interval_s * 1e6),
        fill=rules[0].usual,
        window=max(rule.manifest.window for rule in rules),
        blank=max(rule.manifest.window - rule.manifest.rows_before_scoring for rule in rules),
    )


class RowMemory:
    """Rows of one machine in one input partition."""

    __slots__ = ("clock", "layout", "tail")

    def __init__(self, layout: RowLayout) -> None:
        self.layout = layout
        self.tail = RowTail(layout.window, len(layout.channels), layout.blank)
        self.clock = RowClock()

    @property
    def last_time(self) -> int | None:
        """Event time (us) of the newest row; None before the first."""
        return self.clock.last_time

    def take(self, block: RowBlock, policy: WindowRules, counters: Counters, machine: str) -> Iterator[RowBlock]:
        """Take rows in; yields each part that windows may then be cut from, before the next part is taken.

        There are several parts where the window starts anew in between.
        """
        for anew, picked in self.clock.sort(block.times, self.layout.interval_us, policy, counters, machine):
            if anew:
                self.tail.clear()
            times = block.times[picked]
            if not len(times):
                continue
            self.clock.last_time = int(times[-1])
            counters.newest_time = max(counters.newest_time, self.clock.last_time)
            counters.rows += len(times)
            values, offsets = block.values[picked], block.offsets[picked]
            absent = np.isnan(values)
            if absent.any():
                before = self.tail.last_row()
                full = filled(values, self.layout.fill if before is None else before)
                self.tail.append(times, full, absent, offsets)
                counters.imputed_values += int(absent.sum())
            else:
                self.tail.append(times, values, False, offsets)
            yield RowBlock(offsets, times, values)

    def due(self, part: RowBlock, rule: RuleSpec) -> DueWindows | None:
        """The windows of a rule that the newest part completed; None where there are none."""
        new_rows, tail, manifest = len(part), self.tail, rule.manifest
        samples, ends = tail.windows(new_rows, manifest.window, rule.stride, manifest.warm_up)
        if not len(ends):
            return None
        quality, absent = tail.measured(new_rows, ends, manifest.window, manifest.lag)
        actual = samples[:, manifest.window - 1 - manifest.lag].copy()
        if absent is not None:
            actual[absent] = np.nan
        return DueWindows(
            samples=samples,
            times=tail.scored_times(new_rows, ends, manifest.lag),
            offsets=part.offsets[ends],
            quality=quality,
            actual=actual,
            rows=tail.spanned(new_rows, ends, manifest.window),
        )

    def notices(self, part: RowBlock) -> Sequence[Emission]:
        """Nothing: what rows bring about is the judges' to say."""
        return ()

    def fit(self, layout: RowLayout) -> None:
        """Go on under another layout of the same channels: rules came or went."""
        if (layout.window, layout.blank) != (self.layout.window, self.layout.blank):
            self.tail = self.tail.resized(layout.window, layout.blank)
        self.layout = layout

    def dump(self) -> tuple[dict[str, Any], bytes]:
        """Header (JSON types) and body of a snapshot.

        The body holds the rows that the next windows need: times int64 [n], values float32 [n, C], and which values were
        imputed, a bit each, uint8 [n, ceil(C / 8)]; then, as the header's `offsets` says, the input offsets int64 [n]; all
        little-endian.
        """
        times, values, absent, offsets = self.tail.snapshot()
        header = {
            "last_time": self.clock.last_time,
            "late_run": self.clock.late_run,
            "seen": self.tail.seen,
            "channels": self.layout.channels,
            "offsets": True,
        }
        body = (
            times.astype("<i8").tobytes(),
            values.astype("<f4").tobytes(),
            np.packbits(absent, axis=1).tobytes(),
            offsets.astype("<i8").tobytes(),
        )
        return header, b"".join(body)

    def load(self, header: dict[str, Any], body: memoryview) -> None:
        """Take over what `dump` gave.

        Raises:
            LookupError, TypeError, ValueError: it cannot be read, or is of other channels.
        """
        if tuple(header["channels"]) != self.layout.channels:
            raise ValueError("its bundle's channels have changed")
        width = len(self.layout.channels)
        bits = -(-width // 8)
        told = bool(header.get("offsets", False))  # snapshots of earlier versions have none
        rows, rest = divmod(len(body), 8 + 4 * width + bits + 8 * told)
        if rest:
            raise ValueError(f"{len(body)} bytes are no whole number of rows")
        times = np.frombuffer(body, dtype="<i8", count=rows)
        values = np.frombuffer(body, dtype="<f4", count=rows * width, offset=8 * rows).reshape(rows, width)
        packed = np.frombuffer(body, dtype=np.uint8, count=rows * bits, offset=(8 + 4 * width) * rows)
        absent = np.unpackbits(packed.reshape(rows, bits), axis=1, count=width).astype(np.bool_)
        offsets = np.frombuffer(body, dtype="<i8", offset=(8 + 4 * width + bits) * rows) if told else -1
        if told and rows and int(np.min(offsets)) < -1:
            raise ValueError(f"offset {int(np.min(offsets))} of a message")
        clock = RowClock(
            None if header["last_time"] is None else int(header["last_time"]),
            int(header["late_run"]),
        )
        # A longer window than the snapshot's tail fills up first, as after a start.
        seen = int(header["seen"]) if rows >= self.layout.window - 1 else rows
        self.tail.restore(times, values, absent, seen, offsets)
        self.clock = clock
