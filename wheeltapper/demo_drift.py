"""The drift demo: a worker, an adaptation worker and a machine that is serviced, through a real broker."""

from __future__ import annotations

import argparse
import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.text import Text

from wheeltapper.alert_view import printable, render
from wheeltapper.control_messages import now_us, send
from wheeltapper.demo import interrupt, wait_until_ready, wheeltapper_command
from wheeltapper.deploy.broker import EmbeddedBroker
from wheeltapper.deploy.child_process import ChildProcess
from wheeltapper.deploy.ports import free_port
from wheeltapper.follow.follower import Follower, TopicRecord
from wheeltapper.follow.messages import read_messages, received, topic_of
from wheeltapper.kafka_admin import connect, create_topics
from wheeltapper.schemas.adaptation import AdaptationEvent, AdaptationStep, DriftEvent
from wheeltapper.schemas.clock import iso_from_micros
from wheeltapper.schemas.commands import AlarmCommand
from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.events import AlertEvent, ScoreBlock
from wheeltapper.schemas.message import Message
from wheeltapper.schemas.sensor_block import SensorBlock
from wheeltapper.stream.settings import Settings, load_settings
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.datasets.simulated import DAY, simulate

MACHINE = "pump-1"
# Days of the stream: as it was, then serviced, with a worn bearing towards the end.
BEFORE, AFTER = 2, 7
FAULT_DAY, FAULT_ROWS = 7.4, 240
# What the service changed: gain and move, in standard deviations, of three sensors.
SERVICED = {"discharge_pressure": (1.0, 1.2), "vibration_free_end": (1.5, 0.5), "motor_current": (1.15, 0.0)}
WORN = {"vibration_drive_end": 4.0, "bearing_temperature_drive_end": 3.0}
ROWS_PER_MESSAGE = 10
# How long the stream waits for the adaptation before the fault comes.
PATIENCE_S = 75.0
SETTLE_S = 4.0
SETTINGS: dict[str, dict[str, float]] = {
    "adaptation": {"min_recent_rows": 1000, "min_recent_s": 129_600.0, "shadow_s": 21_600.0, "watch_s": 86_400.0},
    "worker": {"commit_interval_ms": 200},
}


@dataclass
class _Seen:
    """What has happened so far."""

    drifts: list[DriftEvent] = field(default_factory=list)
    adaptations: list[AdaptationEvent] = field(default_factory=list)
    alerts: list[AlertEvent] = field(default_factory=list)
    accepted: list[int] = field(default_factory=list)

    def step(self, *steps: AdaptationStep) -> AdaptationEvent | None:
        return next((event for event in self.adaptations if event.event in steps), None)


class DriftDemo:
    """Runs the demo once. Every process that it starts ends with it, also on Ctrl-C or kill."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._arguments = arguments
        self._console = Console(highlight=False)
        self._out: Path = arguments.out
        self._seen = _Seen()
        self._sent = 0

    def run(self) -> int:
        signal.signal(signal.SIGTERM, interrupt)
        started = time.monotonic()
        if not self._arguments.rows_per_second > 0:
            raise InputError(f"--rows-per-second {self._arguments.rows_per_second:g}: expected a number above 0")
        series = serviced_pump()
        bundle = self._train(series)
        with ExitStack() as stack:
            broker = stack.enter_context(EmbeddedBroker(log_file=self._out / "broker.log"))
            settings = self._settings(broker.client_address)
            self._watch(settings, series, bundle, stack)
            path = self._plot(settings, series)
        return self._conclude(series, path, time.monotonic() - started)

    # -- before ----------------------------------------------------------------------------------------------------------

    def _train(self, series: SensorSeries) -> Path:
        from wheeltapper.training.detectors.registry import train_detector
        from wheeltapper.training.fitting.bundle_writer import write_bundle
        from wheeltapper.training.fitting.options import TrainOptions

        self._say(
            f"machine [bold]{MACHINE}[/] of the simulated station: {len(series.train):,} rows to learn from; training "
            f"[cyan]{self._arguments.detector}[/]"
        )
        fitted, scores = train_detector(self._arguments.detector, series, TrainOptions(budget_s=30))
        path = self._out / "bundles" / f"{self._arguments.detector}-{MACHINE}"
        return write_bundle(fitted, series, path, scores=scores, torchscript=False).location.resolve()

    def _settings(self, brokers: str) -> Settings:
        settings = load_settings(None, kafka={"brokers": brokers, "group": f"demo-drift-{os.getpid()}"}, **SETTINGS)
        create_topics(connect(settings), settings, partitions=1)
        return settings

    # -- the run ---------------------------------------------------------------------------------------------------------

    def _watch(self, settings: Settings, series: SensorSeries, bundle: Path, stack: ExitStack) -> None:
        port = free_port()
        common = ["--brokers", settings.kafka.brokers, "--group", settings.kafka.group, "--bundle", str(bundle)]
        environment = {**os.environ, **_variables()}
        log = self._out / "worker.log"
        for name in ("worker.log", "adapt-worker.log"):
            (self._out / name).unlink(missing_ok=True)
        worker_command = [
            *wheeltapper_command("worker"), *common, "--runner", self._arguments.runner, "--http-port", str(port),
        ]  # fmt: skip
        adapt_command = [*wheeltapper_command("adapt-worker"), *common, "--out", str(self._out / "adapted")]
        followers: dict[type[Message], Follower] = {
            model: stack.enter_context(Follower(settings, topic_of(model)))
            for model in (DriftEvent, AdaptationEvent, AlertEvent)
        }
        worker = stack.enter_context(ChildProcess(worker_command, log_file=log, environment=environment))
        adapting = stack.enter_context(
            ChildProcess(adapt_command, log_file=self._out / "adapt-worker.log", environment=environment)
        )
        with self._console.status("worker and adaptation worker start"):
            wait_until_ready(worker, port, log)
        self._say(
            f"a day passes in {DAY / self._arguments.rows_per_second:.1f} s; the pump is serviced after {BEFORE} days: "
            f"{', '.join(SERVICED)} read differently from then on"
        )
        streams = {model: follower.follow() for model, follower in followers.items()}
        fault = int(FAULT_DAY * DAY)
        self._send_rows(settings, series, fault, streams, (worker, adapting))
        self._wait(streams, lambda: self._seen.step(AdaptationStep.ACTIVATED) is not None, PATIENCE_S, settings)
        self._say(f"{iso_from_micros(int(series.test_ts[fault]))}: a bearing begins to wear")
        self._send_rows(settings, series, len(series.test), streams, (worker, adapting))
        self._wait(streams, lambda: False, SETTLE_S, settings)

    def _send_rows(
        self,
        settings: Settings,
        series: SensorSeries,
        until: int,
        streams: dict[type[Message], Iterator[TopicRecord | None]],
        processes: tuple[ChildProcess, ...],
    ) -> None:
        """The machine's rows up to `until`, at the asked pace."""
        from wheeltapper.kafka_clients import producer
        from wheeltapper.schemas.codec import CONTENT_TYPES, encode_sensor_block

        client = producer(settings)
        topic = settings.topics.full_name("sensors")
        first, started = self._sent, time.monotonic()
        while self._sent < until:
            due = first + int((time.monotonic() - started) * self._arguments.rows_per_second)
            while self._sent < min(due, until):
                rows = slice(self._sent, min(self._sent + ROWS_PER_MESSAGE, until))
                block = SensorBlock(MACHINE, series.test_ts[rows], series.channels, series.test[rows])
                client.produce(
                    topic,
                    encode_sensor_block(block, "json"),
                    key=MACHINE.encode(),
                    headers=[("content-type", CONTENT_TYPES["json"].encode())],
                )
                self._sent = rows.stop
            client.poll(0)
            self._take(streams, settings)
            for process in processes:
                if not process.is_running:
                    raise InputError(f"a worker ended with code {process.wait(0)}; see the logs in {self._out}")
            time.sleep(0.02)
        client.flush(10)

    def _wait(
        self,
        streams: dict[type[Message], Iterator[TopicRecord | None]],
        is_enough: Any,
        seconds: float,
        settings: Settings,
    ) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until and not is_enough():
            self._take(streams, settings)
            time.sleep(0.05)

    def _take(self, streams: dict[type[Message], Iterator[TopicRecord | None]], settings: Settings) -> None:
        """Everything that has come on the topics; shown, and remembered."""
        for model, stream in streams.items():
            for record in stream:
                if record is None:
                    break
                message = received(model, record).message
                if isinstance(message, DriftEvent):
                    self._seen.drifts.append(message)
                    self._console.print(_drift_line(message), soft_wrap=True)
                elif isinstance(message, AdaptationEvent):
                    self._seen.adaptations.append(message)
                    self._console.print(_adaptation_line(message), soft_wrap=True)
                    if message.event is AdaptationStep.WAITING:
                        self._accept(settings, message)
                elif isinstance(message, AlertEvent):
                    self._seen.alerts.append(message)
                    self._console.print(render(message), soft_wrap=True)

    def _accept(self, settings: Settings, waiting: AdaptationEvent) -> None:
        """What the operator does who had the pump serviced: the open alert is the new normal."""
        if self._seen.accepted:
            return
        self._seen.accepted.append(self._sent)
        command = AlarmCommand(
            command_id=f"demo-{os.getpid()}",
            machine=MACHINE,
            action="accept",
            rule=waiting.rule,
            who="demo operator",
            at=now_us(),
            comment="serviced: three sensors were replaced",
        )
        send(settings, (MACHINE, command))
        self._say("the operator accepts: wheeltapper alarm accept " + MACHINE)

    # -- after -----------------------------------------------------------------------------------------------------------

    def _conclude(self, series: SensorSeries, plot: Path, seconds: float) -> int:
        seen = self._seen
        activated = seen.step(AdaptationStep.ACTIVATED)
        taken = seen.step(AdaptationStep.ACCEPTED)
        serviced, fault = (int(series.test_ts[int(day * DAY)]) for day in (BEFORE, FAULT_DAY))
        found = [
            alert
            for alert in seen.alerts
            if alert.event == "opened" and alert.time >= fault and taken is not None and alert.bundle == taken.bundle
        ]
        right = [alert for alert in found if {share.channel for share in alert.channels[:2]} & set(WORN)]
        started = [drift for drift in seen.drifts if drift.event == "started" and drift.time >= serviced]
        checks = {
            "the drift is noticed": bool(started),
            "a child bundle passes the gate": taken is not None,
            "it runs in shadow first": seen.step(AdaptationStep.SHADOW) is not None,
            "it takes over": activated is not None,
            "it finds the worn bearing, and names its channel": bool(right),
        }
        for text, held in checks.items():
            self._console.print(f"  {'[green]yes[/]' if held else '[red]no [/]'} {text}")
        if taken is not None and taken.report:
            self._say(f"report of the adaptation: [bold]{taken.report}[/]")
        self._say(f"plot of score, level and what happened: [bold]{plot}[/]")
        self._say(f"done in {seconds:.0f} s")
        return 0 if all(checks.values()) else 1

    def _plot(self, settings: Settings, series: SensorSeries) -> Path:
        import matplotlib as mpl

        mpl.use("Agg")
        import matplotlib.dates as mdates
        import matplotlib.pyplot as plt

        blocks = read_messages(settings, ScoreBlock, on_problem=lambda text: self._console.print(text, markup=False))
        figure, axes = plt.subplots(figsize=(13, 5), layout="constrained")
        for name, shadow, colour in (("score in service", False, "#1f4e79"), ("score in shadow", True, "#2a9d8f")):
            mine = [block for block in blocks if block.rule.startswith("shadow:") == shadow]
            if not mine:
                continue
            times = np.concatenate([np.array(block.time, np.int64) for block in mine])
            order = np.argsort(times, kind="stable")
            scores = np.concatenate([np.array(block.score) for block in mine])[order]
            moments = times[order].astype("datetime64[us]")
            axes.plot(moments, np.maximum(scores, 1e-2), color=colour, linewidth=0.6, label=name)
            if not shadow:
                levels = np.concatenate([np.array(block.threshold) for block in mine])[order]
                axes.step(moments, levels, where="post", color="#b00020", linewidth=1, label="raise level")
        axes.set(yscale="log", ylabel="calibrated score", title=f"{MACHINE}: serviced, adapted, and found faulty")
        marks = [
            (int(series.test_ts[int(BEFORE * DAY)]), "serviced"),
            (int(series.test_ts[int(FAULT_DAY * DAY)]), "fault"),
        ]
        marks += [(drift.time, "drift") for drift in self._seen.drifts if drift.event == "started"]
        shown = {AdaptationStep.ACCEPTED: "accepted", AdaptationStep.ACTIVATED: "takes over"}
        marks += [
            (event.time, shown[event.event]) for event in self._seen.adaptations if event.event in shown and event.time
        ]
        for index, (time_us, name) in enumerate(sorted({name: (time_us, name) for time_us, name in marks}.values())):
            moment = np.datetime64(time_us, "us")
            axes.axvline(moment, color="0.3", linewidth=0.8, linestyle=":")
            axes.annotate(
                name, (moment, 1.0), xycoords=("data", "axes fraction"), xytext=(3, -12 - 12 * (index % 3)),
                textcoords="offset points", fontsize=9,
            )  # fmt: skip
        for alert in self._seen.alerts:
            if alert.event == "opened":
                axes.axvline(np.datetime64(alert.time, "us"), ymax=0.05, color="#d1495b", linewidth=2)
        axes.xaxis.set_major_formatter(mdates.ConciseDateFormatter(mdates.AutoDateLocator()))
        axes.margins(x=0)
        axes.legend(loc="lower left", fontsize=8)
        path = self._out / "drift.png"
        figure.savefig(path, dpi=110)
        plt.close(figure)
        return path

    def _say(self, text: str) -> None:
        self._console.print(f"[green]>[/] {text}", soft_wrap=True)


def serviced_pump() -> SensorSeries:
    """Two weeks to learn from; a stream of normal days, serviced after some of them, with a worn bearing towards the end."""
    days = BEFORE + AFTER
    whole = simulate(MACHINE, train_rows=(14 + days) * DAY, test_rows=DAY)
    train, stream = whole.train[: 14 * DAY], whole.train[14 * DAY :].copy()
    spread = train.std(axis=0)
    after = slice(BEFORE * DAY, None)
    for name, (gain, shift) in SERVICED.items():
        column = whole.channels.index(name)
        stream[after, column] = gain * stream[after, column] + shift * spread[column]
    start = int(FAULT_DAY * DAY)
    growth = np.clip(np.arange(FAULT_ROWS) / (FAULT_ROWS / 3), 0, 1)
    for name, size in WORN.items():
        column = whole.channels.index(name)
        stream[start : start + FAULT_ROWS, column] += size * spread[column] * growth
    return SensorSeries(
        dataset=whole.dataset,
        entity=MACHINE,
        channels=whole.channels,
        units=whole.units,
        sampling_interval_s=whole.sampling_interval_s,
        train=train,
        train_ts=whole.train_ts[: 14 * DAY],
        test=stream,
        test_ts=whole.train_ts[14 * DAY :],
        made_up_clock=True,
    )


def _variables() -> dict[str, str]:
    """`SETTINGS` as the processes take them."""
    return {
        f"WHEELTAPPER_{section}__{key}".upper(): str(value)
        for section, values in SETTINGS.items()
        for key, value in values.items()
    }


def _drift_line(drift: DriftEvent) -> Text:
    line = Text(f"{iso_from_micros(drift.time)}  ", style="dim")
    line.append("DRIFT " + drift.event, style="bold yellow")
    line.append(f"  {printable(drift.machine)}", style="bold")
    line.append(f"  since {iso_from_micros(drift.since)}, by {', '.join(drift.tests)}", style="dim")
    for channel in drift.channels[:3]:
        line.append(f"  {printable(channel.channel)} {channel.statistic} {channel.before:.3g} -> {channel.after:.3g}")
    return line


def _adaptation_line(event: AdaptationEvent) -> Text:
    moment = iso_from_micros(event.time) if event.time is not None else "-"
    line = Text(f"{moment}  ", style="dim")
    line.append(f"ADAPTATION {event.event}", style="bold cyan")
    if event.step:
        line.append(f"  {event.step}")
    line.append(f"  {printable(event.reason)}", style="dim")
    return line
