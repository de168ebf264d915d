"""A comparison from beginning to end."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from wheeltapper.schemas.errors import InputError
from wheeltapper.training.lab.compare.contenders import Contender
from wheeltapper.training.lab.compare.document import Grid, write_document
from wheeltapper.training.lab.compare.jobs import Job, facts_jobs, judging_jobs
from wheeltapper.training.lab.compare.pool import Outcome, Pool, hard_limit_s
from wheeltapper.training.lab.compare.report import Run, build_report
from wheeltapper.training.lab.compare.results import Place, auto_choices, facts_of, result_rows
from wheeltapper.training.lab.compare.sources import Source
from wheeltapper.training.lab.compare.store import JobStore, Record
from wheeltapper.training.lab.compare.summary import Summary
from wheeltapper.training.lab.compare.tables import overview_table
from wheeltapper.training.lab.compare.watch import Watch, silent_watch

RESULTS = "results.json"
REPORT = "report"
LOG = "workers.log"


@dataclass(frozen=True)
class CompareOptions:
    """
    Attributes:
        out: folder of records, results and reports.
        contenders: who takes part; auto: whether what `train auto` picks is a row too.
        seeds: of detectors that chance has a part in; others run with the first.
        budget_s: seconds that one training may take; None lets each finish.
        workers: processes.
        leak: also train on values as published where a data set is scaled over its test part.
        stride: rows between scored windows of the test part.
        device: for trained networks.
        retry_errors: do jobs again that did not succeed.
        command: what the person typed, for the report; notes: further lines for it.
    """

    out: Path
    contenders: tuple[Contender, ...]
    auto: bool = True
    seeds: tuple[int, ...] = (0,)
    budget_s: float | None = None
    workers: int = 1
    leak: bool = True
    stride: int = 1
    device: str = "cpu"
    retry_errors: bool = False
    command: str = "wheeltapper compare"
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """
        Raises:
            InputError: a number outside of its range.
        """
        if self.budget_s is not None and not 0 < self.budget_s < float("inf"):
            raise InputError(f"--budget is {self.budget_s / 60:g} minutes, expected above 0")
        for name, value in (("--jobs", self.workers), ("--stride", self.stride)):
            if value < 1:
                raise InputError(f"{name} is {value}, expected 1 or more")


@dataclass(frozen=True)
class Comparison:
    """What came out.

    Attributes:
        rows: as in results.json; overview: the first table of the report.
        html, markdown, results: the files.
        done: jobs done by this run; kept: those that an earlier run had done.
    """

    rows: list[dict[str, Any]]
    overview: Grid
    html: Path
    markdown: Path
    results: Path
    done: int
    kept: int


def compare(
    sources: Sequence[Source],
    options: CompareOptions,
    *,
    watch: Watch = silent_watch,
    execute: Callable[[Job], Outcome] | None = None,
    limit_s: Callable[[Job], float | None] = hard_limit_s,
) -> Comparison:
    """Do what is not done yet, and write results and reports.

    Args:
        watch: shows how far it is; see `watch.Watch`.
        execute, limit_s: for tests: another function for the workers, another limit.

    Raises:
        InputError: the output folder cannot be written.
    """
    if execute is None:
        from wheeltapper.training.lab.compare import judge

        execute = judge.execute
    store = JobStore(options.out)
    log = options.out / LOG
    log.write_bytes(b"")
    records: list[Record] = []
    with doing(store, options, log, execute, watch, limit_s) as work:
        records += work.do(facts_jobs(sources), "reading series")
        facts = facts_of(records)
        choices = auto_choices(facts)
        jobs = judging_jobs(
            sources,
            facts,
            options.contenders,
            {place: contender for place, (contender, _) in choices.items()} if options.auto else {},
            seeds=options.seeds,
            leak=options.leak,
            budget_s=options.budget_s,
            stride=options.stride,
            device=options.device,
        )
        records += work.do(jobs, "training and judging")
    rank = {(s.dataset, entity): i for i, (s, entity) in enumerate((s, e) for s in sources for e in s.entities)}
    records.sort(key=lambda record: rank[record["dataset"], record["entity"]])
    return _write(records, options, done=work.done, kept=work.kept)


class Work:
    """Jobs that are done by a pool and kept, but for those whose record still holds.

    Attributes:
        done, kept: how many were done, and how many an earlier run had done.
    """

    def __init__(
        self, pool: Pool[Job], store: JobStore, log: Path, watch: Watch, *, retry_errors: bool = False
    ) -> None:
        self._pool, self._store, self._log, self._watch = pool, store, log, watch
        self._retry_errors = retry_errors
        self.done = self.kept = 0

    def do(self, jobs: Sequence[Job], title: str) -> list[Record]:
        """The records of jobs, in their order."""
        found = {job.identity: self._store.fresh(job, retry_errors=self._retry_errors) for job in jobs}
        waiting = [job for job in jobs if found[job.identity] is None]
        self.kept += len(jobs) - len(waiting)
        with self._watch(title, len(jobs), len(jobs) - len(waiting)) as shown:
            for job, outcome in self._pool.run(waiting, on_start=shown.start):
                _keep_traceback(self._log, job, outcome)
                found[job.identity] = self._store.save(job, outcome)
                self.done += 1
                shown.end(job, outcome)
        return [record for record in found.values() if record is not None]


@contextmanager
def doing(
    store: JobStore,
    options: CompareOptions,
    log: Path,
    execute: Callable[[Job], Outcome],
    watch: Watch,
    limit_s: Callable[[Job], float | None] = hard_limit_s,
) -> Iterator[Work]:
    """Worker processes while they are needed."""
    with Pool(options.workers, log, execute=execute, limit_s=limit_s) as pool:
        yield Work(pool, store, log, watch, retry_errors=options.retry_errors)


def report_only(options: CompareOptions) -> Comparison:
    """Results and reports from what the output folder holds, of every detector that is in it.

    Raises:
        InputError: it holds nothing.
    """
    records = kept_records(options.out)
    return _write(records, replace(options, contenders=kept_contenders(records, options)), done=0, kept=len(records))


def kept_records(out: Path) -> list[Record]:
    """What an output folder holds.

    Raises:
        InputError: nothing of a detector.
    """
    records = list(JobStore(out).records()) if out.is_dir() else []
    if not any(record["kind"] == "detector" for record in records):
        raise InputError(f"{out}: no result to report; run wheeltapper compare without --report-only first")
    return records


def kept_contenders(records: Sequence[Record], options: CompareOptions) -> tuple[Contender, ...]:
    """Whoever is in the records, in the registry's order, then the rest: that is what 'all' means."""
    found = dict.fromkeys(
        Contender.of(record["detector"], record["settings"]) for record in records if record["kind"] == "detector"
    )
    order = {contender: index for index, contender in enumerate(options.contenders)}
    return tuple(sorted(found, key=lambda contender: order.get(contender, len(order))))


def write_results(rows: Sequence[Mapping[str, Any]], out: Path) -> Path:
    """The rows as one file, whole or not at all; where it is.

    Raises:
        InputError: it cannot be written.
    """
    results = out / RESULTS
    try:
        partial = results.with_suffix(".partial")
        partial.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
        os.replace(partial, results)
    except OSError as error:
        raise InputError(f"{results}: cannot be written ({error.strerror}); choose another --out") from error
    return results


def _write(records: Sequence[Record], options: CompareOptions, *, done: int, kept: int) -> Comparison:
    facts = facts_of(records)
    choices = auto_choices(facts)
    rows = result_rows(
        records,
        options.contenders,
        auto={place: contender for place, (contender, _) in choices.items()} if options.auto else {},
    )
    results = write_results(rows, options.out)
    summary = Summary(rows)
    run = Run(options.command, facts, choices, _traces(records), comparison_notes(records, options))
    html, markdown = write_document(build_report(summary, run), options.out, REPORT)
    return Comparison(rows, overview_table(summary), html, markdown, results, done, kept)


def _traces(records: Iterable[Record]) -> dict[Place, dict[str, Any]]:
    """Of the first seed of every detector."""
    found: dict[Place, dict[str, Any]] = {}
    for record in sorted(records, key=lambda record: record["seed"]):
        if record["kind"] == "detector" and record["status"] == "done":
            place = (record["dataset"], record["entity"])
            found.setdefault(place, {}).setdefault(record["label"], record["values"]["trace"])
    return found


def comparison_notes(records: Sequence[Record], options: CompareOptions) -> list[str]:
    """Lines on how it was run: trainings, budget, time, versions."""
    detectors = [record for record in records if record["kind"] == "detector"]
    seeds = sorted({record["seed"] for record in detectors})
    budgets = {record.get("budget_s") for record in detectors}
    hours = sum(record["seconds"] for record in records) / 3600
    budget = ", ".join("none" if b is None else f"{b / 60:g} min" for b in sorted(budgets, key=lambda b: b or 0.0))
    cut = sum(bool((record.get("values") or {}).get("cut")) or record["status"] == "killed" for record in detectors)
    return [
        f"{len(detectors)} trainings; seeds {', '.join(map(str, seeds)) or 'none'}; budget for one training: {budget or 'none'}, "
        f"which cut {cut}.",
        f"All jobs together took {hours:.2f} hours of one process with one thread.",
        *options.notes,
        f"{datetime.now(UTC):%Y-%m-%d}, {_versions()}, Python {platform.python_version()}, {platform.machine()}.",
    ]


def _versions() -> str:
    found = []
    for package in ("wheeltapper", "numpy", "torch", "onnxruntime"):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def _keep_traceback(log: Path, job: Job, outcome: Outcome) -> None:
    text = outcome.pop("traceback", None)
    if text:
        with log.open("a", encoding="utf-8") as file:
            file.write(f"{job.title}\n{text}\n")
