"""Who takes part, and how each is started on a topic."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kafka_node import REPOSITORY, create_topics
from workload import (
    CHANNEL_NAMES,
    CLEAR_DURATION,
    CLEAR_RATIO,
    INTERVAL_US,
    RAISE_LEVEL,
    STRIDE,
    WINDOW,
    Detector,
    write_bundle,
)

HERE = Path(__file__).resolve().parent
QUIX_ENVIRONMENT = REPOSITORY / ".venv-bench"

WORKER_CONFIG = """\
[kafka]
group = "{run}"

[topics]
prefix = "{run}."
sensors = "{topic}"

[threshold]
method = "fixed"
raise_level = {raise_level}
clear_ratio = {clear_ratio}
min_duration_s = 0
clear_duration_s = {clear_duration_s}

[scoring]
device = "cpu"
threads = 1
publish_scores = {publish_scores}

[worker]
log_level = "warning"
"""


@dataclass(frozen=True)
class Job:
    """What every contender is given: files in one folder."""

    description: Path
    bundle: Path


def write_job(detector: Detector, folder: Path) -> Job:
    """Graph, rule and bundle on disk."""
    folder.mkdir()
    graph = folder / "model.onnx"
    graph.write_bytes(detector.graph)
    description = folder / "job.json"
    description.write_text(
        json.dumps(
            {
                "graph": str(graph),
                "window": WINDOW,
                "stride": STRIDE,
                "channels": CHANNEL_NAMES,
                "center": detector.center,
                "alarm_level": detector.alarm_level,
                "raise_level": RAISE_LEVEL,
                "clear_ratio": CLEAR_RATIO,
                "clear_duration": CLEAR_DURATION,
            }
        )
    )
    return Job(description, write_bundle(detector, folder / "bundle"))


@dataclass(frozen=True)
class Run:
    """One start of one contender.

    Attributes:
        name: unique in this Kafka: its group, and the prefix of its topics.
        topic: where its rows are.
        folder: empty; its working directory.
    """

    name: str
    brokers: str
    topic: str
    folder: Path
    job: Job
    until_idle_s: float

    @property
    def alerts_topic(self) -> str:
        return f"{self.name}.alerts"


@dataclass(frozen=True)
class Contender:
    """
    Attributes:
        encoding: 'json' (one row a message) or 'arrow' (a block of rows a message).
        prepare: creates the topics of a run and gives its command line.
    """

    name: str
    encoding: str
    prepare: Callable[[Run], list[str | Path]]


def _worker(runner: str, publish_scores: bool = False) -> Callable[[Run], list[str | Path]]:
    def prepare(run: Run) -> list[str | Path]:
        names = [f"{run.name}.{name}" for name in ("alerts", "localizations", "scores", "dead-letters")]
        create_topics(run.brokers, names, compact=[f"{run.name}.state", f"{run.name}.models"])
        config = run.folder / "worker.toml"
        config.write_text(
            WORKER_CONFIG.format(
                run=run.name,
                topic=run.topic,
                raise_level=RAISE_LEVEL,
                clear_ratio=CLEAR_RATIO,
                clear_duration_s=CLEAR_DURATION * STRIDE * INTERVAL_US / 1e6,
                publish_scores=str(publish_scores).lower(),
            )
        )
        command = [sys.executable, "-m", "wheeltapper", "worker", "--brokers", run.brokers, "--bundle", run.job.bundle]
        return [*command, "--runner", runner, "--until-idle", str(run.until_idle_s), "--config", config]

    return prepare


def _program(python: Path | str, script: str, encoding: str, *more: str) -> Callable[[Run], list[str | Path]]:
    def prepare(run: Run) -> list[str | Path]:
        create_topics(run.brokers, [run.alerts_topic])
        command = [python, HERE / script, "--brokers", run.brokers, "--job", run.job.description, "--input", run.topic]
        command += ["--alerts", run.alerts_topic, "--group", run.name, "--encoding", encoding]
        return [*command, "--until-idle", str(run.until_idle_s), *more]

    return prepare


_QUIX = QUIX_ENVIRONMENT / "bin" / "python"

CONTENDERS = {
    contender.name: contender
    for contender in (
        Contender("quix", "json", _program(_QUIX, "quix_program.py", "json")),
        Contender("quix-bytes", "json", _program(_QUIX, "quix_program.py", "json", "--state", "bytes")),
        Contender("quix-none", "json", _program(_QUIX, "quix_program.py", "json", "--state", "none")),
        Contender("direct", "json", _worker("direct")),
        Contender("faust", "json", _worker("faust")),
        Contender("bare", "json", _program(sys.executable, "bare_program.py", "json")),
        Contender("quix-arrow", "arrow", _program(_QUIX, "quix_program.py", "arrow")),
        Contender("direct-arrow", "arrow", _worker("direct")),
        Contender("faust-arrow", "arrow", _worker("faust")),
        Contender("bare-arrow", "arrow", _program(sys.executable, "bare_program.py", "arrow")),
        Contender("direct-scores", "json", _worker("direct", publish_scores=True)),
    )
}

# Ratio to `quix` that the project promises.
PROMISES = {"direct": 4.0, "direct-arrow": 20.0, "faust": 0.8, "faust-arrow": 10.0}


def ensure_quix_environment() -> str | None:
    """Sets up `.venv-bench` from requirements-quix.txt if it is not there; returns a reason if that fails."""
    stamp = QUIX_ENVIRONMENT / "requirements-quix.txt"
    wanted = (HERE / "requirements-quix.txt").read_text()
    if stamp.is_file() and stamp.read_text() == wanted:
        return None
    print(f"bench: setting up {QUIX_ENVIRONMENT.name} (once)", flush=True)
    for command in (
        [sys.executable, "-m", "venv", QUIX_ENVIRONMENT],
        [_QUIX, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", HERE / "requirements-quix.txt"],
    ):
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
        if done.returncode != 0:
            return f"its environment cannot be set up: {done.stderr.strip().splitlines()[-1:]}"
    (QUIX_ENVIRONMENT / ".gitignore").write_text("*\n")
    stamp.write_text(wanted)
    return None
