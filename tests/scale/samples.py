"""What a process takes from the system, looked at again and again while it runs; and where a long topic ends."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from tests.helpers.memory import resident
from tests.integration.worker_tools import Rig


@dataclass(frozen=True)
class Sample:
    """Seconds since the watch began, memory (MiB), threads, open descriptors."""

    seconds: float
    memory: float
    threads: int
    descriptors: int


class Watch:
    """Samples of a process from a thread: a context manager."""

    def __init__(self, process: int, interval_s: float, file: Path) -> None:
        """
        Args:
            file: gets a line of each sample at once, so that a run that is cut off tells something too.
        """
        self.samples: list[Sample] = []
        self._process = process
        self._file = file
        self._interval_s = interval_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *rest: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        folder = Path("/proc") / str(self._process)
        started = time.monotonic()
        self._file.write_text("seconds,megabytes,threads,descriptors\n")
        while not self._ended.wait(self._interval_s):
            try:
                threads, descriptors = len(list((folder / "task").iterdir())), len(list((folder / "fd").iterdir()))
                memory = resident(self._process)
            except (OSError, LookupError):  # it has ended
                return
            sample = Sample(time.monotonic() - started, memory, threads, descriptors)
            self.samples.append(sample)
            with self._file.open("a") as out:
                out.write(f"{sample.seconds:.0f},{memory:.1f},{threads},{descriptors}\n")

    def medians(self, first: float, last: float) -> Sample:
        """Medians of the samples from a share of the time to another."""
        count = len(self.samples)
        rows = [
            (sample.seconds, sample.memory, sample.threads, sample.descriptors)
            for sample in self.samples[round(first * count) : round(last * count)]
        ]
        seconds, memory, threads, descriptors = np.median(np.array(rows), axis=0).tolist()
        return Sample(seconds, memory, round(threads), round(descriptors))


def ends(rig: Rig) -> dict[int, int]:
    """As `Rig.ends`, of an input that nobody wrote transactions to: without reading it."""
    admin = AdminClient(rig.broker.client())
    partitions = admin.list_topics(rig.sensors, timeout=30).topics[rig.sensors].partitions
    asked = {TopicPartition(rig.sensors, number): OffsetSpec.latest() for number in partitions}
    found = {tp.partition: future.result().offset for tp, future in admin.list_offsets(asked).items()}
    return {partition: offset for partition, offset in found.items() if offset}
