"""Rows per CPU-second of each contender on rows that already lie on the topic.

Method: the contender is a process of its own, which reads a filled topic from its start and ends when nothing has come for
a while. Its CPU time is user + system of all its threads and children, from wait4. What starting, idling and stopping
take is measured the same way on a topic with one row a machine, and subtracted. Contenders take turns within each
repetition, on one Kafka; a ratio is that of the medians.
"""

from __future__ import annotations

import contextlib
import shutil
import statistics
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from contenders import CONTENDERS, Contender, Job, Run
from kafka_node import read_events
from processes import MeasuredProcess, Usage
from reference import Event

# Starting and joining takes up to 15 s on a busy machine; nobody who is slower than 1,000 rows/s is of interest.
START_TIMEOUT_S, SLOWEST_ROWS_PER_S = 90.0, 1_000.0


@dataclass(frozen=True)
class Filled:
    """A topic that is full of rows, and what must come out of them."""

    topic: str
    rows: int
    events: set[Event]


@dataclass
class Result:
    """All runs of one contender."""

    contender: str
    rows: int
    start: list[Usage] = field(default_factory=list)
    runs: list[Usage] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def start_cpu_s(self) -> float:
        return statistics.median(usage.cpu_s for usage in self.start)

    def start_wall_s(self) -> float:
        return statistics.median(usage.wall_s for usage in self.start)

    def speeds(self) -> list[float]:
        """Rows per CPU-second of each run, without what starting takes."""
        return [self.rows / max(usage.cpu_s - self.start_cpu_s(), 1e-3) for usage in self.runs]

    def speed(self) -> float:
        return statistics.median(self.speeds())

    def summary(self) -> dict[str, Any]:
        """For out/bench.json; rates in rows per second."""
        if not self.runs:
            return {"rows": self.rows, "alerts": self.wrong[0] if self.wrong else "not run"}
        gross = statistics.median(usage.cpu_s for usage in self.runs)
        wall_s = statistics.median(usage.wall_s for usage in self.runs)
        return {
            "rows": self.rows,
            "rows_per_cpu_s": round(self.speed()),
            "rows_per_cpu_s_of_each_run": [round(speed) for speed in self.speeds()],
            "rows_per_cpu_s_with_start": round(self.rows / gross),
            "rows_per_s": round(self.rows / max(wall_s - self.start_wall_s(), 1e-3)),
            "start_cpu_s": round(self.start_cpu_s(), 2),
            "cpu_s": round(gross, 2),
            "peak_mb": round(max(usage.peak_mb for usage in self.runs)),
            "alerts": "as the reference" if not self.wrong else self.wrong[0],
        }


def measure(
    names: list[str],
    filled: dict[str, Filled],
    idle: dict[str, Filled],
    *,
    brokers: str,
    job: Job,
    folder: Path,
    repetitions: int,
    until_idle_s: float,
) -> dict[str, Result]:
    """Runs every contender `repetitions` times in turns; one that fails is left out from then on.

    Args:
        filled, idle: encoding -> topic with the rows, topic with one row a machine.
    """
    # A first start that counts for nobody: a new broker makes its offsets and transaction topics for it.
    # Should it fail, its own first run says so.
    first = CONTENDERS[names[0]]
    source = idle[first.encoding]
    with contextlib.suppress(RuntimeError):
        _run(first, Run("bench-first", brokers, source.topic, folder / "run", job, until_idle_s), source)
    results = {name: Result(name, filled[CONTENDERS[name].encoding].rows) for name in names}
    for repetition in range(repetitions):
        for name in names:
            contender, result = CONTENDERS[name], results[name]
            if result.wrong and not result.runs:
                continue
            for kind, source in (("start", idle[contender.encoding]), ("rows", filled[contender.encoding])):
                run = Run(f"bench-{kind}-{name}-{repetition}", brokers, source.topic, folder / "run", job, until_idle_s)
                try:
                    usage, wrong = _run(contender, run, source)
                except RuntimeError as error:
                    result.wrong.append(f"failed: {error}")
                    print(f"  {name}: {error}", flush=True)
                    break
                (result.start if kind == "start" else result.runs).append(usage)
                result.wrong += wrong
                shown = (
                    f"{result.rows / max(usage.cpu_s - result.start_cpu_s(), 1e-3):,.0f} rows per CPU-s"
                    if kind == "rows"
                    else kind
                )
                print(
                    f"  {repetition + 1}/{repetitions} {name:14} {usage.cpu_s:6.2f} CPU-s {usage.wall_s:6.1f} s "
                    f"{usage.peak_mb:5.0f} MB  {shown}{'  ' + wrong[0] if wrong else ''}",
                    flush=True,
                )
    return results


def _run(contender: Contender, run: Run, source: Filled) -> tuple[Usage, list[str]]:
    shutil.rmtree(run.folder, ignore_errors=True)
    run.folder.mkdir()
    command = contender.prepare(run)
    with MeasuredProcess(command, folder=run.folder) as process:
        usage = process.wait(START_TIMEOUT_S + source.rows / SLOWEST_ROWS_PER_S)
    return usage, compare(read_events(run.brokers, run.alerts_topic), source.events)


def compare(found: list[Event], expected: set[Event]) -> list[str]:
    """What is wrong with the alerts, in one line; empty where they are those of the reference, each once."""
    missing, extra = expected - set(found), set(found) - expected
    repeated = sum(count - 1 for count in Counter(found).values())
    if not (missing or extra or repeated):
        return []
    example = f", e.g. {min(missing or extra)}" if missing or extra else ""
    return [
        f"of {len(expected)} steps of alerts {len(missing)} missing, {len(extra)} not in the reference, {repeated} repeated{example}"
    ]
