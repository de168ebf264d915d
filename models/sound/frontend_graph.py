"""The front end as nodes of an ONNX graph: no FFT operator, no loop; portable, and faster than librosa on one thread."""

from __future__ import annotations

from math import gcd

from wheeltapper.models.onnx_builder import GraphBuilder
from wheeltapper.models.sound.frontend import DB_PER_NEPER, FrontEnd, SplitDft

# Frames of one pass: their spectra fit a core's cache, and a batch of long windows needs no more memory than a few of these.
FRAMES_AT_ONCE = 256


def signals(graph: GraphBuilder) -> str:
    """The input `window` as [N, C, S]."""
    return graph.reshape("window", (-1, graph.channels, graph.window))


def mel_energies(graph: GraphBuilder, frontend: FrontEnd, samples: str, weights: str | None = None) -> str:
    """Append samples to energies.

    Args:
        samples: tensor [N, C, S], as `signals` gives it; S and C of the builder.
        weights: of another filter bank than the mel bands, a tensor [columns, bands]; see `SplitDft.weights`.

    Returns:
        E, [N, C, frames, bands].
    """
    split = SplitDft.of(frontend.n_fft)
    count = frontend.frames(graph.window)
    if weights is None:
        weights = graph.constant(split.weights(frontend.mel))
    rows = graph.reshape(samples, (-1, graph.window))
    if frontend.padding:
        rows = graph.node("Pad", rows, graph.integers([0, frontend.padding, 0, frontend.padding]))
    parts = []
    for start in range(0, count, FRAMES_AT_ONCE):
        frames = min(FRAMES_AT_ONCE, count - start)
        power = spectra(graph, frontend, split, rows, start, frames)
        parts.append(graph.reshape(graph.node("MatMul", power, weights), (-1, graph.channels, frames, frontend.bands)))
    return parts[0] if len(parts) == 1 else graph.node("Concat", *parts, axis=2)


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


def decibels(graph: GraphBuilder, energies: str, floor: float) -> str:
    """10 log10(E + floor)."""
    logarithm = graph.node("Log", graph.node("Add", energies, graph.constant(floor)))
    return graph.node("Mul", logarithm, graph.constant(DB_PER_NEPER))


def mel_levels(graph: GraphBuilder, frontend: FrontEnd) -> str:
    """Append the whole front end: `window` to L, [N, C, frames, bands], dB."""
    return decibels(graph, mel_energies(graph, frontend, signals(graph)), frontend.floor)


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
