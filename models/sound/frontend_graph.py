"""The front end as nodes of an ONNX graph: no FFT operator, no loop; portable, and faster than librosa on one thread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd

import numpy as np

from wheeltapper.models.onnx_builder import GraphBuilder
from wheeltapper.models.sound.frontend import DB_PER_NEPER, LARGEST, FrontEnd, SplitDft

# Frames of one pass: their spectra fit a core's cache, and a batch of long windows needs no more memory than a few of these.
FRAMES_AT_ONCE = 256


def signals(graph: GraphBuilder, *, without_offset: bool = False) -> str:
    """The input `window` as [N, C, S], cut to +-1e9 so that no finite sample overflows.

    Args:
        without_offset: take out each channel's mean, which is an accelerometer's gravity or a microphone's direct current.
    """
    samples = graph.reshape("window", (-1, graph.channels, graph.window))
    samples = graph.node("Clip", samples, graph.constant(-LARGEST), graph.constant(LARGEST))
    if without_offset:
        # Twice: a float32 sum over a long window with a large offset is not exact, what it leaves is small and its sum is.
        for _ in range(2):
            samples = graph.node("Sub", samples, graph.mean(samples, (2,), keepdims=True))
    return samples


@dataclass(frozen=True)
class Bank:
    """A filter bank inside the graph.

    Attributes:
        weights: tensor [columns, bands] of `SplitDft.weights`, or [N, columns, bands] where each window has its own.
        bands: how many.
        per_window: whether each has its own.
    """

    weights: str
    bands: int
    per_window: bool = False


def band_energies(graph: GraphBuilder, frontend: FrontEnd, samples: str, banks: Sequence[Bank] = ()) -> list[str]:
    """Append samples to energies of the front end's bands, and of other filter banks on the same spectra.

    Args:
        samples: tensor [N, C, S], as `signals` gives it; S and C of the builder.

    Returns:
        E of each, the front end's first, [N, C, frames, bands].
    """
    split = SplitDft.of(frontend.n_fft)
    count = frontend.frames(graph.window)
    banks = [Bank(graph.constant(split.weights(frontend.weights)), frontend.bands), *banks]
    rows = graph.reshape(samples, (-1, graph.window))
    if frontend.padding:
        rows = graph.node("Pad", rows, graph.integers([0, frontend.padding, 0, frontend.padding]))
    parts: list[list[str]] = [[] for _ in banks]
    for start in range(0, count, FRAMES_AT_ONCE):
        frames = min(FRAMES_AT_ONCE, count - start)
        power = spectra(graph, frontend, split, rows, start, frames)
        for bank, found in zip(banks, parts, strict=True):
            if bank.per_window:
                of_windows = graph.reshape(power, (-1, graph.channels * frames, len(split.bins)))
                energies = graph.node("MatMul", of_windows, bank.weights)
            else:
                energies = graph.node("MatMul", power, bank.weights)
            found.append(graph.reshape(energies, (-1, graph.channels, frames, bank.bands)))
    return [found[0] if len(found) == 1 else graph.node("Concat", *found, axis=2) for found in parts]


def spectra(graph: GraphBuilder, frontend: FrontEnd, split: SplitDft, rows: str, start: int, frames: int) -> str:
    """Append the squares of X (see `SplitDft`) of some frames.

    Args:
        rows: tensor [M, samples], padded where the front end is centred.
        start, frames: the first frame, and how many.

    Returns:
        [M * frames, half * 2 * columns], to be multiplied by `SplitDft.weights`.
    """
    half = split.rows // 2 + 1
    framed = _framed(graph, frontend, rows, start, frames)
    turned = graph.node("Transpose", graph.reshape(framed, (-1, split.rows, split.columns)), perm=[1, 0, 2])
    hann = frontend.window.reshape(split.rows, 1, split.columns)
    windowed = graph.reshape(graph.node("Mul", turned, graph.constant(hann)), (split.rows, -1))
    first = graph.node("MatMul", graph.constant(split.first), windowed)
    first = graph.reshape(first, (2 * half, -1, split.columns))
    spectrum = graph.node(
        "Add",
        graph.node("MatMul", graph.slice(first, 0, half, 0), graph.constant(split.of_real)),
        graph.node("MatMul", graph.slice(first, half, 2 * half, 0), graph.constant(split.of_imaginary)),
    )
    flat = graph.node("Transpose", graph.node("Mul", spectrum, spectrum), perm=[1, 0, 2])
    return graph.reshape(flat, (-1, half * 2 * split.columns))


def decibels(graph: GraphBuilder, energies: str, floor: float, above: np.ndarray | None = None) -> str:
    """10 log10(E + floor), or how far that lies above a usual level.

    Args:
        above: usual levels in dB, of a shape that broadcasts to the energies'. The quotient's logarithm is small where the sound is
            usual, and float32 keeps digits there that a difference of two large levels has lost.
    """
    energies = graph.node("Add", energies, graph.constant(floor))
    if above is not None:
        energies = graph.node("Mul", energies, graph.constant(10.0 ** (-np.asarray(above, dtype=np.float64) / 10)))
    return graph.node("Mul", graph.node("Log", energies), graph.constant(DB_PER_NEPER))


def band_levels(graph: GraphBuilder, frontend: FrontEnd) -> str:
    """Append the whole front end: `window` to L, [N, C, frames, bands], dB."""
    return decibels(graph, band_energies(graph, frontend, signals(graph))[0], frontend.floor)


def _framed(graph: GraphBuilder, frontend: FrontEnd, rows: str, start: int, frames: int) -> str:
    """[M, frames, n_fft]: pieces of the greatest length that divides frame and hop, put together."""
    piece = gcd(frontend.n_fft, frontend.hop)
    step, per_frame = frontend.hop // piece, frontend.n_fft // piece
    total = (frames - 1) * frontend.hop + frontend.n_fft
    begin = start * frontend.hop
    pieces = graph.reshape(graph.slice(rows, begin, begin + total, 1), (-1, total // piece, piece))
    last = (frames - 1) * step + 1
    parts = [
        graph.node(
            "Slice",
            pieces,
            graph.integers([offset]),
            graph.integers([offset + last]),
            graph.integers([1]),
            graph.integers([step]),
        )
        for offset in range(per_frame)
    ]
    return parts[0] if len(parts) == 1 else graph.node("Concat", *parts, axis=2)
