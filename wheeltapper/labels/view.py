"""A question as a person sees it in the terminal: who, when, how near, and the curves of the channels to blame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.console import Group
from rich.table import Table
from rich.text import Text

from wheeltapper.alert_view import printable, render_channel
from wheeltapper.schemas.clock import iso_from_micros
from wheeltapper.schemas.events import LabelRequest
from wheeltapper.schemas.text import number, span_text

BLOCKS = "▁▂▃▄▅▆▇█"
PLAIN_BLOCKS = "_.-=+*#@"
"""For terminals that have no others."""

SPARKLINE_WIDTH = 48
SHORT_ID = 8


def sparkline(values: Sequence[float | None], *, width: int = SPARKLINE_WIDTH, blocks: str = BLOCKS) -> str:
    """A curve in at most `width` characters, from its lowest (first block) to its highest value (last).

    Longer curves are averaged; a blank is where nothing was measured.
    """
    measured = np.array(values, dtype=np.float64)
    parts = np.array_split(measured, min(width, len(measured)))
    means = np.array([np.mean(part[np.isfinite(part)]) if np.isfinite(part).any() else np.nan for part in parts])
    if not np.isfinite(means).any():
        return " " * len(means)
    low, high = float(np.nanmin(means)), float(np.nanmax(means))
    span = high - low or 1.0
    heights = np.round((means - low) / span * (len(blocks) - 1))
    return "".join(blocks[int(height)] if np.isfinite(height) else " " for height in heights)


def render_line(request: LabelRequest) -> Text:
    """One line, for lists."""
    line = Text(no_wrap=True, overflow="ignore")
    line.append(request.request_id[:SHORT_ID], style="yellow")
    line.append(f"  {iso_from_micros(request.time)}", style="dim")
    line.append(f"  {printable(request.machine)}", style="bold")
    line.append(f"  {printable(request.detector)}", style="cyan")
    line.append(f"  score {number(request.score)} of {number(request.threshold)}", style="dim")
    for share in request.shares[:1]:
        line.append("  ")
        line.append_text(render_channel(share))
    return line


def render_question(request: LabelRequest, *, blocks: str = BLOCKS) -> Group:
    """Head, span of the window, and a curve for each channel that the score comes from."""
    first, last = request.ts[0], request.ts[-1]
    head = render_line(request.model_copy(update={"shares": ()}))
    head.append(f"  ({request.uncertainty:.0%} uncertain)".replace("%", " %"))
    span = Text(
        f"  {len(request.ts)} rows, {span_text(last - first)}, from {iso_from_micros(first)} to {iso_from_micros(last)}; "
        f"{request.quality:.0%} measured".replace("%", " %"),
        style="dim",
    )
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, overflow="ignore")
    for share in request.shares:
        if share.channel not in request.channels:
            continue
        column = request.channels.index(share.channel)
        curve = [row[column] for row in request.values]
        measured = [value for value in curve if value is not None]
        limits = f"{number(min(measured))} .. {number(max(measured))}" if measured else "nothing measured"
        text = Text("  ")
        text.append_text(render_channel(share))
        table.add_row(text, Text(limits, style="dim"), Text(sparkline(curve, blocks=blocks)))
    return Group(head, span, table)
