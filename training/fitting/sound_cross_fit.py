"""Held-out scores of sound: the train clips in blocks of time, each scored by a fit on the others."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from wheeltapper.models.fitted import FittedSound
from wheeltapper.schemas.bundle.graph import Graph
from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.clock import MICROS_PER_SECOND
from wheeltapper.training.datasets.sound.series import Clip, SoundSeries
from wheeltapper.training.fitting.calibration import CalibrationScores
from wheeltapper.training.fitting.cross_fit import ProgressLine
from wheeltapper.training.fitting.options import TrainOptions
from wheeltapper.training.fitting.sound_windows import ClipWindows, clip_starts, window_and_hop

SOUND_BLOCKS = 6
# Neighbouring clips are pieces of one recording: what is scored must not lie beside what it was fitted on. A long clip is cut
# where a block ends, a clip of up to so many windows lies in one block as a whole.
WHOLE_CLIP_WINDOWS = 4

Fit = Callable[[Sequence[Clip]], FittedSound]


def fit_and_cross_fit_sound(
    name: str,
    series: SoundSeries,
    options: TrainOptions,
    fit: Callable[[Sequence[Clip], int], FittedSound],
    *,
    least_clips: int = 2,
) -> tuple[FittedSound, CalibrationScores]:
    """Fit on all train clips; scores are those of `sound_cross_fit`.

    Args:
        name: what errors call the detector.
        fit: from clips and the window in samples to a detector.
        least_clips: that `fit` needs; long clips count as so many as they have windows that do not overlap.

    Raises:
        InputError: too few clips.
    """
    window, hop = window_and_hop(series, options)
    found = sum(max(1, len(clip.samples) // window) for clip in series.train)
    # Of the largest of SOUND_BLOCKS blocks nothing is left for the fit.
    least = least_clips + -(-least_clips // (SOUND_BLOCKS - 1))
    if found < least:
        raise InputError(
            f"{series.dataset} {series.entity}: {found} train clips of {window / series.sample_rate:g} s, {name} needs at "
            f"least {least}; record more of the machine's normal sound"
        )
    show = ProgressLine(options.progress)
    scores = sound_cross_fit(
        series, lambda clips: fit(clips, window), window=window, hop=hop, threads=options.threads, progress=show
    )
    show("fit on all clips")
    fitted = fit(series.train, window)
    show("")
    return fitted, scores


def sound_cross_fit(
    series: SoundSeries,
    fit: Fit,
    *,
    window: int,
    hop: int,
    blocks: int = SOUND_BLOCKS,
    threads: int = 1,
    progress: Callable[[str], None] = lambda _: None,
) -> CalibrationScores:
    """Scores of every window of the train clips by a detector that was fitted on the other blocks.

    Args:
        fit: fits on clips, in the order of time; a clip may be a part of one of the series.
        window, hop: samples.

    Raises:
        InputError: fewer than two clips' worth of train sound.
    """
    starts = clip_starts(series.train, series.sample_rate, hop)
    pieces = blocks_of_time(series.train, starts, series.sample_rate, window, blocks)
    if len(pieces) < 2:
        raise InputError(
            f"{series.dataset} {series.entity}: {series.seconds:.3g} s of train sound are one window of "
            f"{window / series.sample_rate:g} s; record more, or give a shorter --window-s"
        )
    scores, times = [], []
    for block, (clips, own) in enumerate(pieces):
        progress(f"calibration: block {block + 1} of {len(pieces)}")
        fitted = fit([clip for index, (others, _) in enumerate(pieces) if index != block for clip in others])
        graph = Graph(
            fitted.onnx_bytes(), name=f"{fitted.detector} of block {block + 1}", device="cpu", threads=threads
        )
        windows = ClipWindows.of(clips, own, series.sample_rate, window, hop)
        scores += [graph.run(batch, rows).score for batch, rows in windows.batches(fitted.attributes)]
        times.append(windows.time)
    # An embedding of one fit means nothing in the space of another: they are not kept.
    return CalibrationScores(
        score=np.concatenate(scores).astype(np.float64),
        time=np.concatenate(times),
        interval_s=hop / series.sample_rate,
        origin=f"{len(pieces)} blocks of time of the train clips, each scored by a fit on the others",
        stride=hop,
    )


def blocks_of_time(
    clips: Sequence[Clip], starts: np.ndarray, sample_rate: int, window: int, blocks: int = SOUND_BLOCKS
) -> list[tuple[list[Clip], np.ndarray]]:
    """Clips in consecutive blocks of about the same length, and where each begins (us).

    Args:
        starts: [n] int64 microseconds, of the clips.
    """
    lengths = [len(clip.samples) for clip in clips]
    before = np.concatenate([[0], np.cumsum(lengths)])
    edges = np.linspace(0, before[-1], blocks + 1)
    found: list[tuple[list[Clip], list[int]]] = [([], []) for _ in range(blocks)]
    for index, clip in enumerate(clips):
        begin = int(before[index])
        if lengths[index] <= WHOLE_CLIP_WINDOWS * window:
            cuts = [0, lengths[index]]
        else:
            inner = [round(edge - begin) for edge in edges[1:-1] if window <= edge - begin <= lengths[index] - window]
            cuts = [0, *inner, lengths[index]]
        for start, stop in itertools.pairwise(cuts):
            middle = begin + (start + stop) / 2
            block = min(blocks - 1, int(np.searchsorted(edges, middle, side="right")) - 1)
            found[block][0].append(clip if (start, stop) == (0, lengths[index]) else _part(clip, start, stop))
            found[block][1].append(int(starts[index]) + round(start * MICROS_PER_SECOND / sample_rate))
    return [(held, np.array(own, dtype=np.int64)) for held, own in found if held]


def _part(clip: Clip, start: int, stop: int) -> Clip:
    return replace(clip, samples=clip.samples[start:stop])
