"""What a score of sound comes from: frequency bands, patches of time and frequency, and where the clip lies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wheeltapper.schemas.audio_chunk import split_source
from wheeltapper.schemas.clock import MAX_MICROS, MIN_MICROS
from wheeltapper.schemas.events import ChannelShare, ClipPointer, InputSpan, Patch
from wheeltapper.stream.core.judging import Judged
from wheeltapper.stream.core.rule import RuleSpec
from wheeltapper.stream.kinds.audio.layout import audio_manifest
from wheeltapper.stream.kinds.contract import input_span

MOST_PATCHES = 12
LEAST_OF_STRONGEST = 0.1
"""A patch whose strongest cell is weaker than that share of the strongest of all is not told."""
LIKE = 0.5
"""A patch grows by a strip of cells whose mean is at least that share of its own."""


class BandEvidence:
    """One rule's bands; see `stream.kinds.contract.Evidence`."""

    def __init__(self, rule: RuleSpec) -> None:
        manifest = audio_manifest(rule)
        self._bands = manifest.bands
        names = manifest.channel_names
        self._channels = names if len(names) > 1 else ()
        self._names = tuple(_name(band.low_hz, band.high_hz, band.channel) for band in self._bands)
        self._columns = manifest.time_columns
        self._sample_us = 1e6 / manifest.sample_rate
        self._window_us = manifest.window * self._sample_us

    def shares(self, judged: Judged, position: int) -> tuple[ChannelShare, ...]:
        """Every band's part, strongest first; equal parts from low to high."""
        share = self._share(judged, position).sum(axis=1)
        return tuple(
            ChannelShare(channel=self._names[row], share=_short(share[row]), actual=None)
            for row in np.argsort(-share, kind="stable").tolist()
        )

    def explained(self, shares: Sequence[ChannelShare], judged: Judged, position: int) -> tuple[ChannelShare, ...]:
        """As they are: of sound, patches say where and when."""
        return tuple(shares)

    def input(self, judged: Judged, position: int) -> InputSpan | None:
        """The messages that the window's samples came in."""
        spans = judged.due.spans
        assert spans is not None
        return input_span(judged, (int(spans[position, 0]), int(spans[position, 1])))

    def patches(self, judged: Judged, position: int) -> tuple[Patch, ...]:
        """Rectangles of strong cells, the one with the largest part first; they do not overlap."""
        share = self._share(judged, position)
        left = share.copy()
        strongest = float(left.max())
        found: list[Patch] = []
        start = self._start(judged, position)
        column_us = self._window_us / self._columns
        while len(found) < MOST_PATCHES and left.max() > LEAST_OF_STRONGEST * strongest:
            low, high, first, last = self._grown(left, *np.unravel_index(int(left.argmax()), left.shape))
            found.append(
                Patch(
                    start=_moment(start + first * column_us),
                    end=_moment(start + last * column_us),
                    low_hz=self._bands[low].low_hz,
                    high_hz=self._bands[high - 1].high_hz,
                    channel=self._bands[low].channel,
                    share=_short(float(left[low:high, first:last].sum())),
                )
            )
            left[low:high, first:last] = -1.0  # taken: no other patch grows into it
        return tuple(sorted(found, key=lambda patch: (-patch.share, patch.start, patch.low_hz)))

    def clip(self, judged: Judged, position: int) -> ClipPointer | None:
        """The messages that the window's samples came in."""
        spans = judged.due.spans
        assert spans is not None
        topic, partition = judged.origin.key
        machine, microphone = split_source(judged.machine)
        start = self._start(judged, position)
        return ClipPointer(
            topic=topic,
            partition=partition,
            first_offset=int(spans[position, 0]),
            last_offset=int(spans[position, 1]),
            start=_moment(start),
            end=_moment(start + self._window_us),
            machine=machine,
            microphone=microphone,
            channels=self._channels,
        )

    def _start(self, judged: Judged, position: int) -> float:
        """Event time (us) of the window's first sample; `times` are of the last."""
        last = int(judged.due.times[position])
        return last + self._sample_us - self._window_us

    def _share(self, judged: Judged, position: int) -> np.ndarray:
        """[F, T] float64, parts of 1; all 0 where the graph gave none."""
        scored, index = judged.scored, judged.start + position
        # Infinite parts share alike: they stay so large that others vanish, and so small that their sum is finite.
        cells = np.maximum(scored.contribution[index].astype(np.float64), 0.0)
        cells = np.nan_to_num(cells, nan=0.0, posinf=1e300)
        total = float(cells.sum())
        return cells / total if total > 0 else cells

    def _grown(self, cells: np.ndarray, band: np.intp, column: np.intp) -> tuple[int, int, int, int]:
        """[low, high) bands and [first, last) columns of the rectangle around a cell."""
        low, high, first, last = int(band), int(band) + 1, int(column), int(column) + 1
        channel = self._bands[low].channel
        while True:
            limit = LIKE * float(cells[low:high, first:last].mean())
            if last < cells.shape[1] and _is_like(cells[low:high, last], limit):
                last += 1
            elif first > 0 and _is_like(cells[low:high, first - 1], limit):
                first -= 1
            elif (
                high < len(cells)
                and self._is_next(high - 1, high, channel)
                and _is_like(cells[high, first:last], limit)
            ):
                high += 1
            elif low > 0 and self._is_next(low - 1, low, channel) and _is_like(cells[low - 1, first:last], limit):
                low -= 1
            else:
                return low, high, first, last

    def _is_next(self, below: int, above: int, channel: str) -> bool:
        """Whether both bands are of the channel, and one rises above the other."""
        bands = self._bands
        return bands[below].channel == bands[above].channel == channel and bands[below].low_hz <= bands[above].low_hz


def _is_like(strip: np.ndarray, limit: float) -> bool:
    return float(strip.min()) >= 0 and float(strip.mean()) >= limit


def _moment(time: float) -> int:
    """Event time (us), never beyond what a message can say."""
    return min(max(round(time), MIN_MICROS), MAX_MICROS)


def _name(low: float, high: float, channel: str) -> str:
    band = f"{low:.4g}-{high:.4g} Hz" if high < 10_000 else f"{low:.5g}-{high:.5g} Hz"
    return f"{channel} {band}" if channel else band


def _short(share: float) -> float:
    return round(min(1.0, float(share)), 6)
