"""What would have been, for people: tables, and a plot of scores, levels and alarms."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wheeltapper.schemas.clock import iso_from_micros
from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.text import duration
from wheeltapper.stream.core.alarm_history import PastAlarm
from wheeltapper.what_if.variants import Outcome

if TYPE_CHECKING:
    from rich.table import Table

SHOWN_ALARMS = 8
SHOWN_MACHINES = 12


def as_json(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Everything, for programs."""
    return [
        {
            "machine": one.past.machine,
            "rule": one.past.rule,
            "settings": one.variant.name,
            "days": one.past.days,
            "windows": len(one.past.times),
            "alarms_per_day": one.per_day,
            "open_share": one.open_share,
            "longest_s": one.longest_s,
            "faults": None if one.past.events is None else len(one.past.events),
            "told": one.told,
            "alarms": [
                {
                    "opened_at": alarm.opened_at,
                    "cleared_at": alarm.cleared_at,
                    "peak_score": alarm.peak,
                    "threshold": alarm.level,
                    "level_reason": alarm.reason,
                }
                for alarm in one.alarms
            ],
        }
        for one in outcomes
    ]


def summary(outcomes: Sequence[Outcome]) -> Table:
    """A line for each setting: alarms of all machines and rules, and their means and largest values by machine."""
    from rich.table import Table

    labelled = all(one.past.events is not None for one in outcomes)
    table = Table(title="alarms that would have been", title_justify="left")
    table.add_column("settings", overflow="fold", min_width=24)
    machines = len({(one.past.machine, one.past.rule) for one in outcomes})
    for name in (
        "alarms",
        "a day",
        *(["most a day"] if machines > 1 else []),
        "time open",
        "longest",
        *(["faults told"] if labelled else []),
    ):
        table.add_column(name, justify="right")
    for name in dict.fromkeys(one.variant.name for one in outcomes):
        of = [one for one in outcomes if one.variant.name == name]
        cells = [
            str(sum(len(one.alarms) for one in of)),
            f"{np.mean([one.per_day for one in of]):.2f}",
            *([f"{max(one.per_day for one in of):.2f}"] if machines > 1 else []),
            f"{np.mean([one.open_share for one in of]):.1%}",
            duration(max(one.longest_s for one in of)),
        ]
        if labelled:
            cells.append(f"{sum(one.told or 0 for one in of)} of {sum(len(one.past.events or ()) for one in of)}")
        table.add_row(name, *cells)
    return table


def alarm_table(one: Outcome) -> Table:
    """The newest alarms of one machine under one setting."""
    from rich.table import Table

    shown = one.alarms[-SHOWN_ALARMS:]
    left_out = len(one.alarms) - len(shown)
    more = f" ({left_out} earlier ones are left out; --json has all)" if left_out else ""
    table = Table(title=f"{one.past.machine}, {one.past.rule}: {one.variant.name}{more}", title_justify="left")
    for name in ("opened", "lasted"):
        table.add_column(name, no_wrap=True)
    for name in ("worst score", "level"):
        table.add_column(name, justify="right")
    table.add_column("why the level stood there", overflow="fold")
    for alarm in shown:
        table.add_row(*_cells(alarm, int(one.past.times[-1])))
    return table


def _cells(alarm: PastAlarm, end: int) -> list[str]:
    lasted = duration(((alarm.cleared_at or end) - alarm.opened_at) / 1e6)
    if alarm.cleared_at is None:
        lasted += ", is open"
    opened = iso_from_micros(alarm.opened_at)[:16].replace("T", " ")
    return [opened, lasted, f"{alarm.peak:.2f}", f"{alarm.level:.2f}", alarm.reason]


def draw(outcomes: Sequence[Outcome], path: Path) -> None:
    """Score, raise levels and alarms over time, one panel for each machine and rule.

    Raises:
        InputError: the file cannot be written.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.dates as mdates
    import matplotlib.pyplot as plt

    pasts = list({(one.past.machine, one.past.rule): one.past for one in outcomes}.values())[:SHOWN_MACHINES]
    names = list(dict.fromkeys(one.variant.name for one in outcomes))
    colours = {name: f"C{index + 1}" for index, name in enumerate(names)}
    strip = 0.24 * len(names)
    figure, axes = plt.subplots(
        2 * len(pasts),
        1,
        figsize=(12, (2.4 + strip) * len(pasts) + 0.8),
        height_ratios=[2.4, strip] * len(pasts),
        squeeze=False,
        layout="constrained",
    )
    try:
        for past, panel, alarms in zip(pasts, axes[::2, 0], axes[1::2, 0], strict=True):
            moments = past.times.astype("datetime64[us]")
            panel.plot(moments, np.maximum(past.scores, 1e-2), color="0.55", linewidth=0.7, label="score")
            for row, one in enumerate(one for one in outcomes if one.past is past):
                colour = colours[one.variant.name]
                panel.step(moments, one.history.levels, where="post", color=colour, linewidth=1, label=one.variant.name)
                _draw_alarms(alarms, one, -row, colour)
            for start, stop in past.events or ():
                panel.axvspan(*np.array([start, stop]).astype("datetime64[us]"), color="red", alpha=0.12, linewidth=0)
            if past.maintenance is not None:
                panel.fill_between(
                    moments,
                    0,
                    1,
                    where=past.maintenance,
                    transform=panel.get_xaxis_transform(),
                    color="0.9",
                    linewidth=0,
                )
            panel.set_yscale("log")
            panel.set_ylabel("calibrated score")
            panel.set_title(f"{past.machine}, {past.rule}", loc="left", fontsize=10)
            panel.xaxis.set_major_formatter(mdates.ConciseDateFormatter(mdates.AutoDateLocator()))
            panel.set_xlim(moments[0], moments[-1])
            alarms.set_xlim(moments[0], moments[-1])
            alarms.set_ylim(0.6 - len(names), 0.6)
            alarms.set_ylabel("alarms", rotation=0, horizontalalignment="right", verticalalignment="center")
            alarms.set(xticks=[], yticks=[])
            for side in alarms.spines.values():
                side.set_visible(False)
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=min(3, len(labels)), fontsize=8)
        figure.savefig(path, dpi=110)
    except OSError as error:
        raise InputError(f"--plot {path}: cannot be written ({error.strerror}); choose another file") from error
    finally:
        plt.close(figure)


def _draw_alarms(panel: Any, one: Outcome, row: int, colour: str) -> None:
    """A bar for every alarm; one row for each setting."""
    for alarm in one.alarms:
        until = int(one.past.times[-1]) if alarm.cleared_at is None else alarm.cleared_at
        span = np.array([alarm.opened_at, until]).astype("datetime64[us]")
        panel.plot(span, [row, row], color=colour, linewidth=5, solid_capstyle="butt", marker="|", markersize=7)
