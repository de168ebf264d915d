"""The report of a laboratory run: strategies by what they keep, strategies by scenario, and every machine."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version

import numpy as np

from wheeltapper.training.fitting.calibration import FALSE_ALARMS_PER_DAY
from wheeltapper.training.lab.compare.document import (
    Block,
    Bullets,
    Cell,
    Command,
    Document,
    Fold,
    Grid,
    Heading,
    Paragraph,
)
from wheeltapper.training.lab.shifts.measures import LEAST_GAP, WORSE_BY, recovered_share
from wheeltapper.training.lab.shifts.motors import MOTOR_KINDS
from wheeltapper.training.lab.shifts.rows import Row
from wheeltapper.training.lab.shifts.scenarios import EXAM_AT, KINDS

WITHIN = 2.0
"""The asked rate counts as kept up to so many times of it."""

_HOW = (
    "Each stream is a machine's own test part, which changes in its middle (a lasting fault: after 55 %), with one sparse fault a "
    f"day of six kinds (1.5 to 8 sd, 1 to 180 rows), beside the data set's own. It runs through the worker's core; the asked rate "
    f"is {FALSE_ALARMS_PER_DAY:g} false alarms a machine and day. Where the right answer is to learn, a person accepts once, when "
    "an alarm, or a drift that was told, has stood for 4 h; only the strategies with an operating layer that takes commands hear it. AUROC is that of the "
    f"last {1 - EXAM_AT:.0%} of the stream's rows under many more faults, by the bundle in force when they begin; "
    "'target' is a bundle trained on rows of the new regime."
)
_MEANING = (
    "false/day: alarms that met no fault, mean / median / 90 % quantile of runs (a run is a machine, detector and scenario); "
    "before and after the change; scenarios with a lasting fault are left out after it.",
    f"kept: share of runs with at most {WITHIN:g} x the asked rate.",
    "told: faults with an alarm that opened in them or at most 30 rows before; met: faults during which an alarm was open.",
    "on: share of rows without a fault, after the change, that have an alarm open.",
    "drift: runs in which the change was said as drift or accepted by the operator, and the median hours until then; false drifts: a "
    "month of an unchanged machine.",
    "learnt away: lasting faults that the unadapted score still shows at the end, without an open alarm.",
    f"worse: bundles taken into service whose AUROC is below that of the bundle before them by more than {WORSE_BY:g}.",
    f"recovered: share of the AUROC gap between unadapted and target-trained, over runs with a gap above {LEAST_GAP:g}.",
)


def build_report(rows: Sequence[Row], *, command: str, notes: Sequence[str]) -> Document:
    """
    Args:
        command: what the person typed.
        notes: further lines.
    """
    strategies = list(dict.fromkeys(row.strategy for row in rows))
    scenarios = list(dict.fromkeys(row.scenario for row in rows))
    machines = sorted({(row.dataset, row.entity) for row in rows})
    detectors = list(dict.fromkeys(row.detector for row in rows))
    blocks: list[Block] = [
        Paragraph(_HOW),
        Command(command),
        Bullets(
            [
                f"Machines ({len(machines)}): {_listed(machines)}; detectors: {', '.join(detectors)}.",
                *notes,
                f"{datetime.now(UTC):%Y-%m-%d}, wheeltapper {version('wheeltapper')}, Python {platform.python_version()}, "
                f"{platform.machine()}.",
            ]
        ),
        Heading("In short"),
        overview(rows, strategies),
        *(
            overview([row for row in rows if row.detector == detector], strategies, detector)
            for detector in (detectors if len(detectors) > 1 else ())
        ),
        Bullets(_MEANING),
        Heading("Strategies by scenario"),
        *(scenario_table([row for row in rows if row.scenario == name], name, strategies) for name in scenarios),
    ]
    swaps = _swaps(rows)
    if swaps:
        blocks += [Heading("What took over, and what was refused"), Bullets(swaps)]
    blocks += [
        Heading("Every machine"),
        *(Fold(name, [_machine_table([row for row in rows if row.strategy == name])]) for name in strategies),
    ]
    return Document("Shift laboratory", blocks)


def overview(rows: Sequence[Row], strategies: Sequence[str], detector: str = "") -> Grid:
    """One line for each strategy: what the asked rate, the faults and the models came to."""
    table: list[list[Cell]] = []
    for strategy in strategies:
        mine = [row for row in rows if row.strategy == strategy]
        calm = [row for row in mine if row.kind != "fault"]
        faults = [row for row in mine if row.fault_shows]
        table.append(
            [
                strategy,
                _rates(row.false_per_day_before for row in mine),
                _kept(row.false_per_day_before for row in mine),
                _rates(row.false_per_day_after for row in calm),
                _kept(row.false_per_day_after for row in calm),
                _ratio(mine, "told_before", "faults_before"),
                _ratio(calm, "told_after", "faults_after"),
                _ratio(calm, "met_after", "faults_after"),
                _month(mine),
                _found(mine),
                f"{sum(bool(row.adapted_away) for row in faults)} of {len(faults)}" if faults else None,
                f"{sum(row.worse for row in mine)} of {sum(row.swaps for row in mine)}",
                _recovered(mine),
                _slowest(mine),
            ]
        )
    columns = (
        "strategy",
        "false/day before",
        "kept",
        "false/day after",
        "kept",
        "told before",
        "told after",
        "met after",
        "false drifts a month",
        "drift found, delay",
        "learnt away",
        "worse",
        "recovered",
        "slowest adaptation",
    )
    return Grid(detector or "All runs", columns, table)


def scenario_table(rows: Sequence[Row], scenario: str, strategies: Sequence[str]) -> Grid:
    """One line for each strategy under one scenario."""
    table: list[list[Cell]] = []
    for strategy in strategies:
        mine = [row for row in rows if row.strategy == strategy]
        if not mine:
            continue
        shown = [row for row in mine if row.fault_shows]
        table.append(
            [
                strategy,
                _mean(row.alarms_per_day_before for row in mine),
                _mean(row.alarms_per_day_after for row in mine),
                _rates(row.false_per_day_after for row in mine) if mine[0].kind != "fault" else None,
                _mean(row.on_after for row in mine) if mine[0].kind != "fault" else None,
                _ratio(mine, "told_before", "faults_before"),
                _ratio(mine, "told_after", "faults_after"),
                sum(row.faults_before + row.faults_after - row.met_before - row.met_after for row in mine),
                _found(mine) if mine[0].kind == "drift" else f"{sum(row.drifts_on_fault for row in mine)} said",
                _median(row.alarm_delay_h for row in mine),
                f"{sum(bool(row.adapted_away) for row in shown)} of {len(shown)}" if mine[0].kind == "fault" else None,
                _aurocs(mine),
                _recovered(mine),
                f"{sum(row.swaps for row in mine)}, {sum(row.worse for row in mine)} worse",
            ]
        )
    columns = (
        "strategy",
        "alarms/day before",
        "after",
        "false/day after",
        "on",
        "told before",
        "told after",
        "faults missed",
        "drift",
        "h to alarm",
        "learnt away",
        "AUROC first > own > target",
        "recovered",
        "swaps",
    )
    kind = KINDS.get(scenario) or MOTOR_KINDS[scenario]
    return Grid(f"{scenario}: {kind.title}", columns, table, note=f"Right: {kind.answer}.")


def _machine_table(rows: Sequence[Row]) -> Grid:
    table: list[list[Cell]] = [
        [
            f"{row.dataset} {row.entity}",
            row.detector,
            row.scenario,
            row.false_per_day_before,
            row.false_per_day_after,
            f"{row.told_before} of {row.faults_before}",
            f"{row.told_after} of {row.faults_after}",
            row.drift_delay_h,
            row.accepted,
            row.auroc_parent,
            row.auroc,
            row.auroc_target,
            row.steps or None,
            row.adapted_away,
        ]
        for row in rows
    ]
    columns = (
        "machine",
        "detector",
        "scenario",
        "false/day before",
        "after",
        "told before",
        "after",
        "h to drift",
        "accepted",
        "AUROC first",
        "own",
        "target",
        "took over",
        "learnt away",
    )
    return Grid("", columns, table, text_columns=3)


def _swaps(rows: Iterable[Row]) -> list[str]:
    found: dict[str, Counter[str]] = {}
    refused: Counter[str] = Counter()
    for row in rows:
        found.setdefault(row.strategy, Counter()).update(row.steps.split())
        refused[row.strategy] += row.refused
    lines = []
    for strategy, steps in found.items():
        if steps or refused[strategy]:
            taken = ", ".join(f"{step} {count}" for step, count in steps.most_common()) or "none"
            lines.append(f"{strategy}: took over: {taken}; tries without a bundle that could: {refused[strategy]}.")
    return lines


def _listed(machines: Sequence[tuple[str, str]]) -> str:
    by_set: dict[str, list[str]] = {}
    for dataset, entity in machines:
        by_set.setdefault(dataset, []).append(entity)
    return "; ".join(f"{dataset} {', '.join(names)}" for dataset, names in by_set.items())


def _rates(values: Iterable[float]) -> str | None:
    found = list(values)
    if not found:
        return None
    return " / ".join(f"{value:.2f}" for value in (np.mean(found), np.median(found), np.quantile(found, 0.9)))


def _kept(values: Iterable[float]) -> str | None:
    found = list(values)
    if not found:
        return None
    return f"{np.mean([value <= WITHIN * FALSE_ALARMS_PER_DAY for value in found]):.0%}"


def _mean(values: Iterable[float]) -> float | None:
    found = list(values)
    return float(np.mean(found)) if found else None


def _median(values: Iterable[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return float(np.median(found)) if found else None


def _ratio(rows: Sequence[Row], part: str, whole: str) -> float | None:
    total = sum(getattr(row, whole) for row in rows)
    return sum(getattr(row, part) for row in rows) / total if total else None


def _month(rows: Sequence[Row]) -> float | None:
    days = sum(row.unchanged_days for row in rows)
    return 30 * sum(row.false_drifts for row in rows) / days if days else None


def _found(rows: Sequence[Row]) -> str | None:
    asked = [row for row in rows if row.drift_found is not None]
    if not any(row.drift_found for row in asked):
        return f"0 of {len(asked)}" if asked else None
    delay = _median(row.drift_delay_h for row in asked)
    return f"{sum(bool(row.drift_found) for row in asked)} of {len(asked)}, {delay:.0f} h"


def _aurocs(rows: Sequence[Row]) -> str | None:
    def mean(value: Callable[[Row], float | None]) -> str:
        found = [number for number in map(value, rows) if number is not None]
        return f"{np.mean(found):.3f}" if found else "-"

    return " > ".join(mean(value) for value in (lambda r: r.auroc_parent, lambda r: r.auroc, lambda r: r.auroc_target))


def _recovered(rows: Sequence[Row]) -> str | None:
    known = [
        (row.auroc_parent, row.auroc, row.auroc_target)
        for row in rows
        if row.auroc_parent is not None and row.auroc is not None and row.auroc_target is not None
    ]
    if not known:
        return None
    parent, adapted, target = zip(*known, strict=True)
    share = recovered_share(parent, adapted, target)
    return None if share is None else f"{share:.0%}"


def _slowest(rows: Sequence[Row]) -> str | None:
    slowest = max((row.slowest_s for row in rows), default=0.0)
    return f"{slowest:.1f} s" if slowest else None
