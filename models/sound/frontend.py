"""What turns samples into band levels: its constants, and the formulas in numpy.

    frames of n_fft samples, hop apart, times a periodic Hann window
    P = |DFT|^2                                      [frames, n_fft / 2 + 1]
    E = P M'                                         [frames, bands], M: triangles over mels, or over a logarithmic scale
    L = 10 log10(E + floor)                          dB

`frontend_graph` and `frontend_torch` hold the same formulas for ONNX and torch, built on `SplitDft` below.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from wheeltapper.models.sound.mel import log_matrix, log_points, mel_matrix, mel_points
from wheeltapper.schemas.errors import InputError

Scale = Literal["mel", "log"]

# Frames whose spectra are in memory at a time: 4 MB of float64 for n_fft 1024.
FRAMES_AT_ONCE = 512
# 10 / ln 10.
DB_PER_NEPER = 4.342944819032518
# Samples are cut there inside graphs: their power is far from float32's end.
LARGEST = 1e9


@dataclass(frozen=True)
class FrontEnd:
    """Constants of a front end; the only place where they stand.

    Attributes:
        sample_rate: Hz.
        n_fft: samples of a frame.
        hop: samples from one frame's start to the next one's.
        bands: how many.
        scale: 'mel', or 'log': bands that are a constant share of their frequency wide, as third octaves are; low_hz above 0.
        low_hz, high_hz: where the lowest band begins and the highest ends; None: half the sample rate.
        floor: added to the energies before the logarithm; what is far below it is silence.
        centered: n_fft / 2 zeros are put before and after the samples, so that frame i is centred on sample i * hop, as librosa
            does unless told otherwise.
    """

    sample_rate: int
    n_fft: int = 1024
    hop: int = 512
    bands: int = 32
    low_hz: float = 0.0
    high_hz: float | None = None
    floor: float = 1e-8
    centered: bool = False
    scale: Scale = "mel"

    def __post_init__(self) -> None:
        """
        Raises:
            InputError: constants that do not fit each other.
        """
        if self.n_fft < 4 or self.n_fft % 2:
            raise InputError(f"n_fft is {self.n_fft}, expected an even number of 4 or more")
        if self.hop < 1:
            raise InputError(f"hop is {self.hop}, expected 1 or more")
        if not 0 <= self.low_hz < self.top_hz <= self.sample_rate / 2:
            raise InputError(
                f"the bands go from {self.low_hz} to {self.top_hz} Hz, expected 0 <= low < high <= {self.sample_rate / 2} Hz, "
                f"half of the sample rate of {self.sample_rate} Hz"
            )
        if self.scale == "log" and not self.low_hz > 0:
            raise InputError(f"low_hz is {self.low_hz:g}, expected above 0 for bands on a logarithmic scale")
        if not self.floor > 0:
            raise InputError(f"floor is {self.floor}, expected above 0")

    @property
    def top_hz(self) -> float:
        return self.sample_rate / 2 if self.high_hz is None else self.high_hz

    @property
    def bins(self) -> int:
        return self.n_fft // 2 + 1

    @property
    def padding(self) -> int:
        """Zeros on either side."""
        return self.n_fft // 2 if self.centered else 0

    def frames(self, samples: int) -> int:
        """How many whole frames there are in so many samples.

        Raises:
            InputError: not even one.
        """
        room = samples + 2 * self.padding - self.n_fft
        if room < 0:
            raise InputError(
                f"the window has {samples} samples, expected {self.n_fft} or more: those of one DFT; give a smaller --set n_fft, or "
                "longer clips"
            )
        return 1 + room // self.hop

    @cached_property
    def window(self) -> np.ndarray:
        """[n_fft] float64: periodic Hann."""
        return np.asarray(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(self.n_fft) / self.n_fft))

    @cached_property
    def weights(self) -> np.ndarray:
        """[bands, bins] float64: of each bin's power in each band."""
        matrix = mel_matrix if self.scale == "mel" else log_matrix
        return matrix(self.sample_rate, self.n_fft, self.bands, self.low_hz, self.top_hz)

    @property
    def edges(self) -> tuple[tuple[float, float], ...]:
        """(low, high) Hz of each band, without overlap: neighbouring triangles have half their height there."""
        points = (mel_points if self.scale == "mel" else log_points)(self.bands, self.low_hz, self.top_hz)
        inner = (points[1:-2] + points[2:-1]) / 2
        edges = [self.low_hz, *inner.tolist(), self.top_hz]
        return tuple(itertools.pairwise(edges))

    def columns(self, samples: int, columns: int) -> np.ndarray:
        """[frames] int64: in which of so many equal parts of the window each frame's centre lies."""
        centre = np.arange(self.frames(samples)) * self.hop + self.n_fft // 2 - self.padding
        return np.minimum(centre * columns // samples, columns - 1)

    def energies(self, signals: np.ndarray) -> np.ndarray:
        """Energies of the bands.

        Args:
            signals: [.., S] float.

        Returns:
            [.., frames, bands] float64.
        """
        flat = np.asarray(signals).reshape(-1, signals.shape[-1])
        found = np.empty((len(flat), self.frames(flat.shape[1]), self.bands))
        for row, samples in enumerate(flat):
            for part, power in self.spectra(samples):
                found[row, part] = power @ self.weights.T
        return found.reshape(*signals.shape[:-1], *found.shape[1:])

    def spectra(self, samples: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """P of one signal [S], some frames at a time: which frames, and their [n, bins] float64."""
        count = self.frames(len(samples))
        if self.padding:
            samples = np.pad(samples, self.padding)
        framed = np.lib.stride_tricks.sliding_window_view(samples, self.n_fft)[:: self.hop]
        for start in range(0, count, FRAMES_AT_ONCE):
            part = slice(start, min(start + FRAMES_AT_ONCE, count))
            spectrum = np.fft.rfft(framed[part] * self.window, axis=1)
            yield part, spectrum.real**2 + spectrum.imag**2

    def levels(self, signals: np.ndarray) -> np.ndarray:
        """[.., S] float to L, [.., frames, bands] float64, dB."""
        return np.asarray(10.0 * np.log10(self.energies(signals) + self.floor))


@dataclass(frozen=True, eq=False)
class SplitDft:
    """The DFT of real frames as two small matrix products: Cooley and Tukey's split of n_fft = rows * columns.

    A frame y is read as [rows, columns], sample n = columns * a + b. With k = c + rows * d, c <= rows / 2:

        A[c, b] = sum_a y[a, b] exp(-2 pi i a c / rows)                         one product for all frames
        X[k]    = sum_b A[c, b] exp(-2 pi i b k / n_fft)                        one product for each c

    About 15 times fewer multiplications than the full matrix has, as plain MatMul. Frequencies above the half are mirrored: those
    that come twice are counted once, by `weights`.

    Attributes:
        rows, columns: of the split.
        first: [2 * half, rows] float64; real parts, then imaginary ones; half = rows // 2 + 1.
        of_real, of_imaginary: [half, columns, 2 * columns] float64: from A's parts to X's real, then imaginary parts.
        bins: [half * 2 * columns] int64: the DFT bin of each part of X, as it lies in memory.
        counted: [half * 2 * columns] float64: 1, or 0 where the bin comes a second time.
    """

    rows: int
    columns: int
    first: np.ndarray
    of_real: np.ndarray
    of_imaginary: np.ndarray
    bins: np.ndarray
    counted: np.ndarray

    @classmethod
    def of(cls, n_fft: int) -> SplitDft:
        """The split of a DFT whose factors are as near to each other as can be."""
        rows = max(factor for factor in range(1, int(n_fft**0.5) + 1) if n_fft % factor == 0)
        columns = n_fft // rows
        low = np.arange(rows // 2 + 1)
        turn = 2 * np.pi * (np.outer(low, np.arange(rows)) % rows) / rows
        frequency = low[:, None] + rows * np.arange(columns)[None, :]
        angle = 2 * np.pi * ((np.arange(columns)[None, :, None] * frequency[:, None, :]) % n_fft) / n_fft
        cosine, sine = np.cos(angle), np.sin(angle)
        mirrored = np.minimum(frequency, n_fft - frequency)
        # c = 0, and c = rows / 2, hold both a bin and its mirror image.
        own = (2 * low % rows == 0)[:, None]
        counted = np.where(own & (frequency > n_fft // 2), 0.0, 1.0)
        both = (np.concatenate([part, part], axis=1).ravel() for part in (mirrored, counted))
        return cls(
            rows,
            columns,
            first=np.concatenate([np.cos(turn), -np.sin(turn)]),
            of_real=np.concatenate([cosine, -sine], axis=2),
            of_imaginary=np.concatenate([sine, cosine], axis=2),
            bins=next(both),
            counted=next(both),
        )

    def weights(self, of_bins: np.ndarray) -> np.ndarray:
        """[bands, bins] weights of power to [half * 2 * columns, bands], for the squares of X as they lie in memory."""
        return np.asarray(of_bins[:, self.bins].T * self.counted[:, None])
