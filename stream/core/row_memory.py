"""What is kept of one machine's rows between messages: its clock and the tail that windows are cut from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from wheeltapper.schemas.clock import MAX_MICROS, MIN_MICROS, iso_from_micros
from wheeltapper.schemas.codec import CONTENT_TYPES, encode_sensor_block
from wheeltapper.schemas.sensor_block import SensorBlock
from wheeltapper.schemas.text import duration
from wheeltapper.stream.core.absence import Absence
from wheeltapper.stream.core.counters import Counters
from wheeltapper.stream.core.imputation import filled
from wheeltapper.stream.core.imputation import usual_values as usual_values
from wheeltapper.stream.core.judging import DueWindows, Emission, Refused
from wheeltapper.stream.core.policies import WindowRules
from wheeltapper.stream.core.rates import RateCheck, tell_of_rate
from wheeltapper.stream.core.row_clock import NO_STAMP, PROOF_ROWS, UNBOUNDED, RowClock
from wheeltapper.stream.core.row_store import Placed as Placed
from wheeltapper.stream.core.row_store import RowStore
from wheeltapper.stream.core.rule import RuleSpec
from wheeltapper.stream.core.saved import flag, moment, optional, whole
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
        sources: of rows that waited for others: `offsets` are then those of the messages that let them in, these their own.
    """

    offsets: np.ndarray
    times: np.ndarray
    values: np.ndarray
    sources: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.offsets)

    @property
    def length(self) -> int:
        """Rows."""
        return len(self.offsets)

    @property
    def size(self) -> int:
        """Values."""
        return self.values.size

    def after(self, offset: int) -> RowBlock:
        """The rows of messages behind `offset`."""
        return self.only(self.offsets > offset)

    def only(self, kept: np.ndarray | slice) -> RowBlock:
        """The rows that [n] bool `kept` says, or a range of them."""
        return RowBlock(self.offsets[kept], self.times[kept], self.values[kept])

    def behind(self, waiting: RowBlock) -> RowBlock:
        """These rows behind those that waited."""
        return RowBlock(
            np.concatenate([waiting.offsets, self.offsets]),
            np.concatenate([waiting.times, self.times]),
            np.concatenate([waiting.values, self.values]),
        )


@dataclass(frozen=True, eq=False)
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

    @cached_property
    def store(self) -> RowStore:
        """Where the rows of machines with this layout are."""
        return RowStore(self.window, len(self.channels), self.blank)


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

    __slots__ = ("_largest_gap", "_refused", "_stamps", "_waiting", "absence", "clock", "layout", "rate", "tail")

    def __init__(self, layout: RowLayout) -> None:
        self.layout = layout
        self.tail = RowTail(layout.window, len(layout.channels), layout.blank, layout.store)
        self.clock = RowClock(self.tail.store, self.tail.slot)
        self.rate: RateCheck | None = RateCheck()
        """None once it has been judged whether rows come as often as those that the bundle was trained on."""
        self._waiting: RowBlock | None = None
        """Rows far ahead of the clock, which others may prove; None where there are none."""
        self._stamps: list[int] = []
        """Timestamps (ms) of the records that those came in."""
        self._largest_gap = UNBOUNDED
        """Of the last rows that were taken, us."""
        self._refused: list[Refused] = []
        self.absence = Absence()

    @property
    def last_time(self) -> int | None:
        """Event time (us) of the newest row; None before the first."""
        return self.clock.last_time

    def take(
        self,
        block: RowBlock,
        policy: WindowRules,
        counters: Counters,
        machine: str,
        stamp_of: Callable[[int], int] | None = None,
    ) -> Iterator[RowBlock]:
        """Take rows in; yields each part that windows may then be cut from, before the next part is taken.

        There are several parts where the window starts anew in between.

        Args:
            stamp_of: input offset -> timestamp (ms) of that record; None: records have none.
        """
        waiting, stamps = len(self._stamps), self._stamps
        if self._waiting is not None:
            block = block.behind(self._waiting)
        offsets = block.offsets

        def stamp(row: int) -> int:
            if row < waiting:
                return stamps[row]
            return NO_STAMP if stamp_of is None else stamp_of(int(offsets[row]))

        self._largest_gap = policy.max_gap_intervals * self.layout.interval_us or UNBOUNDED
        done = self.clock.sort(block.times, self.layout.interval_us, policy, counters, machine, stamp, waiting)
        if waiting or done.waiting:
            self._waiting = block.only(np.array(done.waiting, dtype=np.int64)) if done.waiting else None
            self._stamps = [stamp(row) for row in done.waiting]
        self._refused += [self._refuse(machine, block, row, by, last) for row, by, last in done.refused]
        for part in done.parts:
            if part.anew:
                self._begin_anew()
            taken = self._append(block, part.rows, part.by, counters, machine)
            if taken is not None:
                yield taken

    def placed(self) -> Placed | None:
        """Where its rows lie beside those of other machines; None while what comes next is not known to go on from its last row."""
        if self._waiting is not None or self.clock.last_time is None:
            return None
        return Placed(self.tail.store, self.tail.slot, self.layout.interval_us)

    def see_whole(self, times: np.ndarray, counters: Counters, machine: str) -> None:
        """Note, for the log, [n] event times (us) of rows that lack no value; of no use once the store's `settled` is 1."""
        self._see_rate(times, counters, machine)
        self.absence.settled = True
        self.tail.store.settled[self.tail.slot] = self.rate is None

    def _see_rate(self, times: np.ndarray, counters: Counters, machine: str) -> None:
        if self.rate is not None and (step := self.rate.see(times)) is not None:
            tell_of_rate(step, self.layout.interval_us, counters, machine, readings=False)
            self.rate = None

    def rest(self, counters: Counters, machine: str) -> Iterator[RowBlock]:
        """The rows that wait for others, where none follows: at the end of a recording; as `take`."""
        waiting, self._waiting, self._stamps = self._waiting, None, []
        if waiting is None:
            return
        assert self.clock.last_time is not None  # only a row behind another waits
        apart = np.diff(waiting.times, prepend=self.clock.last_time) > self._largest_gap
        edges = [0, *(np.flatnonzero(apart[1:]) + 1).tolist(), len(waiting)]
        for start, stop in pairwise(edges):
            if apart[start]:
                counters.gaps += 1
                self._begin_anew()
            rows = slice(start, stop)
            taken = self._append(waiting, rows, rows, counters, machine)
            assert taken is not None
            yield taken

    def _begin_anew(self) -> None:
        self.tail.clear()
        if self.rate is not None:
            self.rate.restart()

    def _append(
        self, block: RowBlock, rows: list[int] | slice, by: list[int] | slice, counters: Counters, machine: str
    ) -> RowBlock | None:
        """Some rows of a block into the tail; what windows may be cut from, None where there are no rows."""
        times = block.times[rows]
        if not len(times):
            return None
        self.clock.last_time = int(times[-1])
        counters.newest_time = max(counters.newest_time, self.clock.last_time)
        counters.rows += len(times)
        values = block.values[rows]
        absent = np.isnan(values)
        if absent.any():
            self._see_rate(times, counters, machine)
            before = self.tail.last_row()
            full = filled(values, self.layout.fill if before is None else before)
            self.tail.append(times, full, absent, block.offsets[rows])
            counters.imputed_values += int(absent.sum())
            if not self.absence.settled:
                self.absence.see(absent, machine, self.layout.channels)
        else:
            self.see_whole(times, counters, machine)
            self.tail.append(times, values, False, block.offsets[rows])
        return RowBlock(block.offsets[by], times, values, None if by == rows else block.offsets[rows])

    def _refuse(self, machine: str, block: RowBlock, row: int, by: int, last: int) -> Refused:
        time = int(block.times[row])
        alone = SensorBlock(machine, block.times[[row]], self.layout.channels, block.values[[row]])
        detail = (
            f"event time {iso_from_micros(time)} is {duration((time - last) / 1e6)} ahead of the machine's row before, "
            f"{iso_from_micros(last)}, and the row that followed went on from that; check the clock of the sender "
            "(windows.max_jump_intervals)"
        )
        value = encode_sensor_block(alone, "json")
        return Refused(int(block.offsets[row]), int(block.offsets[by]), value, CONTENT_TYPES["json"], detail)

    @property
    def waiting(self) -> tuple[int, int] | None:
        """Input offset and event time (us) of the first row that waits for others; None where none does."""
        return None if self._waiting is None else (int(self._waiting.offsets[0]), int(self._waiting.times[0]))

    def refused(self) -> Sequence[Refused]:
        """Rows that were refused since this was last asked."""
        if not self._refused:
            return ()
        refused, self._refused = self._refused, []
        return refused

    def restart(self) -> None:
        """The machine's clock was set back: the next row is its first."""
        self.tail.clear()
        self.clock.set()

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
            run=tail.run(new_rows, ends, manifest.window),
        )

    def notices(self, part: RowBlock) -> Sequence[Emission]:
        """Nothing: what rows bring about is the judges' to say."""
        return ()

    def fit(self, layout: RowLayout) -> None:
        """Go on under another layout of the same channels: rules came or went."""
        if (layout.window, layout.blank) != (self.layout.window, self.layout.blank):
            self.tail = self.tail.resized(layout.window, layout.blank, layout.store)
            self.clock = self.clock.moved(self.tail.store, self.tail.slot)
        self.layout = layout

    def dump(self) -> tuple[dict[str, Any], bytes]:
        """Header (JSON types) and body of a snapshot.

        The body holds the rows that the next windows need: times int64 [n], values float32 [n, C], and which values were
        imputed, a bit each, uint8 [n, ceil(C / 8)]; then, as the header's `offsets` says, the input offsets int64 [n]; all
        little-endian.
        """
        times, values, absent, offsets = self.tail.snapshot()
        header: dict[str, Any] = {
            "last_time": self.clock.last_time,
            "late_run": self.clock.late_run,
            "back": [self.clock.back_run, self.clock.back_time],
            "support": self.clock.support,
            "stamp": self.clock.stamp,
            "seen": self.tail.seen,
            "channels": self.layout.channels,
            "offsets": True,
        }
        if self._waiting is not None:
            header["waiting"] = {
                "offsets": self._waiting.offsets.tolist(),
                "times": self._waiting.times.tolist(),
                "stamps": self._stamps,
                "values": self._waiting.values.tolist(),  # NaN becomes null
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
        last_time, late_run = optional(moment, header["last_time"]), whole(header["late_run"], 0, MOST_SEEN)
        told = flag(header.get("offsets", False))  # snapshots of earlier versions have none
        rows, rest = divmod(len(body), 8 + 4 * width + bits + 8 * told)
        if rest:
            raise ValueError(f"{len(body)} bytes are no whole number of rows")
        times = np.frombuffer(body, dtype="<i8", count=rows)
        values = np.frombuffer(body, dtype="<f4", count=rows * width, offset=8 * rows).reshape(rows, width)
        packed = np.frombuffer(body, dtype=np.uint8, count=rows * bits, offset=(8 + 4 * width) * rows)
        absent: np.ndarray | bool = False
        if packed.any():
            absent = np.unpackbits(packed.reshape(rows, bits), axis=1, count=width).astype(np.bool_)
        offsets = np.frombuffer(body, dtype="<i8", offset=(8 + 4 * width + bits) * rows) if told else -1
        if told and rows and int(np.min(offsets)) < -1:
            raise ValueError(f"offset {int(np.min(offsets))} of a message")
        if not np.isfinite(values).all():
            raise ValueError("values that are no finite numbers")
        if rows and (last_time is None or int(times.max()) > last_time or int(times.min()) < MIN_MICROS):
            raise ValueError(f"rows up to {int(times.max())} of a machine whose newest row is of {last_time}")
        # Snapshots of a version that knew no jumps lack what only those need.
        back_run, back_time = header.get("back", (0, 0))
        saved = (
            last_time,
            whole(header.get("stamp", NO_STAMP), NO_STAMP),
            late_run,
            whole(back_run, 0, MOST_SEEN),
            whole(back_time, MIN_MICROS, MAX_MICROS),
            whole(header.get("support", header["seen"]), 0, MOST_SEEN),
        )
        waiting, stamps = _read_waiting(header.get("waiting"), width)
        # A longer window than the snapshot's tail fills up first, as after a start.
        seen = whole(header["seen"], 0, MOST_SEEN)
        seen = max(seen, rows) if rows >= self.layout.window - 1 else rows
        self.tail.restore(times, values, absent, seen, offsets)
        self.clock.set(*saved)
        self._waiting, self._stamps = waiting, stamps


def _read_waiting(saved: dict[str, Any] | None, width: int) -> tuple[RowBlock | None, list[int]]:
    """Rows that wait, of a snapshot, and the timestamps of their records."""
    if saved is None:
        return None, []
    offsets = np.array([whole(entry) for entry in saved["offsets"]], dtype=np.int64)
    times = np.array([moment(entry) for entry in saved["times"]], dtype=np.int64)
    stamps = [whole(stamp, NO_STAMP) for stamp in saved["stamps"]]
    values = np.array(saved["values"], dtype=np.float32)
    rows = len(offsets)
    if not 0 < rows < PROOF_ROWS or (len(times), len(stamps), values.shape) != (rows, rows, (rows, width)):
        raise ValueError(f"{rows} rows wait, with {len(times)} times and values {values.shape}")
    if np.isinf(values).any() or (np.diff(offsets) < 0).any():
        raise ValueError("rows wait whose values are infinite, or whose offsets fall")
    return RowBlock(offsets, times, values), stamps
