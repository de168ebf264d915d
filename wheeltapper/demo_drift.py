"""The demo of drift: one pump that is serviced in mid-stream, through a real broker, a worker and an adaptation worker."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np

from wheeltapper.alert_view import render
from wheeltapper.control_messages import now_us, send
from wheeltapper.demo_stage import Stage
from wheeltapper.deploy.child_process import ChildProcess
from wheeltapper.follow.follower import Follower, TopicRecord
from wheeltapper.follow.messages import read_messages, received, topic_of
from wheeltapper.kafka_clients import producer
from wheeltapper.schemas.adaptation import AdaptationEvent, AdaptationStep, DriftEvent
from wheeltapper.schemas.clock import iso_from_micros
from wheeltapper.schemas.codec import CONTENT_TYPES, encode_sensor_block
from wheeltapper.schemas.commands import AlarmCommand
from wheeltapper.schemas.events import AlertEvent, ScoreBlock
from wheeltapper.schemas.message import Message
from wheeltapper.schemas.sensor_block import SensorBlock
from wheeltapper.schemas.topics import SENSORS
from wheeltapper.stream.settings import Settings
from wheeltapper.training.datasets.simulated import CHANNELS, DAY, TRAIN_ROWS, simulate
from wheeltapper.training.fitting.fingerprint import rows_sha256

PUMP = "pump-1"
MINUTE_US = 60_000_000
ROWS_A_MESSAGE = 10
LIVE_DAYS = 30
# Of event time.
SERVICED_AFTER_ROWS = 2 * DAY
FAULT_AFTER_ROWS, FAULT_ROWS, ROWS_AFTER_FAULT = 12 * 60, 6 * 60, 2 * 60
TIME_LIMIT_S = 170.0
SLOWER = 0.1

# What the service changes for good: (gain, offset in units of the channel).
SERVICE = {
    "motor_current": (1.08, 0.0),
    "vibration_drive_end": (0.75, 0.0),
    "vibration_free_end": (0.75, 0.0),
    "discharge_pressure": (1.0, 0.35),
    "bearing_temperature_drive_end": (1.0, -5.0),
}
SETTINGS = """[worker]
commit_interval_ms = 200

[state]
snapshot_interval_s = 2.0

[adaptation]
min_recent_s = 129600.0
shadow_s = 21600.0
watch_s = 86400.0
"""

M = TypeVar("M", bound=Message)


@dataclass
class Seen:
    """What has happened so far; event times in microseconds, None: it has not."""

    drifts: list[DriftEvent] = field(default_factory=list)
    steps: list[AdaptationEvent] = field(default_factory=list)
    alerts: list[AlertEvent] = field(default_factory=list)
    accepted: bool = False
    fault_at: int | None = None
    fault_found: AlertEvent | None = None

    def step(self, wanted: AdaptationStep) -> AdaptationEvent | None:
        return next((event for event in self.steps if event.event is wanted), None)

    def missing(self) -> list[str]:
        """What the demo promises and has not shown."""
        promised = {
            "drift noticed": bool(self.drifts),
            "a child bundle passed the gate": self.step(AdaptationStep.ACCEPTED) is not None,
            "shadow": self.step(AdaptationStep.SHADOW) is not None,
            "take-over": self.step(AdaptationStep.ACTIVATED) is not None,
            "a fault found by the adapted bundle": self.fault_found is not None,
        }
        return [what for what, happened in promised.items() if not happened]


class DriftDemo:
    """Runs it once; its processes end with it."""

    def __init__(self, detector: str, rows_per_second: float, out: Path) -> None:
        self._detector = detector
        self._rate = rows_per_second
        self._out = out
        self._stage = Stage(out)
        self._say = self._stage.say
        self._seen = Seen()
        self._sent = 0
        self._times, self._values = live_rows()
        self._children: list[ChildProcess] = []

    def run(self) -> int:
        started = time.monotonic()
        known = rows_sha256(simulate(PUMP).train)
        words = ["--dataset", "simulated", "--entity", PUMP]
        bundle = self._stage.bundle(self._detector, PUMP, known, words, on=f"two weeks of {PUMP}")
        with ExitStack() as stack:
            settings, config = self._stage.broker(stack, SETTINGS)
            common = ["--config", str(config), "--bundle", f"pump-*={bundle}"]
            for words in (
                ["worker", "--runner", "direct"],
                ["adapt-worker", "--out", str(self._out / "adapted")],
            ):
                child = self._stage.start(stack, words[0], [*words, *common])
                stack.callback(self._check, child, self._out / f"{words[0]}.log")
                self._children.append(child)
            self._say(f"broker on {settings.kafka.brokers}, worker and adapt-worker started (logs in {self._out})")
            self._watch(settings, stack, time.monotonic() + TIME_LIMIT_S)
            self._plot(settings)
        missing = self._seen.missing()
        for what in missing:
            self._say(f"[red]not seen: {what}[/]; {self._out}/*.log may say why")
        self._say(f"done in {time.monotonic() - started:.0f} s")
        return 1 if missing else 0

    def _check(self, child: ChildProcess, log: Path) -> None:
        if not child.is_running:
            self._say(f"[red]a process ended with code {child.wait(0)}[/]: see {log}")

    # -- the run -----------------------------------------------------------------------------------------------------

    def _watch(self, settings: Settings, stack: ExitStack, until: float) -> None:
        """Send rows, show what comes, do what the operator does, until the fault was found or time is over."""
        client = producer(settings)
        stack.callback(client.flush, 10.0)
        topic = settings.topics.full_name(SENSORS)
        headers: list[tuple[str, str | bytes | None]] = [("content-type", CONTENT_TYPES["arrow"].encode())]
        following: dict[type[Message], Iterator[TopicRecord | None]] = {}
        followed: tuple[type[Message], ...] = (DriftEvent, AdaptationEvent, AlertEvent)
        for model in followed:
            following[model] = stack.enter_context(Follower(settings, topic_of(model))).follow()
        due, looked = 0.0, time.monotonic()
        self._say("the pump runs as it always did")
        while time.monotonic() < until and not self._is_over():
            now = time.monotonic()
            # The ladder takes as long as it takes; the pump's days are not spent on it.
            due += (now - looked) * self._rate * (SLOWER if self._is_adapting() else 1.0)
            due, looked = min(due, len(self._times)), now
            while self._sent + ROWS_A_MESSAGE <= due:
                client.produce(topic, encode_sensor_block(self._next_block(), "arrow"), PUMP.encode(), headers=headers)
            client.poll(0)
            for kind, records in following.items():
                for record in records:
                    if record is None:
                        break
                    message = received(kind, record).message
                    if message is not None:
                        self._show(settings, message)

    def _is_adapting(self) -> bool:
        return bool(self._seen.steps) and self._seen.steps[-1].event is AdaptationStep.STARTED

    def _is_over(self) -> bool:
        seen = self._seen
        if self._sent + ROWS_A_MESSAGE > len(self._times) or not all(child.is_running for child in self._children):
            return True
        if seen.fault_at is None:
            return False
        end = seen.fault_at + (FAULT_ROWS + ROWS_AFTER_FAULT) * MINUTE_US
        return seen.fault_found is not None and int(self._times[self._sent - 1]) >= end

    def _next_block(self) -> SensorBlock:
        rows = slice(self._sent, self._sent + ROWS_A_MESSAGE)
        times, values = self._times[rows], self._values[rows]
        if rows.start <= SERVICED_AFTER_ROWS < rows.stop:
            what = ", ".join(name.replace("_", " ") for name in SERVICE)
            self._say(f"[bold]{_at(times[0])} the pump is serviced[/]: other values for good of {what}")
        activated = self._seen.step(AdaptationStep.ACTIVATED)
        if activated is not None and self._seen.fault_at is None:
            self._seen.fault_at = int(times[0]) + FAULT_AFTER_ROWS * MINUTE_US
        if self._seen.fault_at is not None:
            minutes = (times - self._seen.fault_at) // MINUTE_US
            if minutes[0] <= 0 < minutes[-1] + 1:
                self._say(f"[bold]{_at(times[0])} a bearing begins to wear[/]")
            values = with_bearing_wear(values, minutes)
            self._values[rows] = values
        self._sent = rows.stop
        return SensorBlock(PUMP, times, CHANNELS, values)

    def _show(self, settings: Settings, message: Message) -> None:
        seen = self._seen
        if isinstance(message, DriftEvent):
            if message.event == "started":
                seen.drifts.append(message)
            moved = ", ".join(f"{one.channel} {one.before:.3g} to {one.after:.3g}" for one in message.channels[:3])
            self._say(f"[yellow]{_at(message.time)} drift {message.event}[/] since {_at(message.since)}: {moved}")
        elif isinstance(message, AlertEvent):
            seen.alerts.append(message)
            self._stage.console.print(render(message), soft_wrap=True)
            activated = seen.step(AdaptationStep.ACTIVATED)
            is_fault = seen.fault_at is not None and message.opened_at >= seen.fault_at - MINUTE_US
            if is_fault and activated is not None and message.bundle == activated.bundle and seen.fault_found is None:
                seen.fault_found = message
                self._say(f"[green]{_at(message.time)} the adapted bundle found the fault[/]")
        elif isinstance(message, AdaptationEvent):
            seen.steps.append(message)
            self._say(f"[cyan]{_at(message.time)} adaptation {message.event}[/] {message.step} {message.reason}")
            if message.event is AdaptationStep.ACCEPTED:
                self._say(f"report of the adaptation: [bold]{message.report}[/]")
            if message.event is AdaptationStep.WAITING and "an alert is open" in message.reason and not seen.accepted:
                self._accept(settings)

    def _accept(self, settings: Settings) -> None:
        """The operator knows of the service."""
        self._seen.accepted = True
        command = AlarmCommand(
            command_id=str(uuid.uuid4()), machine=PUMP, action="accept", who="operator", at=now_us(), comment="serviced"
        )
        send(settings, (PUMP, command))
        self._say("[magenta]the operator accepts: the pump was serviced, this is the new normal[/]")

    # -- after -------------------------------------------------------------------------------------------------------

    def _plot(self, settings: Settings) -> None:
        from wheeltapper.demo_drift_plot import plot

        blocks = read_messages(settings, ScoreBlock, on_problem=self._say)
        path = self._out / "drift.png"
        serviced = int(self._times[SERVICED_AFTER_ROWS])
        plot(path, blocks, self._seen.drifts, self._seen.steps, self._seen.alerts, serviced, self._seen.fault_at)
        self._say(f"plot of scores, level and events: [bold]{path}[/]")


def live_rows() -> tuple[np.ndarray, np.ndarray]:
    """([T] times, [T, C] rows): the pump's normal operation after the two weeks that its bundle knows, serviced on the way."""
    series = simulate(PUMP, seed=1, train_rows=LIVE_DAYS * DAY, test_rows=DAY)
    known = simulate(PUMP, train_rows=TRAIN_ROWS)
    times = int(known.train_ts[-1]) + MINUTE_US * np.arange(1, LIVE_DAYS * DAY + 1, dtype=np.int64)
    values = series.train.copy()
    for name, (gain, offset) in SERVICE.items():
        column = CHANNELS.index(name)
        values[SERVICED_AFTER_ROWS:, column] = values[SERVICED_AFTER_ROWS:, column] * gain + offset
    return times, values


def with_bearing_wear(values: np.ndarray, minutes: np.ndarray) -> np.ndarray:
    """[n, C] rows `minutes` ([n]) after a bearing began to wear: it grows for an hour, lasts, and is replaced after six."""
    grown = np.where((minutes >= 0) & (minutes < FAULT_ROWS), np.clip(minutes / 60, 0, 1), 0.0)
    worn = values.copy()
    for name, size in (
        ("vibration_drive_end", 3.2),
        ("vibration_free_end", 0.5),
        ("bearing_temperature_drive_end", 16.0),
    ):
        worn[:, CHANNELS.index(name)] += size * grown
    return worn


def _at(micros: int | None) -> str:
    return "" if micros is None else iso_from_micros(int(micros))[5:16].replace("T", " ")
