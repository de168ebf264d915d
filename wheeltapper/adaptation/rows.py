"""Collects a machine's rows since its change from the sensors topic, by offset, decoded as the workers do."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

import numpy as np

from wheeltapper.adaptation.labels import windows_of_verdicts
from wheeltapper.follow.follower import Follower, TopicRecord
from wheeltapper.schemas.bundle import Bundle
from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.topics import SENSORS
from wheeltapper.stream.ahead import AheadCheck
from wheeltapper.stream.core.counters import Counters
from wheeltapper.stream.core.readings import ReadingBlock
from wheeltapper.stream.core.row_memory import RowBlock
from wheeltapper.stream.kinds import KINDS
from wheeltapper.stream.kinds.contract import Route, Routes
from wheeltapper.stream.records import PartitionBatch
from wheeltapper.stream.routes import open_rule
from wheeltapper.stream.settings import Settings
from wheeltapper.training.adaptation.service.alerts import KnownAlert
from wheeltapper.training.adaptation.service.life import RowSource
from wheeltapper.training.adaptation.service.presumed_normal import Span, outside
from wheeltapper.training.fitting.labels import LabelledWindows

# Decoded at a time: what is kept between is bounded by `adaptation.max_rows`.
MESSAGES_AT_A_TIME = 5_000


class RowCollector:
    """The newest rows of one machine; each `read` adds what has come since.

    Attributes:
        bundle: the parent: its channels, in its order, are the columns.
        interval_s: seconds between rows.
        window_us: length of its window, microseconds.
    """

    def __init__(self, settings: Settings, machine: str, bundle: Bundle, source: RowSource) -> None:
        """
        Args:
            source: where the rows lie.

        Raises:
            InputError: the bundle cannot be opened, or is not of rows.
        """
        kind_name: str = bundle.manifest.kind
        if kind_name != "sensors":
            raise InputError(
                f"{bundle.location}: is a bundle for {kind_name}; only bundles of rows are adapted: train one on recent recordings "
                "and put it into service with 'wheeltapper models activate'"
            )
        self.bundle = bundle
        self.interval_s = bundle.manifest.sampling_interval_s
        self.window_us = round(bundle.manifest.window * self.interval_s * 1e6)
        self._settings = settings
        self._machine = machine
        self._source = source
        self._partition = source.partition
        """-1 until it is known."""
        self._next: dict[int, int] = {} if source.first_offset < 0 else {source.partition: source.first_offset}
        self._most = settings.adaptation.max_rows
        kind = KINDS[bundle.manifest.kind]
        rule = open_rule(bundle.manifest.detector, bundle, settings)
        route = Route("*", (rule,), kind, kind.layout("*", [rule]))
        self._intake = kind.intake(Routes([route]), settings)
        self._counters = Counters()
        self._memory = kind.memory(route.layout)
        self._ahead = AheadCheck(settings.input.max_ahead_s, self._counters)
        self._times = np.zeros(0, dtype=np.int64)
        self._values = np.zeros((0, len(bundle.manifest.channels)), dtype=np.float32)

    def read(self) -> int:
        """Read on to the end of the topic; how many rows came.

        Raises:
            InputError: no cluster there, or no right to read the topic.
        """
        came = 0
        partitions = None if self._partition < 0 else {self._partition}
        with self._follower(partitions) as follower:
            for batch in _batches(follower.read_to_end()):
                self._next[batch.partition] = batch.offsets[-1] + 1
                if taken := self._take(batch):
                    came += taken
                    self._partition = batch.partition
        return came

    def _follower(self, partitions: Collection[int] | None) -> Follower:
        start = self._next.get(self._partition)
        if start is not None:
            return Follower(self._settings, SENSORS, partitions=partitions, offsets={self._partition: start})
        return Follower(self._settings, SENSORS, partitions=partitions, since_ms=self._source.published_us // 1000)

    def _take(self, batch: PartitionBatch) -> int:
        came = 0
        name = self._machine.encode()
        # A look at the bytes spares the decoding of what other machines of the partition sent. A map of tags may rename them.
        names_lie_open = self._machine.isascii() and not self._settings.assembly.enabled
        wanted = [
            index
            for index, value in enumerate(batch.values)
            if value and (batch.keys[index] == name or name in value or not names_lie_open)
        ]
        if not wanted:
            return 0
        part = _part(batch, wanted)
        decoded, _ = self._ahead.refuse(part, self._intake.decode(part))
        for block in decoded.each():
            if block.machine == self._machine:
                came += self._add(block.block, part)
        return came

    def _add(self, block: RowBlock | ReadingBlock, batch: PartitionBatch) -> int:
        """Rows that are late, come twice or are from the future are left out, as by workers; a clock set back lives its time again."""
        came = 0
        for taken in self._memory.take(block, self._settings.windows, self._counters, self._machine, batch.stamp_of):
            before = self._times < taken.times[0]
            self._times = np.concatenate([self._times[before], taken.times])[-self._most :]
            self._values = np.concatenate([self._values[before], taken.values])[-self._most :]
            came += len(taken.times)
        self._memory.refused()
        return came

    @property
    def oldest(self) -> int | None:
        """Event time (us) of the oldest row."""
        return int(self._times[0]) if len(self._times) else None

    @property
    def newest(self) -> int | None:
        """Event time (us) of the newest row."""
        return int(self._times[-1]) if len(self._times) else None

    def usable(self, spans: Iterable[Span]) -> int:
        """How many rows lie in none of these spans."""
        return int(outside(self._times, [*spans]).sum())

    def labelled(self, alerts: Iterable[KnownAlert]) -> LabelledWindows | None:
        """Windows of the machine's alerts of which an operator said what they were; None where there are none."""
        return windows_of_verdicts(
            alerts, self._times, self._values, window=self.bundle.manifest.window, interval_s=self.interval_s
        )

    def rows(self, spans: Iterable[Span]) -> tuple[np.ndarray, np.ndarray]:
        """([n] int64 event times (us), [n, C] float32 values, raw units, NaN where a sensor gave nothing) outside the spans."""
        kept = outside(self._times, [*spans])
        return self._times[kept], self._values[kept]


def _batches(records: Iterable[TopicRecord]) -> Iterator[PartitionBatch]:
    """Records as the decoder takes them: of one partition each, in its order, a bounded number."""
    open_batches: dict[int, PartitionBatch] = {}
    for record in records:
        batch = open_batches.get(record.partition)
        if batch is None:
            batch = open_batches[record.partition] = PartitionBatch(record.topic, record.partition)
        batch.offsets.append(record.offset)
        batch.keys.append(record.key)
        batch.values.append(record.value)
        batch.headers.append([("content-type", record.content_type)] if record.content_type else None)
        batch.timestamps_ms.append(record.published_ms)
        if len(batch) >= MESSAGES_AT_A_TIME:
            yield open_batches.pop(record.partition)
    yield from open_batches.values()


def _part(batch: PartitionBatch, indices: list[int]) -> PartitionBatch:
    columns = (batch.offsets, batch.keys, batch.values, batch.headers, batch.timestamps_ms)
    return PartitionBatch(batch.topic, batch.partition, *([column[index] for index in indices] for column in columns))  # type: ignore[arg-type]
