"""A clip's spectrogram with the blamed patches in it, as a PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from wheeltapper.schemas.clock import iso_from_micros
from wheeltapper.schemas.events import Patch

PATCHES_DRAWN = 8
_FRAME, _HOP = 1024, 256
# Below the loudest part by so much, a picture shows black.
RANGE_DB = 80.0


def levels_db(samples: np.ndarray, sample_rate: int, hop: int = _HOP) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """
    Args:
        samples: [n] float32.
        hop: samples between frames.

    Returns:
        levels [frequencies, frames] in dB, frequencies [F] in Hz, and times [T] in seconds of the frames' middles.
    """
    frame = min(_FRAME, len(samples))
    # An accelerometer's offset would be the loudest part of all.
    frames = np.lib.stride_tricks.sliding_window_view(samples - samples.mean(), frame)[::hop]
    power = np.abs(np.fft.rfft(frames * np.hanning(frame), axis=1)) ** 2
    times = (np.arange(len(frames)) * hop + frame / 2) / sample_rate
    return 10 * np.log10(power.T + 1e-10), np.fft.rfftfreq(frame, 1 / sample_rate), times


def draw(
    samples: np.ndarray,
    sample_rate: int,
    start: int,
    patches: Sequence[Patch],
    channels: Sequence[str],
    title: str,
    out: Path,
) -> None:
    """One panel a channel; the strongest patches as frames with their share.

    Args:
        samples: [n, channels] float32.
        start: event time (us) of the first sample.
        channels: names, as patches have them; one name of '' for a microphone.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    figure = Figure(figsize=(11, 1.2 + 3.4 * len(channels)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(channels), 1, squeeze=False)[:, 0]
    strongest = sorted(patches, key=lambda patch: -patch.share)[:PATCHES_DRAWN]
    for index, (axis, name) in enumerate(zip(axes, channels, strict=True)):
        levels, frequencies, times = levels_db(samples[:, index], sample_rate)
        top = float(levels.max())
        image = axis.pcolormesh(
            times, frequencies / 1000, levels, vmin=top - RANGE_DB, vmax=top, cmap="magma", rasterized=True
        )
        figure.colorbar(image, ax=axis, label="level (dB)")
        for patch in strongest:
            if len(channels) > 1 and patch.channel != name:
                continue
            left, width = (patch.start - start) / 1e6, (patch.end - patch.start) / 1e6
            low, height = patch.low_hz / 1000, (patch.high_hz - patch.low_hz) / 1000
            axis.add_patch(Rectangle((left, low), width, height, fill=False, edgecolor="#35d0ff", linewidth=1.6))
            axis.text(
                left + width / 2,
                low + height,
                f"{patch.share:.0%}".replace("%", " %"),
                color="white",
                ha="center",
                va="top",
                fontsize=8,
                bbox={"facecolor": "black", "alpha": 0.6, "edgecolor": "none", "pad": 1.5},
            )
        axis.set_ylabel(f"{name + ': ' if name else ''}frequency (kHz)")
        axis.set_xlim(0, len(samples) / sample_rate)
        axis.set_ylim(0, sample_rate / 2000)
    axes[-1].set_xlabel(f"seconds since {iso_from_micros(start)}")
    figure.suptitle(title, fontsize=10)
    figure.savefig(out, dpi=110)
