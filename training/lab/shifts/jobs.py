"""The pieces of a laboratory run: a first bundle for each machine and detector, then every scenario under every strategy."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from wheeltapper.schemas.bundle import open_bundle
from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.registry import load_series
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.datasets.simulated import DAY, simulate
from wheeltapper.training.lab.shifts.bundles import fit_bundle
from wheeltapper.training.lab.shifts.course import run_course
from wheeltapper.training.lab.shifts.measures import exam_auroc, measure
from wheeltapper.training.lab.shifts.motors import DATASET as MOTORS
from wheeltapper.training.lab.shifts.motors import MOTOR_KINDS, MotorFrames, load_frames, make_motor_scenario
from wheeltapper.training.lab.shifts.scenarios import KINDS, Scenario, ScenarioKind, bounded, make_scenario
from wheeltapper.training.lab.shifts.strategies import make_strategy

SIMULATED = "simulated"
# Longer than the station of the demo: after a change there must be time to notice, to learn, and to be judged.
SIMULATED_STREAM_ROWS = 14 * DAY


@dataclass(frozen=True)
class ShiftJob:
    """One piece of work.

    Attributes:
        kind: 'parent': train a machine's first bundle; 'scenario': run a scenario under every strategy.
        dataset, folder, entity: the machine.
        other: the machine whose rows come after a swap; '' where there is none.
        bundles: folder of first bundles.
        budget_s: seconds that one training may take.
    """

    kind: Literal["parent", "scenario"]
    dataset: str
    folder: Path | None
    entity: str
    other: str
    detector: str
    bundles: Path
    scenario: str = "none"
    strategies: tuple[str, ...] = ()
    seed: int = 0
    budget_s: float | None = None

    @property
    def title(self) -> str:
        what = "first bundle" if self.kind == "parent" else self.scenario
        return f"{self.dataset} {self.entity} {self.detector} {what}"

    @property
    def parent(self) -> Path:
        """Where the machine's first bundle is."""
        return self.bundles / self.dataset / self.entity.replace("/", "_") / self.detector


def scenario_kinds(dataset: str) -> Mapping[str, ScenarioKind]:
    """Scenarios that a data set has."""
    return MOTOR_KINDS if dataset == MOTORS else KINDS


def execute(job: ShiftJob) -> dict[str, Any]:
    """A job's outcome; no exception leaves it, except for the end of the process."""
    started = time.perf_counter()
    outcome: dict[str, Any] = {"status": "done", "error": None, "values": {}}
    try:
        outcome["values"] = _parent(job) if job.kind == "parent" else _courses(job)
    except InputError as error:
        outcome |= {"status": "refused", "error": str(error)}
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        outcome |= {"status": "failed", "error": text, "traceback": traceback.format_exc()}
    outcome["seconds"] = round(time.perf_counter() - started, 3)
    return outcome


def _parent(job: ShiftJob) -> dict[str, Any]:
    series = _scenario(replace(job, scenario="none")).series
    partial = job.parent.with_name(f".{job.parent.name}.{os.getpid()}")
    try:
        fit_bundle(job.detector, series, partial, seed=job.seed, budget_s=job.budget_s)
        shutil.rmtree(job.parent, ignore_errors=True)
        partial.rename(job.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return {}


def _courses(job: ShiftJob) -> dict[str, Any]:
    scenario, parent = _scenario(job), open_bundle(job.parent)
    rows = []
    with tempfile.TemporaryDirectory(prefix="wheeltapper-shifts-") as folder:
        target = None
        if scenario.regime is not None:
            bundle = fit_bundle(
                job.detector, scenario.regime, Path(folder) / "target", seed=job.seed, budget_s=job.budget_s
            )
            target = exam_auroc(scenario, bundle)
        for name in job.strategies:
            outcome = run_course(scenario, make_strategy(name), parent, Path(folder) / name, seed=job.seed)
            measured = asdict(measure(scenario, outcome))
            reasons = [one.reason for one in outcome.adaptations]
            rows.append({"strategy": name, **measured, "auroc_target": target, "reasons": reasons})
    return {"rows": rows}


def _scenario(job: ShiftJob) -> Scenario:
    if job.dataset == MOTORS:
        assert job.folder is not None
        return make_motor_scenario(job.scenario, job.entity, _frames(job.folder), seed=job.seed)
    other = _series(job.dataset, job.folder, job.other) if job.other else None
    return make_scenario(job.scenario, _series(job.dataset, job.folder, job.entity), seed=job.seed, other=other)


@lru_cache(maxsize=4)
def _series(dataset: str, folder: Path | None, entity: str) -> SensorSeries:
    if dataset == SIMULATED:
        return simulate(entity, test_rows=SIMULATED_STREAM_ROWS)
    return bounded(load_series(dataset, folder, entity))


@lru_cache(maxsize=1)
def _frames(folder: Path) -> MotorFrames:
    return load_frames(folder)
