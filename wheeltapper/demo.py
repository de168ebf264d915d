"""The demo: one machine from its training data to alerts on a terminal, through a real broker and a real worker."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
import urllib.request
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn

import numpy as np
from rich.box import SIMPLE
from rich.table import Table

from wheeltapper.alert_view import render
from wheeltapper.demo_stage import Stage
from wheeltapper.deploy.broker import EmbeddedBroker
from wheeltapper.deploy.child_process import ChildProcess
from wheeltapper.deploy.ports import free_port
from wheeltapper.follow.alerts import AlertReader
from wheeltapper.follow.messages import read_messages
from wheeltapper.kafka_admin import connect, create_topics
from wheeltapper.run_summary import RuleSummary, summarise
from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.events import AlertEvent, ScoreBlock
from wheeltapper.schemas.text import span_text
from wheeltapper.stream.settings import Settings, load_settings
from wheeltapper.training.datasets.registry import DATA_VARIABLE, load_series
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.fitting.fingerprint import rows_sha256

# The worker has everything when it handles nothing for that long once the replay has ended; joining its group anew takes
# the embedded broker 3 s.
IDLE_S = 5.0
READY_TIMEOUT_S = 120.0
# A small network and few passes: enough to see it work, in well under a minute.
TRAINING = {"alora": ["--set", "preset=small", "--set", "windows_per_epoch=3000", "--epochs", "3"]}
REAL_ENTITY, SIMULATED_ENTITY = "machine-1-2", "pump-1"


@dataclass(frozen=True)
class Source:
    """Where the demo's machine comes from."""

    dataset: str
    folder: Path | None
    entity: str

    def options(self) -> list[str]:
        """As the commands take it."""
        return [*(["--data", str(self.folder)] if self.folder else []), "--entity", self.entity]


class Demo:
    """Runs the demo once. Every process that it starts ends with it, also on Ctrl-C or kill."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._arguments = arguments
        self._out: Path = arguments.out
        self._stage = Stage(self._out)
        self._console, self._say = self._stage.console, self._stage.say
        self._metrics: dict[str, float] = {}

    def run(self) -> int:
        signal.signal(signal.SIGTERM, interrupt)
        started = time.monotonic()
        with ExitStack() as stack:
            stack.callback(signal.signal, signal.SIGINT, signal.getsignal(signal.SIGINT))
            source = find_source(self._arguments.data, self._arguments.entity, simulated=self._arguments.simulated)
            series = load_series(source.dataset, source.folder, source.entity)
            self._say(
                f"machine [bold]{series.entity}[/] ({'simulated pump station' if source.dataset == 'simulated' else 'SMD, a real server'}): "
                f"{len(series.channels)} channels, {len(series.train):,} rows to learn from, {len(series.test):,} to watch, "
                f"{len(series.segments)} labelled events"
            )
            bundles = [self._bundle(detector, source, series) for detector in self._arguments.detectors]
            settings = self._settings(stack)
            alerts = self._watch(settings, source, bundles)
            events = [event for event in alerts if event.machine == series.entity]
            self._summarise(series, events)
            self._plot(settings, series, events)
        self._say(f"done in {time.monotonic() - started:.0f} s")
        return 0

    # -- before ------------------------------------------------------------------------------------------------------

    def _bundle(self, detector: str, source: Source, series: SensorSeries) -> Path:
        """The detector's bundle: one of an earlier demo if it was trained on the same rows."""
        words = ["--dataset", source.dataset, *source.options(), *TRAINING.get(detector, [])]
        return self._stage.bundle(detector, series.entity, rows_sha256(series.train), words)

    def _settings(self, stack: ExitStack) -> Settings:
        """A broker with topics of this run's own."""
        brokers = self._arguments.brokers
        if brokers is None:
            broker = stack.enter_context(EmbeddedBroker(log_file=self._out / "broker.log"))
            brokers = broker.client_address
            self._say(f"embedded broker on {brokers}")
        # A name of its own: on a broker that stays, earlier demos must not show up in this one.
        prefix = f"wheeltapper-demo-{os.getpid()}." if self._arguments.brokers else "wheeltapper."
        settings = load_settings(
            None, kafka={"brokers": brokers, "group": f"wheeltapper-demo-{os.getpid()}"}, topics={"prefix": prefix}
        )
        create_topics(connect(settings), settings, partitions=2)
        return settings

    # -- the run -----------------------------------------------------------------------------------------------------

    def _watch(self, settings: Settings, source: Source, bundles: list[Path]) -> list[AlertEvent]:
        """Worker and replay beside each other; prints alerts as they come and returns all."""
        port = free_port()
        common = ["--brokers", settings.kafka.brokers, "--prefix", settings.topics.prefix]
        environment = {**os.environ, "WHEELTAPPER_WORKER__COMMIT_INTERVAL_MS": "200"}
        worker_command = [
            *wheeltapper_command("worker"), *common, "--group", settings.kafka.group, "--runner", self._arguments.runner,
            "--http-port", str(port), "--bundle", *map(str, bundles),
        ]  # fmt: skip
        log = self._out / "worker.log"
        log.unlink(missing_ok=True)
        with ExitStack() as stack:
            reader = stack.enter_context(AlertReader(settings))
            worker = stack.enter_context(ChildProcess(worker_command, log_file=log, environment=environment))
            with self._console.status("worker joins its group"):
                wait_until_ready(worker, port, log)
            self._say(f"worker ready (runner {self._arguments.runner}, log {log}); replaying, Ctrl-C ends it")
            replay = stack.enter_context(
                ChildProcess(self._replay_command(common, source), log_file=self._out / "replay.log")
            )
            alerts: list[AlertEvent] = []
            polled = busy = time.monotonic()
            for received in reader.follow():
                if received is not None and received.message is not None:
                    alerts.append(received.message)
                    self._console.print(render(received.message), soft_wrap=True)
                if received is None:
                    if not worker.is_running:
                        break
                    if time.monotonic() - polled > 0.5:
                        polled = time.monotonic()
                        if self._update_metrics(port) or replay.is_running:
                            busy = polled
                        elif polled - busy > IDLE_S:
                            os.kill(worker.pid, signal.SIGTERM)
            if worker.wait(0) != 0:
                raise InputError(f"the worker ended with code {worker.wait(0)}; see {log}")
            if replay.wait(0) != 0:
                raise InputError(f"the replay ended with code {replay.wait(0)}; see {self._out / 'replay.log'}")
        return alerts

    def _update_metrics(self, port: int) -> bool:
        """Whether the worker has handled something since the last call, as far as it tells."""
        found = read_metrics(port)
        before = self._metrics.get("wheeltapper_messages_total")
        self._metrics.update(found)
        return not found or self._metrics.get("wheeltapper_messages_total") != before

    def _replay_command(self, common: list[str], source: Source) -> list[str]:
        series = load_series(source.dataset, source.folder, source.entity)
        rows = min(len(series.test), self._arguments.limit or len(series.test))
        seconds = self._arguments.seconds
        speed = 0.0 if seconds <= 0 else rows * series.sampling_interval_s / seconds
        limit = ["--limit", str(rows)] if self._arguments.limit else []
        return [
            *wheeltapper_command("replay"),
            source.dataset,
            *source.options(),
            *common,
            "--speed",
            f"{speed:.6g}",
            *limit,
        ]

    # -- after -------------------------------------------------------------------------------------------------------

    def _summarise(self, series: SensorSeries, events: list[AlertEvent]) -> None:
        metrics = self._metrics
        rows, windows = metrics.get("wheeltapper_rows_total", 0), metrics.get("wheeltapper_windows_total", 0)
        self._console.print(summary_table(summarise(series, events)))
        seconds = max(metrics.get("wheeltapper_working_seconds_total", 0.0), 1e-9)
        self._say(
            f"{rows:,.0f} rows, {windows:,.0f} windows scored by {len(self._arguments.detectors)} detector(s), "
            f"{metrics.get('wheeltapper_messages_total', 0):,.0f} messages; the worker was busy for {seconds:.1f} s of it: "
            f"{rows / seconds:,.0f} rows/s"
        )

    def _plot(self, settings: Settings, series: SensorSeries, events: list[AlertEvent]) -> None:
        from wheeltapper.training.judging.plots import alert_spans, plot_run

        blocks = read_messages(settings, ScoreBlock, on_problem=lambda text: self._console.print(text, markup=False))
        for detector in self._arguments.detectors:
            mine = [block for block in blocks if block.machine == series.entity and block.rule == detector]
            if not mine:
                continue
            times = np.concatenate([np.array(block.time, dtype=np.int64) for block in mine])
            order = np.argsort(times, kind="stable")
            scores = np.concatenate([np.array(block.score) for block in mine])[order]
            level = np.concatenate([np.array(block.threshold) for block in mine])[order]
            path = self._out / f"{series.entity}-{detector}.png"
            spans = alert_spans(event for event in events if event.rule == detector)
            plot_run(path, series, times[order], scores, level, spans, title=f"{series.entity}, {detector}")
            self._say(f"plot of score, alarm level, labels and alerts: [bold]{path}[/]")


def find_source(data: Path | None, entity: str | None, *, simulated: bool = False) -> Source:
    """The machine to show: a real one where there is a data folder.

    Raises:
        InputError: a named folder without SMD in it.
    """
    named = data or (Path(os.environ[DATA_VARIABLE]) if os.environ.get(DATA_VARIABLE) else None)
    if not simulated:
        if named is not None and not (named / "smd").is_dir():
            raise InputError(
                f"{named}: has no folder 'smd'; give the folder of the data sets' folders, or use --simulated"
            )
        folder = named or Path("../shared/data")
        if (folder / "smd").is_dir():
            return Source("smd", folder / "smd", entity or REAL_ENTITY)
    return Source("simulated", None, entity or SIMULATED_ENTITY)


def summary_table(rules: list[RuleSummary]) -> Table:
    """One line a rule."""
    table = Table(title="alerts against the labels", box=SIMPLE)
    table.add_column("detector", no_wrap=True)
    for heading in ("alerts", "found", "delay", "right channel", "false", "per day"):
        table.add_column(heading, justify="right", no_wrap=True)
    for rule in rules:
        table.add_row(
            rule.rule,
            str(rule.alerts),
            f"{rule.events_found} of {rule.events}",
            "-" if rule.median_delay_s is None else span_text(round(rule.median_delay_s * 1e6)),
            f"{rule.channel_hits} of {rule.channel_events}" if rule.channel_events else "-",
            str(rule.false_alarms),
            f"{rule.false_alarms_per_day:.2f}",
        )
    return table


def wait_until_ready(worker: ChildProcess, port: int, log: Path) -> None:
    """Wait for a worker that serves /readyz.

    Raises:
        InputError: it has ended, or is not ready in time.
    """
    deadline = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline:
        if not worker.is_running:
            raise InputError(f"the worker ended with code {worker.wait(0)}; see {log}")
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1) as answer:
            if answer.status == 200:
                return
        time.sleep(0.1)
    raise InputError(f"the worker was not ready after {READY_TIMEOUT_S:.0f} s; see {log}")


def read_metrics(port: int) -> dict[str, float]:
    """Unlabelled metrics of the worker; empty while it does not answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=1) as answer:
            lines = answer.read().decode().splitlines()
    except OSError:
        return {}
    pairs = (line.split() for line in lines if line and not line.startswith("#") and "{" not in line)
    return {pair[0]: float(pair[1]) for pair in pairs if len(pair) == 2}


def wheeltapper_command(command: str) -> list[str]:
    """A command of this installation, as a process of its own is started."""
    return [sys.executable, "-m", "wheeltapper", command]


def interrupt(number: int, frame: FrameType | None) -> NoReturn:
    """A signal handler that ends like Ctrl-C."""
    raise KeyboardInterrupt
