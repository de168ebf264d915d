"""Results of a laboratory run as flat rows, and as a CSV file."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from wheeltapper.schemas.errors import InputError
from wheeltapper.training.lab.shifts.jobs import ShiftJob, scenario_kinds
from wheeltapper.training.lab.shifts.scenarios import NONE


@dataclass(frozen=True)
class Row:
    """A machine's course under one scenario, detector and strategy; see `measures.Measured` for what is measured.

    Attributes:
        kind: 'none', 'drift' or 'fault': what is right.
        title: of the job that it came from.
    """

    dataset: str
    entity: str
    detector: str
    scenario: str
    strategy: str
    seed: int
    kind: str
    title: str
    days_before: float
    alarms_before: int
    false_before: int
    faults_before: int
    met_before: int
    told_before: int
    on_before: float
    days_after: float
    alarms_after: int
    false_after: int
    faults_after: int
    met_after: int
    told_after: int
    on_after: float
    false_drifts: int
    drifts_on_fault: int
    unchanged_days: float
    drift_found: bool | None
    drift_delay_h: float | None
    alarm_delay_h: float | None
    accepted: bool
    fault_shows: bool | None
    adapted_away: bool | None
    auroc: float | None
    auroc_parent: float | None
    auroc_target: float | None
    swaps: int
    worse: int
    refused: int
    adapt_seconds: float
    slowest_s: float
    steps: str
    reasons: str

    @property
    def false_per_day_before(self) -> float:
        return self.false_before / self.days_before

    @property
    def false_per_day_after(self) -> float:
        return self.false_after / self.days_after

    @property
    def alarms_per_day_before(self) -> float:
        return self.alarms_before / self.days_before

    @property
    def alarms_per_day_after(self) -> float:
        return self.alarms_after / self.days_after


def rows_of(job: ShiftJob, measured: Iterable[Mapping[str, Any]]) -> list[Row]:
    """A scenario job's outcome as rows, one for each strategy."""
    is_fault = scenario_kinds(job.dataset)[job.scenario].is_fault
    kind = "none" if job.scenario == NONE else "fault" if is_fault else "drift"
    found = []
    for values in measured:
        before, after = values["before"], values["after"]
        seconds = values["seconds"]
        halves = {
            f"{name}_{part}": half[key]
            for part, half in (("before", before), ("after", after))
            for name, key in (
                ("days", "days"),
                ("alarms", "alarms"),
                ("false", "false_alarms"),
                ("faults", "faults"),
                ("met", "met"),
                ("told", "told"),
                ("on", "on"),
            )
        }
        same = {
            field.name: values[field.name]
            for field in fields(Row)
            if field.name in values and field.name not in ("steps", "reasons")
        }
        found.append(
            Row(
                dataset=job.dataset,
                entity=job.entity,
                detector=job.detector,
                scenario=job.scenario,
                seed=job.seed,
                kind=kind,
                title=job.title,
                adapt_seconds=sum(seconds),
                slowest_s=max(seconds, default=0.0),
                steps=" ".join(values["steps"]),
                reasons="; ".join(values["reasons"]),
                **halves,
                **same,
            )
        )
    return found


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """Write all rows, whole or not at all.

    Raises:
        InputError: it cannot be written.
    """
    names = [field.name for field in fields(Row)]
    partial = path.with_suffix(".partial")
    try:
        with partial.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(names)
            writer.writerows([_text(getattr(row, name)) for name in names] for row in rows)
        os.replace(partial, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); choose another --out") from error


def _text(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def read_csv(path: Path) -> list[Row]:
    """The rows that `write_csv` wrote.

    Raises:
        InputError: no such file, or one of other columns.
    """
    names = {field.name: str(field.type) for field in fields(Row)}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            if reader.fieldnames is None or list(reader.fieldnames) != list(names):
                raise InputError(f"{path}: its columns are not those of a laboratory run; run wheeltapper shifts again")
            return [Row(**{name: _value(line[name], kind) for name, kind in names.items()}) for line in reader]
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); run wheeltapper shifts first") from error
    except ValueError as error:
        raise InputError(f"{path}: a value is not what it should be ({error}); run wheeltapper shifts again") from error


def _value(text: str, kind: str) -> Any:
    if not text and kind.endswith("| None"):
        return None
    kind = kind.removesuffix(" | None")
    if kind == "bool":
        return text == "True"
    return {"str": str, "int": int, "float": float}[kind](text)
