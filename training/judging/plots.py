"""Plots: one run with its score, alarm level, labels, alerts, and the channels that the alerts name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.events import AlertEvent
from wheeltapper.training.datasets.labels import runs
from wheeltapper.training.datasets.series import SensorSeries

# 1600 x 900 pixels.
_INCHES = (16.0, 9.0)
_DPI = 100
# A line is drawn with so many points at most: the smallest and largest value of each pixel column.
_COLUMNS = 1600
_SMALLEST_SHOWN = 0.01
_COLOURS = {"score": "#1f4e79", "level": "#b00020", "label": "#f2c14e", "alert": "#d1495b", "channel": "#3a3a3a"}


@dataclass(frozen=True)
class AlertSpan:
    """One alert from its opening to its end.

    Attributes:
        opened_at, ended_at: event time, microseconds UTC.
        channels: the blamed ones with their shares, strongest first.
    """

    opened_at: int
    ended_at: int
    channels: tuple[tuple[str, float], ...] = ()


def alert_spans(events: Iterable[AlertEvent]) -> list[AlertSpan]:
    """Alerts of one machine from their events, in order of opening; an open alert ends with its last event."""
    by_id: dict[str, list[AlertEvent]] = {}
    for event in events:
        by_id.setdefault(event.alert_id, []).append(event)
    spans = []
    for steps in by_id.values():
        worst = max(steps, key=lambda step: (step.score, step.time))
        channels = tuple((share.channel, share.share) for share in worst.channels)
        spans.append(AlertSpan(steps[0].opened_at, max(step.time for step in steps), channels))
    return sorted(spans, key=lambda span: span.opened_at)


def plot_run(
    path: Path,
    series: SensorSeries,
    times: np.ndarray,
    scores: np.ndarray,
    threshold: float | np.ndarray = 1.0,
    alerts: Sequence[AlertSpan] = (),
    *,
    title: str | None = None,
    channels: Sequence[str] = (),
    most_channels: int = 4,
) -> None:
    """Draw a run over a series' test part to a .png (or .svg, .pdf) of 1600 x 900 pixels.

    Args:
        series: for the labels and the values of the blamed channels.
        times: [N] int64, event time of each score, microseconds UTC.
        scores: [N] calibrated scores.
        threshold: the raise level, one or [N].
        channels: which to show; default: those that the alerts blame most, by the sum of their shares.
        most_channels: at most so many of them.

    Raises:
        InputError: the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = list(channels or _most_blamed(series, alerts))[:most_channels]
    figure = Figure(figsize=_INCHES, dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(
        2 + len(shown), 1, sharex=True, gridspec_kw={"height_ratios": [3.2, 0.62, *[1.0] * len(shown)]}
    )
    figure.suptitle(title or f"{series.dataset} {series.entity}", x=0.01, ha="left", fontsize=14, fontweight="bold")
    labelled = _labelled_spans(series)
    _draw_score(axes[0], times, scores, threshold, labelled)
    _draw_strip(axes[1], labelled, alerts)
    for axis, name in zip(axes[2:], shown, strict=True):
        _draw_channel(axis, series, name, alerts)
    _draw_times(axes[-1], times)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: the plot cannot be written ({error}); give a path ending in .png") from error


def _draw_score(
    axis: Any, times: np.ndarray, scores: np.ndarray, threshold: float | np.ndarray, labelled: list[tuple[int, int]]
) -> None:
    level = np.broadcast_to(np.asarray(threshold, dtype=np.float64), np.shape(times))
    for index, (start, stop) in enumerate(labelled):
        axis.axvspan(
            _date(start), _date(stop), color=_COLOURS["label"], alpha=0.45, lw=0, label=None if index else "labelled"
        )
    shown_times, shown = _thinned(times, np.maximum(scores, _SMALLEST_SHOWN))
    axis.plot(_dates(shown_times), shown, color=_COLOURS["score"], lw=0.8, label="score")
    level_times, levels = _thinned(times, level)
    axis.plot(_dates(level_times), levels, color=_COLOURS["level"], lw=1.3, ls="--", label="alarm level")
    axis.set_yscale("log")
    highest = max(float(np.max(scores, initial=1.0)), float(np.max(level, initial=1.0)))
    axis.set_ylim(_SMALLEST_SHOWN, highest * 3)
    axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_ylabel("calibrated score")
    axis.grid(axis="y", alpha=0.25)
    axis.legend(loc="upper right", ncols=3, framealpha=0.9, fontsize=10)
    _plain(axis)


def _draw_strip(axis: Any, labelled: list[tuple[int, int]], alerts: Sequence[AlertSpan]) -> None:
    # A minute of a month is a hundredth of a pixel: bars have an outline, so that none is too short to be seen.
    for row, spans, colour in (
        (1, labelled, _COLOURS["label"]),
        (0, [(alert.opened_at, alert.ended_at) for alert in alerts], _COLOURS["alert"]),
    ):
        for start, stop in spans:
            axis.fill_between([_date(start), _date(stop)], row + 0.1, row + 0.9, color=colour, lw=1.5)
    axis.set_yticks([1.5, 0.5], [f"labelled ({len(labelled)})", f"alerts ({len(alerts)})"])
    axis.tick_params(axis="y", length=0)
    axis.set_ylim(0, 2)
    _plain(axis)


def _draw_channel(axis: Any, series: SensorSeries, name: str, alerts: Sequence[AlertSpan]) -> None:
    column = series.channels.index(name)
    for alert in alerts:
        if any(blamed == name for blamed, _ in alert.channels):
            axis.axvspan(_date(alert.opened_at), _date(alert.ended_at), color=_COLOURS["alert"], alpha=0.25, lw=1.0)
    shown_times, shown = _thinned(series.test_ts, series.test[:, column])
    axis.plot(_dates(shown_times), shown, color=_COLOURS["channel"], lw=0.7)
    unit = f"\n[{series.units[column]}]" if series.units[column] else ""
    label = name if len(name) <= 18 else name.replace("_", "_\n", 1) if "_" in name else name[:18]
    axis.set_ylabel(label + unit, rotation=0, ha="right", va="center", fontsize=10)
    axis.locator_params(axis="y", nbins=3)
    axis.margins(y=0.15)
    axis.grid(axis="y", alpha=0.25)
    _plain(axis)


def _draw_times(axis: Any, times: np.ndarray) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(minticks=6, maxticks=14)
    axis.xaxis.set_major_locator(locator)
    formats = ["%Y", "%b %Y", "%d %b", "%H:%M", "%H:%M", "%S.%f"]
    axis.xaxis.set_major_formatter(ConciseDateFormatter(locator, formats=formats, zero_formats=["", *formats[:5]]))
    axis.set_xlabel("event time (UTC)")
    if len(times) > 1:
        axis.set_xlim(_date(int(times[0])), _date(int(times[-1])))


def _plain(axis: Any) -> None:
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def _labelled_spans(series: SensorSeries) -> list[tuple[int, int]]:
    if series.test_labels is None:
        return []
    return [(int(series.test_ts[start]), int(series.test_ts[stop - 1])) for start, stop in runs(series.test_labels)]


def _most_blamed(series: SensorSeries, alerts: Sequence[AlertSpan]) -> list[str]:
    totals: dict[str, float] = {}
    for alert in alerts:
        for name, share in alert.channels:
            if name in series.channels:
                totals[name] = totals.get(name, 0.0) + share
    return sorted(totals, key=lambda name: -totals[name])


def _thinned(times: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most 2 * `_COLUMNS` points with the same outline: each stretch by its smallest and its largest value."""
    size = -(-len(values) // _COLUMNS)
    if size <= 2:
        return times, values
    whole = len(values) // size * size
    blocks = np.nan_to_num(values[:whole].reshape(-1, size), nan=np.nanmedian(values) if len(values) else 0.0)
    picked = np.sort(np.stack([blocks.argmin(axis=1), blocks.argmax(axis=1)], axis=1), axis=1)
    index = np.concatenate([(picked + size * np.arange(len(blocks))[:, None]).ravel(), np.arange(whole, len(values))])
    return times[index], values[index]


def _date(micros: int) -> datetime:
    return datetime.fromtimestamp(micros / 1e6, tz=UTC)


def _dates(micros: np.ndarray) -> np.ndarray:
    return np.asarray(micros, dtype=np.int64).astype("datetime64[us]")
