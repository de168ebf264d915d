"""Job `default`: what a user gets who trains range bands with their defaults (window 192, a score for every row).

The bundle is trained by the command that users run. The rows come as one-row JSON and as Arrow blocks of 64, from one machine and from
1,000; both runners read each topic from its start. All rows of a topic are there before a runner starts, so a machine's rows lie as
close as its senders put them. Steps of alerts must be the same in every run of the same rows.
"""

from __future__ import annotations

import csv
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from contenders import Run
from kafka_node import create_topics, fill, read_events
from messages import arrow_blocks, json_rows
from processes import MeasuredProcess, Usage
from reference import Event
from throughput import SLOWEST_ROWS_PER_S, START_TIMEOUT_S, compare
from workload import CHANNEL_NAMES, INTERVAL_US, START_US, make_workload, normal_rows

RUNNERS = ("direct", "faust")
TRAINING_ROWS = 20_000
ROWS_PER_BLOCK = 64
FAULT_EVERY_ROWS = 1_500
HEADROOM = 0.6
"""Of a core that the sizing advice fills: the rest is for catching up."""
RATES = (1.0, 10.0, 100.0)

CONFIG = """\
[kafka]
group = "{run}"

[topics]
prefix = "{run}."
sensors = "{topic}"

[scoring]
device = "cpu"
threads = 1

[worker]
log_level = "warning"
"""


@dataclass(frozen=True)
class Case:
    """One topic of rows."""

    name: str
    encoding: str
    machines: int
    rows_per_machine: int

    @property
    def rows(self) -> int:
        return self.machines * self.rows_per_machine


CASES = (
    Case("JSON, 1 machine", "json", 1, 150_000),
    Case("JSON, 1,000 machines", "json", 1_000, 320),
    Case("Arrow, 1 machine", "arrow", 1, 300_000),
    Case("Arrow, 1,000 machines", "arrow", 1_000, 448),
)


def measure_default(
    brokers: str, folder: Path, *, repetitions: int, until_idle_s: float, quick: bool
) -> dict[str, Any]:
    """Case -> runner -> rows per CPU-second and what else was seen."""
    bundle = train(folder / "default")
    outcome: dict[str, Any] = {}
    for case in CASES:
        if quick:
            case = Case(case.name, case.encoding, min(case.machines, 100), min(case.rows_per_machine, 8_000))
        topics = {kind: _fill(brokers, case, kind) for kind in ("idle", "full")}
        steps: set[Event] | None = None
        outcome[case.name] = {}
        runs: dict[str, dict[str, list[Usage]]] = {runner: {"idle": [], "full": []} for runner in RUNNERS}
        faults: dict[str, list[str]] = {runner: [] for runner in RUNNERS}
        for repetition in range(repetitions):
            for runner in RUNNERS:
                for kind, topic in topics.items():
                    run = Run(f"{topic}.{runner}.{repetition}", brokers, topic, folder / "run", None, until_idle_s)  # type: ignore[arg-type]
                    try:
                        usage = _run(run, runner, bundle, case.rows)
                    except RuntimeError as error:
                        faults[runner].append(f"failed: {error}")
                        continue
                    runs[runner][kind].append(usage)
                    if kind == "full":
                        found = read_events(brokers, run.alerts_topic)
                        steps = {*found} if steps is None else steps
                        faults[runner] += compare(found, steps)
        for runner in RUNNERS:
            summary = _summary(case, runs[runner], faults[runner], len(steps or ()))
            outcome[case.name][runner] = summary
            print(f"  default, {case.name}, {runner}: {summary}", flush=True)
    return outcome


def train(folder: Path) -> Path:
    """A bundle as `wheeltapper train range-bands` makes it, on rows without faults."""
    folder.mkdir()
    table = folder / "machine.csv"
    rows = np.round(normal_rows(TRAINING_ROWS, np.random.default_rng([7, 3])), 3)
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["time", *CHANNEL_NAMES])
        writer.writerows([START_US + INTERVAL_US * number, *row] for number, row in enumerate(rows.tolist()))
    command = [sys.executable, "-m", "wheeltapper", "train", "range-bands", "--dataset", "csv", "--data", str(table)]
    done = subprocess.run([*command, "--out", str(folder / "bundle")], capture_output=True, text=True, cwd=folder)
    if done.returncode != 0:
        raise RuntimeError(f"bench: {' '.join(command)} ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    return folder / "bundle"


def _fill(brokers: str, case: Case, kind: str) -> str:
    """A topic with the rows; idle: with one row a machine."""
    rows = case.rows_per_machine if kind == "full" else 1
    topic = f"bench.default.{case.encoding}.{case.machines}.{kind}"
    started = time.monotonic()
    create_topics(brokers, [topic])
    workload = make_workload(case.machines, rows, fault_every=FAULT_EVERY_ROWS)
    count = fill(
        brokers,
        topic,
        json_rows(workload, rows) if case.encoding == "json" else arrow_blocks(workload, rows, ROWS_PER_BLOCK),
    )
    print(
        f"{topic}: {rows * case.machines:,} rows in {count:,} messages, {time.monotonic() - started:.0f} s", flush=True
    )
    return topic


def _run(run: Run, runner: str, bundle: Path, rows: int) -> Usage:
    shutil.rmtree(run.folder, ignore_errors=True)
    run.folder.mkdir()
    names = [f"{run.name}.{name}" for name in ("alerts", "localizations", "scores", "dead-letters")]
    create_topics(run.brokers, names, compact=[f"{run.name}.state", f"{run.name}.models"])
    config = run.folder / "worker.toml"
    config.write_text(CONFIG.format(run=run.name, topic=run.topic))
    command = [sys.executable, "-m", "wheeltapper", "worker", "--brokers", run.brokers, "--bundle", bundle]
    command += ["--runner", runner, "--until-idle", str(run.until_idle_s), "--config", config]
    with MeasuredProcess(command, folder=run.folder) as process:
        return process.wait(START_TIMEOUT_S + rows / SLOWEST_ROWS_PER_S)


def _summary(case: Case, runs: dict[str, list[Usage]], faults: list[str], steps: int) -> dict[str, Any]:
    if not runs["idle"] or not runs["full"]:
        return {"rows": case.rows, "alerts": faults[0] if faults else "not run"}
    start = statistics.median(usage.cpu_s for usage in runs["idle"])
    start_wall = statistics.median(usage.wall_s for usage in runs["idle"])
    speeds = [case.rows / max(usage.cpu_s - start, 1e-3) for usage in runs["full"]]
    wall = statistics.median(usage.wall_s for usage in runs["full"])
    return {
        "rows": case.rows,
        "machines": case.machines,
        "rows_per_cpu_s": round(statistics.median(speeds)),
        "of_each_run": [round(speed) for speed in speeds],
        "us_a_row": round(1e6 / statistics.median(speeds), 1),
        "rows_per_s": round(case.rows / max(wall - start_wall, 1e-3)),
        "start_cpu_s": round(start, 2),
        "peak_mb": round(max(usage.peak_mb for usage in runs["full"])),
        "alert_steps": steps,
        "alerts": faults[0] if faults else "as the first run",
    }


def markdown(outcome: dict[str, Any]) -> list[str]:
    """The measured speeds, then machines per core at several rates."""
    lines = [
        "| rows of | runner | rows | rows per CPU-s | each run | CPU us a row | rows/s | start, CPU-s | peak MB | steps of alerts | alerts |",
        "|---|---|--:|--:|---|--:|--:|--:|--:|--:|---|",
    ]
    for case, runners in outcome.items():
        for runner, entry in runners.items():
            if "rows_per_cpu_s" not in entry:
                lines.append(f"| {case} | {runner} | {entry['rows']:,} | | | | | | | | {entry['alerts']} |")
                continue
            lines.append(
                f"| {case} | {runner} | {entry['rows']:,} | {entry['rows_per_cpu_s']:,} "
                f"| {min(entry['of_each_run']):,} - {max(entry['of_each_run']):,} | {entry['us_a_row']} | {entry['rows_per_s']:,} "
                f"| {entry['start_cpu_s']} | {entry['peak_mb']} | {entry['alert_steps']} | {entry['alerts']} |"
            )
    return [*lines, ""]


def sizing(outcome: dict[str, Any]) -> list[str]:
    """How many machines a core carries, by what many machines cost."""
    lines = [
        "| rows of | runner | " + " | ".join(f"machines at {rate:g} rows/s" for rate in RATES) + " |",
        "|---|---|" + "--:|" * len(RATES),
    ]
    for case, runners in outcome.items():
        for runner, entry in runners.items():
            if entry.get("machines", 1) > 1:
                counts = [f"{int(HEADROOM * entry['rows_per_cpu_s'] / rate):,}" for rate in RATES]
                lines.append(f"| {case.split(',')[0]} | {runner} | " + " | ".join(counts) + " |")
    return [*lines, ""]
