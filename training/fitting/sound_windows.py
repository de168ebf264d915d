"""Windows of clips: how long they are, when they were, and which clip each is of.

Clips carry an order and no time of day. They are laid end to end on a made-up clock, with a hole between recordings
(`Clip.group`), so that blocks of time and alarms' spans mean for sound what they mean for rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from wheeltapper.schemas.bundle.attributes import attribute_row
from wheeltapper.schemas.bundle.manifest import AttributeSpec
from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.clock import MADE_UP_TEST_START, MICROS_PER_SECOND
from wheeltapper.training.datasets.sound.series import Clip, SoundSeries
from wheeltapper.training.fitting.calibration import MAX_GAP_INTERVALS
from wheeltapper.training.fitting.options import TrainOptions

SOUND_WINDOW_S = 10.0
SOUND_HOP_S = 5.0
SHORTEST_WINDOW_S = 0.1
# float32 values of windows that are held at a time: 64 MB.
_BATCH_VALUES = 16_000_000


def window_and_hop(
    series: SoundSeries,
    options: TrainOptions,
    *,
    window_s: float = SOUND_WINDOW_S,
    hop_s: float | None = None,
) -> tuple[int, int]:
    """Samples of a window and between windows: the options', or the detector's default.

    Args:
        window_s: the detector's default; a series whose shortest train clip is shorter takes that clip's length.
        hop_s: None: half the window.

    Raises:
        InputError: no train clips, or a window of less than a tenth of a second.
    """
    if not series.train:
        raise InputError(
            f"{series.dataset} {series.entity}: no train clips, expected normal ones; check the data folder"
        )
    rate = series.sample_rate
    window = options.window or min(round(window_s * rate), min(len(clip.samples) for clip in series.train))
    if window < SHORTEST_WINDOW_S * rate:
        raise InputError(
            f"{series.dataset} {series.entity}: a window of {window} samples is {window / rate:.3g} s, expected at least "
            f"{SHORTEST_WINDOW_S:g} s; give --window-s, and longer clips"
        )
    default = window // 2 if hop_s is None else min(window, round(hop_s * rate))
    return window, options.stride if options.stride > 1 else max(1, default)


def clip_starts(clips: Sequence[Clip], sample_rate: int, hop: int) -> np.ndarray:
    """[n] int64: event time (us) of each clip's first sample; the last clip ends at the start of the made-up test clock."""
    hole = (MAX_GAP_INTERVALS + 1) * hop / sample_rate
    seconds = [len(clip.samples) / sample_rate for clip in clips]
    starts = np.zeros(len(clips))
    for index in range(1, len(clips)):
        apart = hole if clips[index].group != clips[index - 1].group else 0.0
        starts[index] = starts[index - 1] + seconds[index - 1] + apart
    end = starts[-1] + seconds[-1] if len(clips) else 0.0
    return MADE_UP_TEST_START + np.round((starts - end) * MICROS_PER_SECOND).astype(np.int64)


@dataclass(frozen=True, eq=False)
class ClipWindows:
    """The windows that `windows_of_clips` would cut, a bounded number at a time: a clip may last for hours.

    Attributes:
        owner: [n] index of each window's clip.
        time: [n] int64, event time (us) of each window's last sample.
    """

    clips: Sequence[Clip]
    window: int
    hop: int
    owner: np.ndarray
    time: np.ndarray

    @classmethod
    def of(cls, clips: Sequence[Clip], starts: np.ndarray, sample_rate: int, window: int, hop: int) -> ClipWindows:
        """Args: starts: [n] int64 microseconds, of the clips."""
        owners, times = [], []
        for index, clip in enumerate(clips):
            ends = window_ends(len(clip.samples), window, hop)
            owners += [index] * len(ends)
            times += [int(starts[index]) + round(end * MICROS_PER_SECOND / sample_rate) for end in ends]
        return cls(clips, window, hop, np.array(owners, dtype=np.int64), np.array(times, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.owner)

    def batches(self, specs: Sequence[AttributeSpec] = ()) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """All windows in order: ([k, C * S], their attributes [k, A] or None where `specs` is empty), a bounded number at a time."""
        parts: list[np.ndarray] = []
        owners: list[Clip] = []
        for clip in self.clips:
            samples = filled(clip.samples, self.window)
            for end in window_ends(len(samples), self.window, self.hop):
                parts.append(samples[end - self.window : end].T.ravel())
                owners.append(clip)
                if len(parts) * parts[0].size >= _BATCH_VALUES:
                    yield np.stack(parts).astype(np.float32), attribute_rows(owners, specs) if specs else None
                    parts, owners = [], []
        if parts:
            yield np.stack(parts).astype(np.float32), attribute_rows(owners, specs) if specs else None


def filled(samples: np.ndarray, window: int) -> np.ndarray:
    """[n, C] samples, repeated from their start where they are shorter than a window."""
    if len(samples) >= window:
        return samples
    return np.tile(samples, (-(-window // len(samples)), 1))[:window]


def window_ends(length: int, window: int, hop: int) -> list[int]:
    """Samples of a clip before the end of each of its windows, as `windows_of_clips` cuts them; a short clip has one, at its end."""
    if length <= window:
        return [length]
    ends = list(range(window, length + 1, hop))
    return ends if ends[-1] == length else [*ends, length]


def attribute_rows(clips: Sequence[Clip], specs: Sequence[AttributeSpec]) -> np.ndarray:
    """[n, A] float32, one row a clip."""
    return (
        np.stack([attribute_row(clip.attributes, specs) for clip in clips]) if clips else np.zeros((0, 0), np.float32)
    )


def windows_ending_at(
    clips: Sequence[Clip], starts: np.ndarray, sample_rate: int, window: int, times: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The windows whose last sample lies at `times` [k], and the index of each one's clip: [k, C * S] float32, [k].

    Args:
        starts: [n] int64, rising, of the clips: as `clip_starts` gives them.
    """
    # Half a sample earlier: the last sample of a clip may be, by rounding, a microsecond after the next one's start.
    inside = times - MICROS_PER_SECOND // (2 * sample_rate)
    owner = np.clip(np.searchsorted(starts, inside, side="left") - 1, 0, len(clips) - 1)
    parts = []
    for index, time in zip(owner.tolist(), times.tolist(), strict=True):
        end = round((time - int(starts[index])) * sample_rate / MICROS_PER_SECOND)
        samples = filled(clips[index].samples, window)
        end = min(len(samples), max(window, end))
        parts.append(samples[end - window : end].T.ravel())
    return np.stack(parts).astype(np.float32), owner
