"""What is kept of one microphone: its clock, the tail of its sound that windows are cut from, and which messages it came in."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
import structlog

from wheeltapper.schemas.audio_chunk import AudioChunk
from wheeltapper.schemas.events import ClearReason
from wheeltapper.stream.core.counters import Counters, count
from wheeltapper.stream.core.judging import DueWindows, Emission, Refused
from wheeltapper.stream.core.policies import WindowRules
from wheeltapper.stream.core.rule import RuleSpec
from wheeltapper.stream.core.saved import moment, number, optional, text, whole
from wheeltapper.stream.kinds.audio.clock import SECOND_US, Placement, SourceClock
from wheeltapper.stream.kinds.audio.health import BLOCKS_A_SECOND, MicrophoneHealth, dead_microphone
from wheeltapper.stream.kinds.audio.intake import ClipBlock
from wheeltapper.stream.kinds.audio.layout import ClipLayout, attribute_columns, audio_manifest
from wheeltapper.stream.kinds.audio.resampling import BlockResampler
from wheeltapper.stream.kinds.audio.samples import SampleBuffer
from wheeltapper.stream.settings import AudioSettings

log = structlog.get_logger(__name__)

FILL_S = 0.1
"""A gap is filled with so much of the sound before it, backwards and forwards: the spectrum stays what it was."""
ROOM_S = 1.0
"""Samples are taken in so many seconds at a time, and the buffers have so much room: memory is that of the window and little more."""


@dataclass(frozen=True, slots=True)
class ClipPart:
    """What windows may be cut from next.

    Attributes:
        offsets, times: [1], of the chunk that it came in.
        first, stop: numbers of the new samples at the bundle's rate.
    """

    offsets: np.ndarray
    times: np.ndarray
    first: int
    stop: int


@dataclass(slots=True)
class _Marks:
    """Which message each sample came in: number of its first sample, input offset, attributes; in order."""

    starts: list[int] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    attributes: list[Mapping[str, float | str]] = field(default_factory=list)

    def add(self, start: int, offset: int, attributes: Mapping[str, float | str]) -> None:
        self.starts.append(start)
        self.offsets.append(offset)
        same = bool(self.attributes) and self.attributes[-1] == attributes
        self.attributes.append(self.attributes[-1] if same else attributes)

    def at(self, index: int) -> int:
        """Place of the message with sample `index`; of one that was filled in, the message before it."""
        return max(bisect_right(self.starts, index) - 1, 0)

    def drop_before(self, index: int) -> None:
        """Let go of messages that end before sample `index`."""
        gone = self.at(index)
        if gone > 64 or gone > len(self.starts) // 2:  # not one by one
            for entries in (self.starts, self.offsets, self.attributes):
                del entries[:gone]

    def dump(self, index: int) -> list[Any]:
        """[start, offset, attributes or null where they are those of the one before], from that with sample `index` on."""
        first = self.at(index)
        rows: list[Any] = []
        for place in range(first, len(self.starts)):
            same = place > first and self.attributes[place] is self.attributes[place - 1]
            rows.append([self.starts[place], self.offsets[place], None if same else dict(self.attributes[place])])
        return rows


class ClipMemory:
    """One microphone in one input partition."""

    def __init__(self, layout: ClipLayout) -> None:
        self.layout = layout
        self.clock = SourceClock()
        self.health = MicrophoneHealth()
        self._last_time: int | None = None
        self._notices: list[Emission] = []
        self._begin(layout.rate)

    def _begin(self, rate: int) -> None:
        """Forget all samples: the clock restarted, or too many are missing in between."""
        channels = len(self.layout.channels)
        self._raw = SampleBuffer(channels)
        self._resampler = None if rate == self.layout.rate else BlockResampler(rate, self.layout.rate)
        self._pcm = self._raw if self._resampler is None else SampleBuffer(channels)
        self._marks = _Marks()
        self._filled: list[tuple[int, int]] = []
        """[first, behind the last) of samples that were filled in."""
        self.health.restart()

    @property
    def last_time(self) -> int | None:
        """Event time (us) of the newest sample; None before the first."""
        return self._last_time

    # -- taking in ------------------------------------------------------------------------------------------------------

    def take(
        self, block: ClipBlock, policy: WindowRules, counters: Counters, machine: str, stamp_of: Callable[[int], int]
    ) -> Iterator[ClipPart]:
        """Take chunks in; yields each part that windows may then be cut from, before the next part is taken.

        `policy` is of rows; chunks bring their own.
        """
        for offset, chunk in zip(block.offsets.tolist(), block.chunks, strict=True):
            yield from self._take_chunk(chunk, offset, block.policy, counters, machine)

    def _take_chunk(
        self, chunk: AudioChunk, offset: int, policy: AudioSettings, counters: Counters, source: str
    ) -> Iterator[ClipPart]:
        rate, before = chunk.sample_rate, replace(self.clock)
        if before.rate != rate:
            if before.rate:
                count(counters.sound, "rate-change")
                log.warning("sample rate changed", machine=source, before=before.rate, after=rate)
                yield from self._flush(offset, chunk.start)
            self.clock = SourceClock()
            self.clock.begin(rate, chunk.start)
            self._begin(rate)
        placed = self.clock.place(
            chunk.start,
            len(chunk),
            tolerance_us=round(policy.clock_tolerance_s * SECOND_US),
            most_fill=round(policy.fill_gap_s * rate),
            most_late=round(policy.clock_restart_s * rate),
        )
        self._count(placed, len(chunk), counters, source)
        if placed.restart:
            # What came before is timed by the clock as it was.
            self.clock, anew = before, self.clock
            yield from self._flush(offset, chunk.start)
            self.clock = anew
            self._begin(rate)
        samples = chunk.samples[placed.drop :].T
        if placed.fill:
            yield from self._fill(placed.fill, offset, chunk.start, policy, counters, source)
        if samples.shape[1]:
            self._marks.add(self._raw.stop, offset, chunk.attributes)
            counters.sound_samples += samples.shape[1]
        yield from self._append(samples, offset, chunk.start, policy, counters, source)

    def _count(self, placed: Placement, samples: int, counters: Counters, source: str) -> None:
        if placed.skewed:
            count(counters.sound, "skew")
        if placed.fill:
            count(counters.sound, "filled-gap")
        if placed.restart:
            count(counters.sound, placed.restart)
            if placed.restart == "clock-restart":
                log.warning("clock restarted", machine=source)
        if placed.drop == samples:
            last = placed.index + samples
            is_missing = placed.index < 0 or any(start < last and placed.index < stop for start, stop in self._filled)
            count(counters.sound, "late" if is_missing else "repeated")
        elif placed.drop:
            count(counters.sound, "overlap")

    def _fill(
        self, missing: int, offset: int, time: int, policy: AudioSettings, counters: Counters, source: str
    ) -> Iterator[ClipPart]:
        stop = self._raw.stop
        self._filled.append((stop, stop + missing))
        before = self._raw.view(max(self._raw.start, stop - self._fill_samples), stop)
        turned = np.concatenate([before[:, ::-1], before], axis=1)
        samples = turned[:, np.arange(missing) % turned.shape[1]]
        yield from self._append(samples, offset, time, policy, counters, source)

    def _append(
        self, samples: np.ndarray, offset: int, time: int, policy: AudioSettings, counters: Counters, source: str
    ) -> Iterator[ClipPart]:
        """Take [C, n] samples, piece by piece."""
        rate = self.clock.rate
        piece = max(1, round(ROOM_S * rate))
        offsets, times = np.array([offset], dtype=np.int64), np.array([time], dtype=np.int64)
        for start in range(0, samples.shape[1], piece):
            first = self._pcm.stop
            self._raw.append(samples[:, start : start + piece], piece)
            self._look_after(offset, policy, counters, source)
            if self._resampler is not None:
                for block in self._resampler.take(self._raw):
                    self._pcm.append(block, round(ROOM_S * self.layout.rate))
            self._last_time = self.clock.time_of(self._raw.stop - 1)
            counters.newest_time = max(counters.newest_time, self._last_time)
            yield ClipPart(offsets, times, first, self._pcm.stop)
            self._let_go()

    def _flush(self, offset: int, time: int) -> Iterator[ClipPart]:
        """What waits for sound behind it, as none follows."""
        if self._resampler is None or not self._raw.stop:
            return
        first = self._pcm.stop
        self._pcm.append(self._resampler.flush(self._raw), 0)
        yield ClipPart(np.array([offset], dtype=np.int64), np.array([time], dtype=np.int64), first, self._pcm.stop)

    def _look_after(self, offset: int, policy: AudioSettings, counters: Counters, source: str) -> None:
        """Judge the microphone's health in the blocks that are whole now."""
        health, clock = self.health, self.clock
        length = max(1, clock.rate // BLOCKS_A_SECOND)
        while health.position + length <= self._raw.stop:
            first = health.position
            is_dead = health.see(self._raw.view(first, first + length), policy.dead_below, counters)
            start, end = clock.time_of(first), clock.time_of(first + length)
            opened_at, dead = health.opened_at, health.dead + length
            step = health.judge(is_dead, length, clock.rate, policy.dead_after_s, start, end)
            if step is None:
                continue
            count(counters.alerts, step)
            if step == "opened":
                assert health.opened_at is not None
                counters.dead_microphones += 1
                silent = [self.layout.channels[channel] for channel in health.silent]
                score = dead / (policy.dead_after_s * clock.rate)
                event = dead_microphone(source, health.opened_at, end, score=score, channels=silent)
            else:
                assert opened_at is not None
                event = dead_microphone(source, opened_at, end, reason=ClearReason.RECOVERED)
                health.opened_at = None
            self._notices.append(Emission(offset, event))

    @property
    def _fill_samples(self) -> int:
        return max(1, round(FILL_S * self.clock.rate))

    @property
    def _oldest(self) -> int:
        """Number of the oldest sample at the bundle's rate that later windows need."""
        return max(self._pcm.stop - self.layout.window + 1, 0)

    @property
    def _oldest_raw(self) -> int:
        """The same at the sender's rate."""
        needed = min(self.health.position, self._raw.stop - self._fill_samples)
        return max(0, min(needed, self._oldest if self._resampler is None else self._resampler.needs_from))

    def _let_go(self) -> None:
        oldest = self._oldest
        if self._resampler is not None:
            self._pcm.drop_before(oldest)
        self._raw.drop_before(self._oldest_raw)
        self._marks.drop_before(self._sent(oldest))
        while self._filled and self._filled[0][1] <= self._sent(oldest):
            self._filled.pop(0)

    def _sent(self, index: int) -> int:
        """Number at the sender's rate of the sample with number `index` at the bundle's."""
        return index if self._resampler is None else index * self._resampler.down // self._resampler.up

    def placed(self) -> None:
        """See `stream.kinds.contract.Memory`: what comes is looked at alone."""

    @property
    def waiting(self) -> tuple[int, int] | None:
        """None: nothing waits."""
        return None

    def rest(self, counters: Counters, machine: str) -> Iterator[ClipPart]:
        """Nothing: a clip that is not whole is not scored."""
        return iter(())

    def refused(self) -> Sequence[Refused]:
        """Nothing: what is far ahead begins anew, and is taken back where sound goes on from before it."""
        return ()

    def notices(self, part: ClipPart) -> Sequence[Emission]:
        """Alerts of a dead microphone, opened or cleared by the newest part."""
        if not self._notices:
            return ()
        notices, self._notices = self._notices, []
        return notices

    # -- windows --------------------------------------------------------------------------------------------------------

    def due(self, part: ClipPart, rule: RuleSpec) -> DueWindows | None:
        """The windows of a rule that the newest part completed; None where there are none."""
        window, stride = rule.manifest.window, rule.stride
        earliest = max(window, part.first + 1, self._pcm.start + window)
        first = earliest + -(earliest - window) % stride
        if first > part.stop:
            return None
        stops = np.arange(first, part.stop + 1, stride)
        starts = stops - window
        samples = self._pcm.windows(starts, window)
        edges = list(zip(starts.tolist(), stops.tolist(), strict=True))
        places = [(self._marks.at(self._sent(start)), self._marks.at(self._sent(stop - 1))) for start, stop in edges]
        up, down = (1, 1) if self._resampler is None else (self._resampler.up, self._resampler.down)
        specs = audio_manifest(rule).attributes
        return DueWindows(
            samples=samples,
            times=np.array([self.clock.time_of((stop - 1) * down, up) for _, stop in edges], dtype=np.int64),
            offsets=np.full(len(stops), part.offsets[0], dtype=np.int64),
            quality=np.array([self._measured(start * down / up, stop * down / up) for start, stop in edges]),
            actual=_levels(samples, len(self.layout.channels)),
            attributes=np.stack([attribute_columns(specs, self._marks.attributes[last]) for _, last in places])
            if specs
            else None,
            spans=np.array([[self._marks.offsets[first], self._marks.offsets[last]] for first, last in places]),
        )

    def _measured(self, start: float, stop: float) -> float:
        """Share of the sender's samples [start, stop) that were not filled in."""
        filled = sum(max(0.0, min(stop, last) - max(start, first)) for first, last in self._filled)
        return max(0.0, 1.0 - filled / (stop - start))

    def fit(self, layout: ClipLayout) -> None:
        """Go on under another layout of the same rate and channels: rules came or went."""
        self.layout = layout

    # -- snapshots ------------------------------------------------------------------------------------------------------

    def dump(self) -> tuple[dict[str, Any], bytes]:
        """Header (JSON types) and body of a snapshot: the sender's samples, then those at the bundle's rate where it differs.

        Both are channel after channel, int16 where that is exact, else float32; little-endian.
        """
        oldest = self._oldest
        raw_head, raw = self._raw.dump(self._oldest_raw)
        pcm_head, pcm = ([], b"") if self._resampler is None else self._pcm.dump(oldest)
        header = {
            "last_time": self._last_time,
            "rate": self.layout.rate,
            "channels": self.layout.channels,
            "clock": asdict(self.clock),
            "health": self.health.dump(),
            "raw": raw_head,
            "pcm": pcm_head,
            "next": None if self._resampler is None else self._resampler.next,
            "marks": self._marks.dump(self._sent(oldest)),
            "filled": [list(span) for span in self._filled],
        }
        return header, raw + pcm

    def load(self, header: dict[str, Any], body: memoryview) -> None:
        """Take over what `dump` gave.

        Raises:
            AttributeError, LookupError, TypeError, ValueError: it cannot be read, or is of another rate or other channels.
        """
        if (whole(header["rate"]), tuple(header["channels"])) != (self.layout.rate, self.layout.channels):
            raise ValueError("its bundle's rate or channels have changed")
        last_time = optional(moment, header["last_time"])
        clock = SourceClock.load(header["clock"])
        health = MicrophoneHealth.load(header["health"])
        if any(channel >= len(self.layout.channels) for channel in health.silent):
            raise ValueError(f"channels {health.silent} are silent, there are {len(self.layout.channels)}")
        self._begin(clock.rate or self.layout.rate)
        taken = self._raw.load(header["raw"], body)
        if self._resampler is not None:
            self._resampler.next = whole(header["next"])
            taken += self._pcm.load(header["pcm"], body[taken:])
            if not (
                self._resampler.next * self._resampler.up // self._resampler.down == self._pcm.stop
                and self._raw.start <= self._resampler.needs_from <= self._raw.stop
            ):
                raise ValueError(f"sample {header['next']} is next, and {self._pcm.stop} samples were made")
        if taken != len(body):
            raise ValueError(f"{len(body) - taken} bytes are left over")
        if self._raw.stop and not (self._raw.start <= health.position <= self._raw.stop and clock.rate):
            raise ValueError(
                f"sample {health.position} is next, samples {self._raw.start} to {self._raw.stop} are there"
            )
        attributes: Mapping[str, float | str] = {}
        for start, offset, changed in header["marks"]:
            attributes = attributes if changed is None else _attributes(changed)
            self._marks.add(whole(start), whole(offset), attributes)
        self._filled = [(whole(start), whole(stop)) for start, stop in header["filled"]]
        if any(after < before for before, after in pairwise(self._marks.starts)):
            raise ValueError("messages are out of order")
        if self._raw.stop and (last_time is None or not self._marks.starts):
            raise ValueError("samples of no message")
        self.clock, self.health = clock, health
        self._last_time = last_time


def _attributes(saved: Any) -> dict[str, float | str]:
    """
    Raises:
        AttributeError, TypeError, ValueError: they are not what messages carry.
    """
    return {text(name): text(value) if isinstance(value, str) else number(value) for name, value in saved.items()}


def _levels(samples: np.ndarray, channels: int) -> np.ndarray:
    """[k, C] float32: root mean square of each channel of each window, in its unit."""
    parts = samples.reshape(len(samples), channels, -1)
    return np.sqrt(np.einsum("kcs,kcs->kc", parts, parts) / parts.shape[2])
