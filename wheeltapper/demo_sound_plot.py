"""The plot at the end of `wheeltapper demo-sound`: the sound, where its faults are, when alerts stood, what they blame."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.events import AlertEvent
from wheeltapper.sound.spectrogram import RANGE_DB, levels_db
from wheeltapper.training.datasets.sound.simulated import Fault

_COLUMNS = 1_500
_FAULT, _BLAMED, _ALERT = "#7CFC9A", "#35d0ff", "#d1495b"


def plot(
    path: Path, samples: np.ndarray, sample_rate: int, start: int, faults: Sequence[Fault], alerts: Sequence[AlertEvent]
) -> None:
    """Draw it to a .png of 1600 x 700 pixels.

    Args:
        samples: [n] float32.
        start: event time (us) of the first sample.

    Raises:
        InputError: the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    figure = Figure(figsize=(16, 7), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axis, strip = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [5, 1]})
    levels, frequencies, times = levels_db(samples, sample_rate, hop=max(256, len(samples) // _COLUMNS))
    top = float(levels.max())
    axis.pcolormesh(times, frequencies / 1000, levels, vmin=top - RANGE_DB, vmax=top, cmap="magma", rasterized=True)

    def frame(left: float, low_hz: float, right: float, high_hz: float, colour: str, width: float) -> None:
        size = (right - left, (high_hz - low_hz) / 1000)
        axis.add_patch(Rectangle((left, low_hz / 1000), *size, fill=False, edgecolor=colour, linewidth=width))

    for fault in faults:
        frame(fault.start_s, fault.low_hz, fault.end_s, fault.high_hz, _FAULT, 2.0)
        axis.text(fault.start_s, fault.high_hz / 1000, f" {fault.kind}", color=_FAULT, va="bottom", fontsize=11)
    spans: dict[str, tuple[float, float]] = {}
    for alert in alerts:
        first, last = spans.get(alert.alert_id, ((alert.opened_at - start) / 1e6, 0.0))
        spans[alert.alert_id] = (first, max(last, (alert.time - start) / 1e6, first + 1))
        # What ends an alert is ordinary: its blame says nothing.
        for patch in () if alert.event == "cleared" else alert.patches[:3]:
            frame((patch.start - start) / 1e6, patch.low_hz, (patch.end - start) / 1e6, patch.high_hz, _BLAMED, 1.0)
    axis.set_ylabel("frequency (kHz)")
    axis.plot([], [], color=_FAULT, lw=2, label="fault put in")
    axis.plot([], [], color=_BLAMED, lw=1, label="blamed by an alert")
    axis.legend(loc="upper right", fontsize=9, framealpha=0.9)
    for first, last in spans.values():
        strip.axvspan(first, last, color=_ALERT, alpha=0.8)
    strip.set_yticks([0.5], [f"alerts ({len(spans)})"])
    strip.set_xlabel("seconds")
    strip.spines[["top", "right"]].set_visible(False)
    figure.suptitle("A fan and its microphone: faults, alerts, and what they blame", x=0.01, ha="left")
    try:
        figure.savefig(path)
    except OSError as error:
        raise InputError(f"{path}: the plot cannot be written ({error}); choose another --out") from error
