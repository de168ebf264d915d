"""The plot at the end of `wheeltapper demo-drift`: score and level of the bundle that served, and what happened."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from wheeltapper.schemas.adaptation import AdaptationEvent, AdaptationStep, DriftEvent
from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.events import AlertEvent, ScoreBlock

_SMALLEST = 0.02
_COLOURS = ("#1f4e79", "#2a9d8f", "#8d6a9f")


def plot(
    path: Path,
    blocks: Sequence[ScoreBlock],
    drifts: Sequence[DriftEvent],
    steps: Sequence[AdaptationEvent],
    alerts: Sequence[AlertEvent],
    serviced: int,
    fault_at: int | None,
) -> None:
    """Draw it to a .png of 1600 x 700 pixels.

    Args:
        serviced, fault_at: event times (us).

    Raises:
        InputError: the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(16, 7), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axis, strip = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [5, 1]})
    names = list(dict.fromkeys(block.bundle for block in blocks))
    for number, name in enumerate(names):
        mine = [block for block in blocks if block.bundle == name]
        times = np.concatenate([np.array(block.time, dtype=np.int64) for block in mine])
        order = np.argsort(times, kind="stable")
        dates = times[order].astype("datetime64[us]")
        scores = np.concatenate([np.array(block.score) for block in mine])[order]
        levels = np.concatenate([np.array(block.threshold) for block in mine])[order]
        colour = _COLOURS[number % len(_COLOURS)]
        label = "score of the bundle given at start" if number == 0 else "score of the adapted bundle"
        axis.plot(dates, np.maximum(scores, _SMALLEST), color=colour, lw=0.7, label=label)
        axis.plot(dates, levels, color=colour, lw=1.6, ls="--", label="its alarm level")
    axis.set_yscale("log")
    axis.set_ylabel("calibrated score")
    axis.grid(axis="y", alpha=0.25)
    moments = [("serviced", serviced), *(("drift", event.time) for event in drifts)]
    shown = {
        AdaptationStep.ACCEPTED: "gate passed",
        AdaptationStep.ACTIVATED: "take-over",
        AdaptationStep.ROLLED_BACK: "rolled back",
    }
    moments += [
        (shown[event.event], event.time)
        for event in steps
        if event.time is not None and event.event in shown and not event.reason.startswith("has proved")
    ]
    if fault_at is not None:
        moments.append(("fault", fault_at))
    for number, (text, time) in enumerate(moments):
        date = np.datetime64(time, "us")
        axis.axvline(date, color="#555555", lw=1, ls=":")
        height = 0.97 - 0.06 * (number % 3)
        axis.text(date, height, f" {text}", transform=axis.get_xaxis_transform(), va="top", fontsize=10)
    axis.legend(loc="lower left", ncols=2, fontsize=9, framealpha=0.9)
    spans: dict[str, tuple[int, int]] = {}
    for alert in alerts:
        first, last = spans.get(alert.alert_id, (alert.opened_at, alert.time))
        spans[alert.alert_id] = (first, max(last, alert.time))
    for first, last in spans.values():
        strip.axvspan(np.datetime64(first, "us"), np.datetime64(last, "us"), color="#d1495b", lw=1.5)
    strip.set_yticks([0.5], [f"alerts ({len(spans)})"])
    strip.set_xlabel("event time (UTC)")
    figure.suptitle("A serviced pump: drift, adaptation, shadow, take-over, and a fault afterwards", x=0.01, ha="left")
    for part in (axis, strip):
        part.spines[["top", "right"]].set_visible(False)
    try:
        figure.savefig(path)
    except OSError as error:
        raise InputError(f"{path}: the plot cannot be written ({error}); choose another --out") from error
