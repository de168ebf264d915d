"""Pictures of a comparison as PNG: critical-difference diagrams, and scores over an entity's test part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import numpy as np

from wheeltapper.training.lab.compare.ranks import Ranking

_INK, _SOFT, _SCORE, _LEVEL, _LABEL = "#1c2430", "#5b6675", "#1f4e79", "#b00020", "#f2c14e"
_DPI = 100
# Scores differ by orders of magnitude; below a hundredth and above a hundred alarm levels nothing more is to be seen.
_LOWEST, _HIGHEST = 0.01, 100.0
# Lines, bands and text need no more colours; a palette makes a picture a third as large.
_COLOURS = 24


def critical_difference_diagram(ranking: Ranking) -> bytes:
    """Mean ranks on an axis, best on the left; bars join detectors that are not told apart."""
    names, ranks = ranking.names, ranking.ranks
    count = len(names)
    left = (count + 1) // 2
    row_height, bar_gap = 0.32, 0.22
    top = 0.95 + bar_gap * len(ranking.groups)
    height = top + row_height * left + 0.25
    figure, axis = _canvas(9.0, height)
    low, high = 1.0, max(float(count), 2.0)
    margin = 0.62 * (high - low)
    axis.set_xlim(low - margin, high + margin)
    axis.set_ylim(height, 0)
    axis.axis("off")
    ruler = 0.62
    axis.plot([low, high], [ruler, ruler], color=_INK, lw=1.2)
    for tick in range(int(low), int(high) + 1):
        axis.plot([tick, tick], [ruler - 0.06, ruler], color=_INK, lw=1.2)
        axis.text(tick, ruler - 0.1, str(tick), ha="center", va="bottom", fontsize=9, color=_INK)
    width = min(ranking.critical_difference, high - low)
    axis.plot([low, low + width], [0.16, 0.16], color=_LEVEL, lw=2)
    more = " (wider than the axis)" if ranking.critical_difference > high - low else ""
    axis.text(
        low + width + 0.02 * margin,
        0.16,
        f" critical difference {ranking.critical_difference:.2f}{more}",
        va="center",
        fontsize=9,
        color=_LEVEL,
    )
    for index, (first, last) in enumerate(ranking.groups):
        y = ruler + 0.2 + bar_gap * index
        pad = 0.012 * (high - low)
        axis.plot([ranks[first] - pad, ranks[last] + pad], [y, y], color=_INK, lw=4, solid_capstyle="round")
    for position, (name, rank) in enumerate(zip(names, ranks, strict=True)):
        on_left = position < left
        line = position if on_left else count - 1 - position
        y = top + row_height * line
        edge = low - 0.08 * margin if on_left else high + 0.08 * margin
        axis.plot([rank, rank, edge], [ruler, y, y], color=_SOFT, lw=0.9)
        text = f"{_short(name)}  {rank:.2f}" if on_left else f"{rank:.2f}  {_short(name)}"
        axis.text(
            edge - 0.02 * margin if on_left else edge + 0.02 * margin,
            y,
            text,
            ha="right" if on_left else "left",
            va="center",
            fontsize=9.5,
            color=_INK,
        )
    return _png(figure)


def score_plot(
    title: str, rows: int, events: Sequence[Sequence[int]], traces: Mapping[str, Mapping[str, Sequence[float]]]
) -> bytes:
    """Calibrated scores of some detectors over one test part, one below the other; labelled rows shaded.

    Args:
        rows: T.
        events: labelled segments [start, stop).
        traces: by detector 'low' and 'high' of each column, as a job's record keeps them.
    """
    count = max(len(traces), 1)
    figure, axes = _canvas(9.0, 0.55 + 0.85 * count, panels=count)
    figure.suptitle(title, x=0.01, ha="left", fontsize=10, fontweight="bold")
    for index, (axis, (name, trace)) in enumerate(zip(np.atleast_1d(axes), traces.items(), strict=True)):
        x = np.linspace(0, rows, len(trace["low"]), endpoint=False)
        least = rows / 600  # an event of a few rows is still a line
        for start, stop in events:
            axis.axvspan(start, max(stop, start + least), color=_LABEL, alpha=0.55, lw=0)
        low, high = (np.clip(np.asarray(trace[key], dtype=float), _LOWEST, _HIGHEST) for key in ("low", "high"))
        axis.fill_between(x, low, high, color=_SCORE, lw=0.5, step="post")
        axis.axhline(1.0, color=_LEVEL, lw=0.9, ls="--")
        axis.set_yscale("log")
        axis.set_ylim(_LOWEST, _HIGHEST)
        axis.set_yticks([0.01, 1, 100], ["≤.01", "1", "≥100"], fontsize=7)
        axis.minorticks_off()
        axis.set_xlim(0, max(rows, 1))
        axis.set_title(_short(name), loc="left", fontsize=8.5, pad=2, color=_INK)
        axis.tick_params(axis="x", labelsize=7, labelbottom=index == count - 1)
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
    return _png(figure)


def _canvas(width: float, height: float, panels: int = 1) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(panels, 1) if panels > 1 else figure.subplots()


def _png(figure: Any) -> bytes:
    from PIL import Image

    raw = BytesIO()
    figure.savefig(raw, format="png")
    raw.seek(0)
    packed = BytesIO()
    Image.open(raw).convert("RGB").quantize(_COLOURS).save(packed, format="png", optimize=True)
    return packed.getvalue()


def _short(name: str, most: int = 34) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"
