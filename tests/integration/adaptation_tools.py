"""What tests of the adaptation worker on a broker share: a pump that is serviced, its bundle, and what came out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import numpy as np

from tests.integration.kafka_tools import Broker, consume_all, produce
from tests.integration.processes import WorkerProcess
from wheeltapper.demo_drift import SERVICED_AFTER_ROWS, live_rows
from wheeltapper.schemas.adaptation import ActiveModel, AdaptationEvent, DriftEvent
from wheeltapper.schemas.bundle import Bundle, open_bundle
from wheeltapper.schemas.codec import CONTENT_TYPES, decode_message, encode_message, encode_sensor_block
from wheeltapper.schemas.events import AlertEvent, ScoreBlock
from wheeltapper.schemas.message import Message
from wheeltapper.schemas.sensor_block import SensorBlock
from wheeltapper.training.datasets.simulated import CHANNELS, DAY, simulate
from wheeltapper.training.detectors.registry import train_detector
from wheeltapper.training.fitting.bundle_writer import write_bundle

M = TypeVar("M", bound=Message)

PUMP = "pump-1"
SERVICED = SERVICED_AFTER_ROWS
ROWS_A_MESSAGE = 60

TOPICS: dict[type[Message], str] = {
    AdaptationEvent: "adaptations", ActiveModel: "models", AlertEvent: "alerts", DriftEvent: "drift", ScoreBlock: "scores",
}  # fmt: skip


def train_parent(folder: Path, *, days: int = 7) -> Bundle:
    """A bundle of the pump before it was serviced."""
    series = simulate(PUMP, train_rows=days * DAY, test_rows=DAY)
    fitted, scores = train_detector("pca", series)
    write_bundle(fitted, series, folder, scores=scores, false_alarms_per_day=0.25, seed=0, torchscript=False)
    return open_bundle(folder)


class Pumps:
    """Machines that run, and are serviced, as the pump of `live_rows`; their rows are sent piece by piece.

    Attributes:
        times, values: [T] and [T, C]: what they will send; may be changed before it is sent.
        sent: rows of each machine so far.
    """

    def __init__(self, broker: Broker, prefix: str, machines: Iterable[str] = (PUMP,), *, first: int = 0) -> None:
        times, values = live_rows()
        self.times, self.values = times[first:], values[first:]
        self.sent = 0
        self._broker, self._topic, self._machines = broker, f"{prefix}sensors", tuple(machines)

    def send(self, rows: int) -> None:
        """The next rows of every machine, whole messages."""
        headers = [("content-type", CONTENT_TYPES["arrow"].encode())]
        starts = range(self.sent, self.sent + rows, ROWS_A_MESSAGE)
        self.sent = starts[-1] + ROWS_A_MESSAGE
        produce(
            self._broker,
            self._topic,
            [
                (name.encode(), encode_sensor_block(self._block(name, start), "arrow"), headers)
                for start in starts
                for name in self._machines
            ],
        )

    def _block(self, name: str, start: int) -> SensorBlock:
        rows = slice(start, start + ROWS_A_MESSAGE)
        return SensorBlock(name, self.times[rows], CHANNELS, self.values[rows].astype(np.float32))


def said(broker: Broker, prefix: str, model: type[M]) -> list[M]:
    """All messages of the type's topic."""
    records = consume_all(broker, f"{prefix}{TOPICS[model]}")
    return [decode_message(model, record.value) for record in records if record.value]


def steps_of(broker: Broker, prefix: str) -> list[str]:
    return [str(event.event) for event in said(broker, prefix, AdaptationEvent)]


def send_message(broker: Broker, prefix: str, key: str, message: Message) -> None:
    produce(broker, f"{prefix}{TOPICS[type(message)]}", [(key.encode(), encode_message(message), ())])


def wait_for(what: str, workers: Iterable[WorkerProcess], seen: Callable[[], bool], timeout_s: float = 200.0) -> None:
    """Until `seen()` is true; fails where a worker ends before."""
    until = time.monotonic() + timeout_s
    workers = tuple(workers)
    while not seen():
        for worker in workers:
            assert worker.process.poll() is None, f"ended before: {what}\n{worker.log()[-3000:]}"
        assert time.monotonic() < until, "\n".join(
            [f"not in {timeout_s:g} s: {what}", *(worker.log()[-3000:] for worker in workers)]
        )
        time.sleep(0.3)


def adapt_words(broker: Broker, prefix: str, parent: Bundle, out: Path, *more: str) -> list[str]:
    """The command line of an adaptation worker."""
    return [
        "adapt-worker", "--brokers", broker.address, "--prefix", prefix, "--group", f"{prefix}group",
        "--bundle", f"pump-*={parent.location}", "--out", str(out), *more,
    ]  # fmt: skip
