"""Where a chunk's samples belong: what is new, what came before, what is missing. Pure arithmetic on sample numbers.

Time is counted in samples since the clock (re)started. A chunk that starts within the tolerance of where the sender's last one
ended follows it; any other start is a jump, forward over a gap or back into what is there already. All that is decided follows from
samples and their times: how samples are grouped into chunks changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from wheeltapper.schemas.clock import MAX_MICROS, MIN_MICROS
from wheeltapper.schemas.limits import MAX_SAMPLE_RATE
from wheeltapper.stream.core.saved import LARGEST, moment, optional, whole

SECOND_US = 1_000_000
FOLLOW = 16
"""One part in so many of a chunk's deviation is followed: jitter is smoothed, a clock that runs fast or slow is kept up with."""

FAR_US = 60 * SECOND_US
"""A chunk that is further ahead than that may have a wrong stamp: where sound goes on from before it, the clock goes back at once."""

Restart = Literal["", "gap", "clock-restart"]


@dataclass(frozen=True, slots=True)
class Placement:
    """What becomes of a chunk.

    Attributes:
        restart: why the count of samples starts anew with it; '': it goes on.
        drop: its first samples that are not new.
        index: number of its first sample by the count before, negative before the count's start.
        fill: samples missing before it, few enough to be filled in.
        skewed: its start is off by more than rounding, but is within the tolerance.
    """

    restart: Restart = ""
    drop: int = 0
    index: int = 0
    fill: int = 0
    skewed: bool = False


@dataclass(slots=True)
class SourceClock:
    """One microphone's event time.

    Attributes:
        rate: samples a second of its sender; 0 before the first chunk.
        anchor_time, anchor_index: event time (us) of one sample, from which those of others are counted.
        count: samples taken since the clock (re)started, filled ones included.
        cursor: number that the sender's next sample has if its next chunk follows the last.
        late: samples in a row that were not new, to notice a clock that was set back.
        jump_time, jump_index: start (us) and number of the first sample of the last chunk that did not follow.
        home: end (us) of the sound before a chunk that was far ahead; None where there was none, or as much sound has followed it
            as proves a clock.
    """

    rate: int = 0
    anchor_time: int = 0
    anchor_index: int = 0
    count: int = 0
    cursor: int = 0
    late: int = 0
    jump_time: int = 0
    jump_index: int = 0
    home: int | None = None

    @staticmethod
    def load(saved: Mapping[str, Any]) -> SourceClock:
        """
        Raises:
            AttributeError, LookupError, TypeError, ValueError: it cannot be read.
        """
        times = ("anchor_time", "jump_time")
        read = {
            name: moment(value) if name in times else whole(value, -LARGEST) if name == "jump_index" else whole(value)
            for name, value in saved.items()
            if name != "home"
        }
        if read.get("rate", 0) > MAX_SAMPLE_RATE:
            raise ValueError(f"a rate of {read['rate']}")
        return SourceClock(**read, home=optional(moment, saved.get("home")))

    def time_of(self, index: int, parts: int = 1) -> int:
        """Event time (us) of the sample with number index / parts; never beyond what a message can say."""
        time = self.anchor_time + _rounded((index - self.anchor_index * parts) * SECOND_US, self.rate * parts)
        return min(max(time, MIN_MICROS), MAX_MICROS)

    def begin(self, rate: int, start: int) -> None:
        """Start anew with a sample at event time `start` (us)."""
        self.rate, self.anchor_time = rate, start
        self.anchor_index = self.count = self.cursor = self.late = 0

    def place(self, start: int, samples: int, *, tolerance_us: int, most_fill: int, most_late: int) -> Placement:
        """Move on by a chunk of the clock's rate.

        Args:
            start: event time (us) of its first sample.
            most_fill: samples that a gap may have to be filled.
            most_late: late samples in a row after which the clock counts as restarted; 0: never.
        """
        off = start - self.time_of(self.cursor)
        skewed = False
        if abs(off) <= tolerance_us:
            index = self.cursor
            skewed = abs(off) > max(2, SECOND_US // self.rate)
            if skewed and index == self.count:
                self.anchor_time = self.time_of(index) + (off // FOLLOW if off > 0 else -(-off // FOLLOW))
                self.anchor_index = index
        else:
            index = self.cursor + _rounded(off * self.rate, SECOND_US)
            self.jump_time, self.jump_index = start, index
        past = min(max(self.count - index, 0), samples)
        if self.count > most_late:
            self.home = None
        if past and self.home is not None and -tolerance_us <= start - self.home <= FAR_US:
            self.begin(self.rate, start)
            self.count = self.cursor = samples
            self.home = None
            return Placement("clock-restart", 0, index)
        if past and most_late and self.late + past > most_late:
            drop = max(most_late - self.late, 0)
            self.begin(self.rate, self.jump_time + _rounded((index + drop - self.jump_index) * SECOND_US, self.rate))
            self.count = self.cursor = samples - drop
            return Placement("clock-restart", drop, index)
        self.cursor = index + samples
        if past == samples:
            self.late += past
            return Placement("", past, index, skewed=skewed)
        self.late = 0
        gap = max(index - self.count, 0)
        if gap > most_fill:
            if self.home is None and gap * SECOND_US > FAR_US * self.rate:
                self.home = self.time_of(self.count)
            self.begin(self.rate, start)
            self.count = self.cursor = samples
            return Placement("gap", 0, index)
        self.count = index + samples
        return Placement("", past, index, gap, skewed)


def _rounded(numerator: int, denominator: int) -> int:
    return (2 * numerator + denominator) // (2 * denominator)
