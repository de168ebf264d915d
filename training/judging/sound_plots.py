"""Plots of clips: the score of each, and the spectrogram of the strangest one with what is blamed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from wheeltapper.models.sound.frontend import FrontEnd
from wheeltapper.schemas.bundle import Bundle
from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.sound.series import SoundSeries
from wheeltapper.training.judging.sound_evaluation import ClipScores, SoundReport, audio_manifest

_INCHES = (16.0, 9.0)
_DPI = 100
_COLOURS = {"normal": "#1f4e79", "anomalous": "#d1495b", "unknown": "#7a7a7a"}
# Cells of that share of the largest are outlined.
_BLAMED = 0.3


def plot_clips(path: Path, bundle: Bundle, series: SoundSeries, scored: ClipScores, report: SoundReport) -> None:
    """Draw a PNG: above, the clips' scores with the threshold; below, the strangest clip.

    Raises:
        InputError: the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=_INCHES, dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1)
    _draw_scores(above, series, scored, report)
    _draw_strangest(below, bundle, series, scored)
    figure.suptitle(f"{report.bundle} on {report.dataset} {report.entity}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be written ({error}); choose another --plot, ending in .png") from error


def _draw_scores(axes: Any, series: SoundSeries, scored: ClipScores, report: SoundReport) -> None:
    kinds = [
        "unknown" if clip.anomalous is None else "anomalous" if clip.anomalous else "normal" for clip in series.test
    ]
    for kind, colour in _COLOURS.items():
        chosen = [index for index, found in enumerate(kinds) if found == kind]
        if chosen:
            axes.scatter(chosen, scored.score[chosen], s=18, color=colour, label=kind)
    axes.axhline(report.threshold, color="#b00020", linestyle="--", linewidth=1, label="threshold from normal clips")
    axes.set_xlabel("clip of the test part")
    axes.set_ylabel("score")
    if float(scored.score.max()) > 20 * max(1e-9, float(np.median(np.abs(scored.score)))):
        axes.set_yscale("symlog", linthresh=max(1e-9, float(np.median(np.abs(scored.score)))))
    if float(scored.score.min()) >= 0:
        axes.set_ylim(bottom=0)
    axes.legend(loc="upper left")


def _draw_strangest(axes: Any, bundle: Bundle, series: SoundSeries, scored: ClipScores) -> None:
    from matplotlib.patches import Rectangle

    manifest = audio_manifest(bundle)
    index = int(scored.score.argmax())
    clip, blamed = series.test[index], scored.blamed[index]
    start = round(float(scored.starts_s[index]) * manifest.sample_rate)
    window_s = manifest.window / manifest.sample_rate
    # The channel of the most blamed band.
    names = [band.channel for band in manifest.bands]
    strongest = names[int(np.unravel_index(int(blamed.argmax()), blamed.shape)[0])]
    channel = manifest.channel_names.index(strongest) if strongest else 0
    samples = np.resize(clip.samples[start : start + manifest.window, channel], manifest.window)
    n_fft = min(1024, 2 * (manifest.window // 4))
    levels = FrontEnd(manifest.sample_rate, n_fft=n_fft, hop=n_fft // 2, bands=64).levels(samples[None])[0]
    edges = FrontEnd(manifest.sample_rate, n_fft=n_fft, hop=n_fft // 2, bands=64).edges
    times = np.linspace(0, window_s, len(levels) + 1)
    hertz = np.array([edges[0][0], *(high for _, high in edges)])
    axes.pcolormesh(times, hertz, levels.T, cmap="magma", shading="flat")
    width = window_s / manifest.time_columns
    for row, column in zip(*np.nonzero(blamed >= _BLAMED * max(float(blamed.max()), 1e-30)), strict=True):
        band = manifest.bands[int(row)]
        if band.channel == strongest:
            place = (float(column) * width, band.low_hz)
            axes.add_patch(
                Rectangle(place, width, band.high_hz - band.low_hz, fill=False, edgecolor="#7fffd4", linewidth=0.8)
            )
    for begin, end, low, high in clip.disturbed:
        place = (begin - start / manifest.sample_rate, low)
        axes.add_patch(
            Rectangle(place, end - begin, high - low, fill=False, edgecolor="white", linestyle="--", linewidth=1.5)
        )
    axes.set_xlim(0, window_s)
    axes.set_ylim(hertz[0], hertz[-1])
    axes.set_xlabel(
        "s from the window's start; outlined: what is blamed; dashed: the fault that was put in, where it is known"
    )
    axes.set_ylabel("Hz")
    axes.set_title(f"{clip.name}, the strangest clip" + (f", channel {strongest}" if strongest else ""))
