"""Adaptations on a terminal: a line each, or one with its time line and evidence."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.box import SIMPLE
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from wheeltapper.alert_view import printable
from wheeltapper.schemas.adaptation import AdaptationEvent, AdaptationStep
from wheeltapper.schemas.clock import iso_from_micros

_COLOURS = {
    AdaptationStep.ACCEPTED: "green",
    AdaptationStep.ACTIVATED: "green",
    AdaptationStep.SHADOW: "cyan",
    AdaptationStep.CANARY: "cyan",
    AdaptationStep.REJECTED: "yellow",
    AdaptationStep.WAITING: "yellow",
    AdaptationStep.FAILED: "red",
    AdaptationStep.REFUSED: "red",
    AdaptationStep.ROLLED_BACK: "red",
}


@dataclass(frozen=True)
class Adaptation:
    """One adaptation or deployment.

    Attributes:
        events: its steps, in the order in which they were published.
    """

    events: tuple[AdaptationEvent, ...]

    @property
    def ident(self) -> str:
        return self.events[0].adaptation_id

    @property
    def last(self) -> AdaptationEvent:
        return self.events[-1]

    def found(self, field: str) -> str:
        """The last value of a field that is not empty."""
        return next((str(value) for event in reversed(self.events) if (value := getattr(event, field))), "")


def adaptations(events: Iterable[AdaptationEvent]) -> list[Adaptation]:
    """Events by adaptation, the one that began last at the end; a step that came twice counts once."""
    by_id: dict[str, dict[tuple[str, str], AdaptationEvent]] = {}
    for event in events:
        by_id.setdefault(event.adaptation_id, {}).setdefault((event.event, event.reason), event)
    found = [Adaptation(tuple(steps.values())) for steps in by_id.values()]
    return sorted(found, key=lambda one: one.events[0].at)


def line(one: Adaptation) -> Text:
    """When it began, what of, how far it is."""
    first, last = one.events[0], one.last
    text = Text(f"{iso_from_micros(first.at)[:19]}  ")
    text.append(f"{one.ident[:8]}  ", style="dim")
    text.append(f"{printable(first.machine)}", style="bold")
    text.append(f" {printable(first.rule)}  ")
    text.append(str(last.event), style=_COLOURS.get(last.event, ""))
    details = [one.found("step"), printable(last.reason)]
    text.append("".join(f"  {detail}" for detail in details if detail))
    return text


def detail(one: Adaptation) -> RenderableType:
    """Time line, bundles, evidence and where the report is."""
    first = one.events[0]
    steps = Table(box=SIMPLE, title=f"adaptation {one.ident}: {printable(first.machine)}, rule {printable(first.rule)}")
    for heading in ("clock (UTC)", "event time", "step", "by", "reason"):
        steps.add_column(heading, overflow="fold")
    for event in one.events:
        steps.add_row(
            iso_from_micros(event.at)[:19],
            "-" if event.time is None else iso_from_micros(event.time)[:19],
            Text(str(event.event), style=_COLOURS.get(event.event, "")),
            printable(event.who),
            printable(event.reason),
        )
    facts = Table(box=None, show_header=False)
    for name, field in (
        ("step of the ladder", "step"), ("parent", "parent"), ("child", "bundle"), ("child is at", "uri"),
        ("report", "report"), ("drift", "drift_id"),
    ):  # fmt: skip
        if value := one.found(field):
            facts.add_row(name, printable(value))
    parts: list[RenderableType] = [steps, facts]
    for event in one.events:
        if rows := list(flat(event.evidence)):
            table = Table(box=SIMPLE, title=f"evidence of '{event.event}'")
            table.add_column("figure", overflow="fold")
            table.add_column("value", overflow="fold", justify="right")
            for name, value in rows:
                table.add_row(printable(name), printable(value))
            parts.append(table)
    return Group(*parts)


def flat(evidence: str) -> Sequence[tuple[str, str]]:
    """A JSON text as (path, value) rows."""
    try:
        found = json.loads(evidence) if evidence else {}
    except ValueError:
        return [("", evidence)]
    rows: list[tuple[str, str]] = []

    def walk(path: str, value: Any) -> None:
        if isinstance(value, dict):
            for name, inner in value.items():
                walk(f"{path}.{name}" if path else str(name), inner)
        elif isinstance(value, list) and any(isinstance(inner, dict | list) for inner in value):
            for number, inner in enumerate(value, start=1):
                walk(f"{path}[{number}]", inner)
        elif isinstance(value, list):
            rows.append((path, ", ".join(map(_shown, value))))
        else:
            rows.append((path, _shown(value)))

    walk("", found)
    return rows


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
