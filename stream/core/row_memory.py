"""What is kept of one machine's rows between messages: its clock and the tail that windows are cut from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wheeltapper.schemas.clock import MIN_MICROS
from wheeltapper.stream.core.counters import Counters
from wheeltapper.stream.core.imputation import filled
from wheeltapper.stream.core.imputation import usual_values as usual_values
from wheeltapper.stream.core.judging import DueWindows, Emission
from wheeltapper.stream.core.policies import WindowRules
from wheeltapper.stream.core.row_clock import RowClock
from wheeltapper.stream.core.rule import RuleSpec
from wheeltapper.stream.core.saved import moment, optional, whole
from wheeltapper.stream.core.windows import RowTail

MOST_SEEN = 2**53
"""More rows than any machine has sent."""


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
            values = block.values[picked]
            absent = np.isnan(values)
            if absent.any():
                before = self.tail.last_row()
                self.tail.append(times, filled(values, self.layout.fill if before is None else before), absent)
                counters.imputed_values += int(absent.sum())
            else:
                self.tail.append(times, values, False)
            yield RowBlock(block.offsets[picked], times, values)

    def due(self, part: RowBlock, rule: RuleSpec, *, keep_rows: bool) -> DueWindows | None:
        """The windows of a rule that the newest part completed; None where there are none.

        Args:
            keep_rows: also a copy of the rows that the windows lie in.
        """
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
            rows=tail.spanned(new_rows, ends, manifest.window) if keep_rows else None,
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
        imputed, a bit each, uint8 [n, ceil(C / 8)]; all little-endian.
        """
        times, values, absent = self.tail.snapshot()
        header = {
            "last_time": self.clock.last_time,
            "late_run": self.clock.late_run,
            "seen": self.tail.seen,
            "channels": self.layout.channels,
        }
        body = (times.astype("<i8").tobytes(), values.astype("<f4").tobytes(), np.packbits(absent, axis=1).tobytes())
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
        last_time, late_run = optional(moment, header["last_time"]), whole(header["late_run"])
        rows, rest = divmod(len(body), 8 + 4 * width + bits)
        if rest:
            raise ValueError(f"{len(body)} bytes are no whole number of rows")
        times = np.frombuffer(body, dtype="<i8", count=rows)
        values = np.frombuffer(body, dtype="<f4", count=rows * width, offset=8 * rows).reshape(rows, width)
        packed = np.frombuffer(body, dtype=np.uint8, offset=(8 + 4 * width) * rows).reshape(rows, bits)
        absent = np.unpackbits(packed, axis=1, count=width).astype(np.bool_)
        if not np.isfinite(values).all():
            raise ValueError("values that are no finite numbers")
        if rows and (last_time is None or int(times.max()) > last_time or int(times.min()) < MIN_MICROS):
            raise ValueError(f"rows up to {int(times.max())} of a machine whose newest row is of {last_time}")
        # A longer window than the snapshot's tail fills up first, as after a start.
        told = whole(header["seen"], 0, MOST_SEEN)
        seen = max(told, rows) if rows >= self.layout.window - 1 else rows
        self.tail.restore(times, values, absent, seen)
        self.clock = RowClock(last_time, late_run)
