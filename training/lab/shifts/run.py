"""A run of the laboratory from beginning to end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from wheeltapper.schemas.errors import InputError
from wheeltapper.training.detectors.registry import detector_entry
from wheeltapper.training.lab.compare.document import write_document
from wheeltapper.training.lab.compare.pool import Outcome, Pool, hard_limit_s
from wheeltapper.training.lab.compare.watch import Watch, silent_watch
from wheeltapper.training.lab.shifts.jobs import ShiftJob, execute, scenario_kinds
from wheeltapper.training.lab.shifts.machines import Machines
from wheeltapper.training.lab.shifts.motors import MOTOR_KINDS
from wheeltapper.training.lab.shifts.report import build_report
from wheeltapper.training.lab.shifts.rows import Row, read_csv, rows_of, write_csv
from wheeltapper.training.lab.shifts.scenarios import KINDS, SWAP
from wheeltapper.training.lab.shifts.strategies import STRATEGIES

LOG, ROWS, REPORT, BUNDLES = "workers.log", "rows.csv", "report", "bundles"
DETECTORS = ("range-bands", "pca")


@dataclass(frozen=True)
class ShiftOptions:
    """
    Attributes:
        out: folder of bundles and reports.
        scenarios, strategies: empty: all.
        processes: that work side by side.
        budget_s: seconds that one training may take; None lets each finish.
        command: what the person typed, for the report; notes: further lines for it.
    """

    out: Path
    detectors: tuple[str, ...] = DETECTORS
    scenarios: tuple[str, ...] = ()
    strategies: tuple[str, ...] = ()
    seed: int = 0
    processes: int = 1
    budget_s: float | None = None
    command: str = "wheeltapper shifts"
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """
        Raises:
            InputError: a name that is not known, or a number outside of its range.
        """
        known = tuple(dict.fromkeys((*KINDS, *MOTOR_KINDS)))
        for option, names, there in (
            ("--scenario", self.scenarios, known),
            ("--strategy", self.strategies, tuple(STRATEGIES)),
        ):
            wrong = [name for name in names if name not in there]
            if wrong:
                raise InputError(f"{option} {wrong[0]}: no such one; expected some of {', '.join(there)}")
        for name in self.detectors:
            detector_entry(name)
        for option, value, least in (("--processes", self.processes, 1), ("--seed", self.seed, 0)):
            if value < least:
                raise InputError(f"{option} is {value}, expected {least} or more")


@dataclass(frozen=True)
class ShiftRun:
    """What came out.

    Attributes:
        rows: one for each machine, detector, scenario and strategy.
        failed: jobs without rows, and why, one line each.
        html, markdown, csv: the files.
    """

    rows: tuple[Row, ...]
    failed: tuple[str, ...]
    html: Path
    markdown: Path
    csv: Path


def run_shifts(machines: Sequence[Machines], options: ShiftOptions, *, watch: Watch = silent_watch) -> ShiftRun:
    """Run every scenario on every machine under every strategy, and write the reports.

    Args:
        watch: shows how far it is.

    Raises:
        InputError: nothing to do, nothing that could be done, or the output folder cannot be written.
    """
    parents, scenarios = jobs_of(machines, options)
    if not scenarios:
        raise InputError("none of the scenarios fits the data set; leave --scenario out, or name another")
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / LOG).write_bytes(b"")
    except OSError as error:
        raise InputError(f"{options.out}: cannot be written ({error.strerror}); choose another --out") from error
    rows: list[Row] = []
    failed: list[str] = []
    with Pool(options.processes, options.out / LOG, execute=execute, limit_s=hard_limit_s) as pool:

        def do(jobs: Sequence[ShiftJob], title: str, keep: Callable[[ShiftJob, Outcome], None]) -> None:
            with watch(title, len(jobs), 0) as shown:
                for job, outcome in pool.run(jobs, on_start=shown.start):
                    shown.end(job, outcome)
                    if outcome["status"] == "done":
                        keep(job, outcome)
                    else:
                        failed.append(f"{job.title}: {outcome['error']}")
                        with (options.out / LOG).open("a", encoding="utf-8") as log:
                            log.write(f"{job.title}\n{outcome.get('traceback', outcome['error'])}\n")

        trained: set[Path] = set()
        do(parents, "first bundles", lambda job, outcome: trained.add(job.parent))

        def keep(job: ShiftJob, outcome: Outcome) -> None:
            rows.extend(rows_of(job, outcome["values"]["rows"]))
            write_csv(rows, options.out / ROWS)  # what is done is kept, whatever becomes of the rest

        do([job for job in scenarios if job.parent in trained], "scenarios", keep)
    if not rows:
        raise InputError(f"no scenario could be run: {'; '.join(failed[:3])}")
    order = {job.title: index for index, job in enumerate(scenarios)}
    rows.sort(key=lambda row: order[row.title])
    write_csv(rows, options.out / ROWS)
    return _reported(rows, failed, options)


def report_only(options: ShiftOptions) -> ShiftRun:
    """The reports again, from the rows that the output folder holds, as an interrupted run leaves them.

    Raises:
        InputError: it holds none.
    """
    return _reported(read_csv(options.out / ROWS), (), options)


def _reported(rows: Sequence[Row], failed: Sequence[str], options: ShiftOptions) -> ShiftRun:
    report = build_report(rows, command=options.command, notes=[*options.notes, *failed])
    html, markdown = write_document(report, options.out, REPORT)
    return ShiftRun(tuple(rows), tuple(failed), html, markdown, options.out / ROWS)


def jobs_of(machines: Sequence[Machines], options: ShiftOptions) -> tuple[list[ShiftJob], list[ShiftJob]]:
    """Trainings of first bundles, and scenarios."""
    parents, scenarios = [], []
    for group in machines:
        kinds = scenario_kinds(group.dataset)
        names = [name for name in kinds if not options.scenarios or name in options.scenarios]
        for entity in group.entities:
            other = group.other(entity)
            for detector in options.detectors:
                parent = ShiftJob(
                    kind="parent",
                    dataset=group.dataset,
                    folder=group.folder,
                    entity=entity,
                    other=other,
                    detector=detector,
                    bundles=options.out / BUNDLES,
                    strategies=options.strategies or tuple(STRATEGIES),
                    seed=options.seed,
                    budget_s=options.budget_s,
                )
                parents.append(parent)
                scenarios += [
                    replace(parent, kind="scenario", scenario=name) for name in names if name != SWAP or other
                ]
    return parents, scenarios
