"""A trained network of sound as a fitted detector: export, parity with torch, twin."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wheeltapper.models.sound.frontend import FrontEnd
from wheeltapper.models.sound.frontend_torch import BandLevels
from wheeltapper.schemas.bundle.manifest import AttributeSpec
from wheeltapper.training.datasets.sound.series import Clip, SoundSeries
from wheeltapper.training.fitting.calibration import CalibrationScores
from wheeltapper.training.fitting.export_torch import export_sound_onnx, export_sound_torchscript, prove_parity
from wheeltapper.training.fitting.sound_cross_fit import blocks_of_time
from wheeltapper.training.fitting.sound_windows import ClipWindows, attribute_rows, clip_starts

# Windows that the graph is compared with torch on, and the largest batch of them.
PARITY_WINDOWS, LARGEST_BATCH = 4, 8
# One frame is about so long, as 1024 samples are at 16 kHz.
FRAME_S = 0.064


def front_end_of(sample_rate: int, bands: int, low_hz: float) -> FrontEnd:
    """The front end of the networks: frames of 64 ms, rounded to a power of two, half of that apart, up to half the rate."""
    n_fft = max(64, 2 ** round(np.log2(FRAME_S * sample_rate)))
    return FrontEnd(sample_rate, n_fft=n_fft, hop=n_fft // 2, bands=bands, low_hz=low_hz, floor=1e-10)


@dataclass(frozen=True, eq=False)
class SoundWindows:
    """What a network learns from: the spectrograms of a series' windows, not their samples.

    Attributes:
        levels: [n, C, frames, bands] float32, dB.
        owner: [n] index of each window's clip. time: [n] int64, event time (us) of its last sample.
        clips: that the windows are of.
    """

    levels: Tensor
    owner: np.ndarray
    time: np.ndarray
    clips: Sequence[Clip]

    @classmethod
    def of(cls, clips: Sequence[Clip], starts: np.ndarray, mel: BandLevels, sample_rate: int, hop: int) -> SoundWindows:
        """Args: starts: [n] int64, event time (us) of each clip's first sample."""
        windows = ClipWindows.of(clips, starts, sample_rate, mel.samples, hop)
        with torch.no_grad():
            parts = [
                mel(torch.from_numpy(batch).reshape(-1, mel.samples)).reshape(len(batch), -1, mel.frames, mel.bands)
                for batch, _ in windows.batches()
            ]
        return cls(torch.cat(parts), windows.owner, windows.time, clips)

    def __len__(self) -> int:
        return len(self.owner)

    @property
    def domains(self) -> list[str]:
        """[n] of each window's clip."""
        return [self.clips[index].domain for index in self.owner]

    def attributes(self, specs: Sequence[AttributeSpec]) -> Tensor:
        """[n, A] columns of the graph's input."""
        if not specs:
            return torch.zeros(len(self), 0)
        return torch.from_numpy(attribute_rows(self.clips, specs)[self.owner])

    def joined(self, other: SoundWindows) -> SoundWindows:
        """These, then the other's."""
        return SoundWindows(
            torch.cat([self.levels, other.levels]),
            np.concatenate([self.owner, other.owner + len(self.clips)]),
            np.concatenate([self.time, other.time]),
            [*self.clips, *other.clips],
        )


def windows_in_blocks(
    series: SoundSeries, mel: BandLevels, window: int, hop: int, folds: int
) -> tuple[SoundWindows, np.ndarray]:
    """The train part's windows, and [n] in which block of time each lies."""
    starts = clip_starts(series.train, series.sample_rate, hop)
    pieces = blocks_of_time(series.train, starts, series.sample_rate, window, folds)
    blocks = [SoundWindows.of(clips, own, mel, series.sample_rate, hop) for clips, own in pieces]
    windows = blocks[0]
    for block in blocks[1:]:
        windows = windows.joined(block)
    return windows, np.repeat(np.arange(len(blocks)), [len(block) for block in blocks])


def block_scores(
    windows: SoundWindows, scores: np.ndarray, fold: np.ndarray, hop: int, sample_rate: int, *, by: str
) -> CalibrationScores:
    """Held-out scores of windows in blocks of time.

    Args:
        scores, fold: [n] raw score of each window, and in which block it lies.
        hop: samples.
        by: what scored a block, for the manifest: 'a network fitted'.
    """
    return CalibrationScores(
        score=scores,
        time=windows.time,
        interval_s=hop / sample_rate,
        origin=f"{int(fold.max()) + 1} blocks of time of the train clips, each scored by {by} on the others",
        stride=hop,
    )


def band_edges(frontend: FrontEnd, rows: int, channels: int) -> tuple[tuple[int, float, float], ...]:
    """(channel, low Hz, high Hz) of so many equal parts of the mel axis, channel after channel."""
    points = [frontend.edges[0][0], *(high for _, high in frontend.edges)]
    edges = np.interp(np.linspace(0, frontend.bands, rows + 1), np.arange(frontend.bands + 1), points).tolist()
    return tuple((channel, low, high) for channel in range(channels) for low, high in itertools.pairwise(edges))


@dataclass
class TorchSound:
    """A trained network under the graph contract of sound; a `wheeltapper.models.fitted.FittedSound`.

    Attributes:
        graph: forward(window [N, C * S][, attributes [N, A]]) -> tuple in the order of `outputs`; on the CPU.
        probes: (windows [n, C * S], attributes [n, A]) that the ONNX graph is compared with torch on.
        parity: largest relative difference between graph and torch, by output; None until exported.
    """

    detector: str
    graph: nn.Module
    sample_rate: int
    window: int
    channels: int
    bands: tuple[tuple[int, float, float], ...]
    time_columns: int
    parameters: dict[str, Any]
    probes: tuple[np.ndarray, np.ndarray]
    attributes: tuple[AttributeSpec, ...] = ()
    warnings: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ("score", "contribution", "embedding")
    version: int = 1
    parity: dict[str, float] | None = None
    _onnx: bytes | None = field(default=None, repr=False)

    @property
    def _width(self) -> int:
        return sum(spec.width for spec in self.attributes)

    def onnx_bytes(self) -> bytes:
        """The graph, proven to agree with torch."""
        if self._onnx is None:
            model = export_sound_onnx(self.graph, self.channels * self.window, self._width, self.outputs)
            windows, attributes = self.probes
            self.parity = prove_parity(
                self.graph, model, windows, attributes if self._width else None, largest=LARGEST_BATCH
            )
            self._onnx = model
        return self._onnx

    def torchscript_bytes(self) -> bytes | None:
        """Its twin; `wheeltapper.training.fitting.export_check.check_twin` proves it when the bundle is written."""
        return export_sound_torchscript(self.graph, self.channels * self.window, self._width)


def probe_sounds(series: SoundSeries, window: int, specs: Sequence[AttributeSpec]) -> tuple[np.ndarray, np.ndarray]:
    """Some of the train part's windows and their attributes, for `TorchSound.probes`."""
    places = np.linspace(0, len(series.train) - 1, min(PARITY_WINDOWS, len(series.train))).astype(int)
    clips = [series.train[place] for place in places]
    hop = max(window, *(len(clip.samples) for clip in clips))
    found = ClipWindows.of(clips, clip_starts(clips, series.sample_rate, hop), series.sample_rate, window, hop)
    windows = np.concatenate([batch for batch, _ in found.batches()])[:PARITY_WINDOWS]
    rows = attribute_rows(clips, specs)[found.owner] if specs else np.zeros((len(found), 0), dtype=np.float32)
    return windows, rows[:PARITY_WINDOWS]


def attribute_specs(clips: Sequence[Clip], most_categories: int = 64) -> tuple[AttributeSpec, ...]:
    """The operating point's attributes, as clips carry them: those that differ between clips.

    A name whose values are numbers all, or texts of numbers, is one; others have categories, one each, by name. A text with more
    than `most_categories` values, or one a clip, names clips and not what the machine does: it is left out.
    """
    from wheeltapper.schemas.bundle.attributes import category_text

    specs = []
    for name in sorted({name for clip in clips for name in clip.attributes}):
        values = [clip.attributes[name] for clip in clips if name in clip.attributes]
        if len(set(values)) < 2 and len(values) == len(clips):
            continue
        if all(isinstance(value, (int, float)) for value in values):
            specs.append(AttributeSpec(name=name))
            continue
        texts = sorted({text for value in values if (text := category_text(value)) is not None})
        if len(texts) <= most_categories and len(texts) < len(clips):
            specs.append(AttributeSpec(name=name, categories=tuple(texts)))
    return tuple(specs)
