"""What both runners share around the pipeline: restore, publish, and commit in the order that loses nothing."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Sequence

import structlog

from wheeltapper.stream.pipeline import Pipeline
from wheeltapper.stream.publisher import Publisher
from wheeltapper.stream.records import Output, PartitionBatch
from wheeltapper.stream.routes import Routes
from wheeltapper.stream.settings import Settings
from wheeltapper.stream.state import progress_record
from wheeltapper.stream.state_reader import StateReader

log = structlog.get_logger(__name__)


class Engine:
    """One worker's pipeline with its state and its output.

    Not to be called from two threads at a time; `health` may be read from any.
    """

    def __init__(
        self, routes: Routes, settings: Settings, publisher: Publisher, stop: Callable[[], bool] = lambda: False
    ) -> None:
        """
        Args:
            stop: asked while waiting for a broker.
        """
        self.pipeline = Pipeline(routes, settings)
        self.publisher = publisher
        self.topic = settings.topics.full_name("sensors")
        self._prefix = f"{settings.kafka.group}/{self.topic}/".encode()
        self._reader = StateReader(settings, stop)
        self._committed: dict[int, int] = {}
        self._alerts_pending = False
        self.working_seconds = 0.0
        """Spent on handling and publishing so far."""
        self.assigned = False
        """True once the group has given this worker its part, be it empty."""

    def assign(self, partitions: Sequence[int]) -> dict[int, int | None]:
        """Take over partitions: state as of the group's commits, and newer where snapshots are.

        Returns:
            the committed offset of each partition, None where the group has none yet: reading starts there.
        """
        self.revoke(partitions)
        started = time.monotonic()
        committed = self._reader.committed(self.topic, partitions)
        records = self._reader.read({number: offset or 0 for number, offset in committed.items()}, self._prefix)
        for number, offset in committed.items():
            state = self.pipeline.partition(number)
            if offset is None:
                # Snapshots without a commit belong to a topic that was deleted and made anew, or to a first run that
                # ended before its first commit. They must not come back once there is a commit.
                self.publisher.publish(
                    Output("state", self._prefix + key, None, partition=number) for key in records[number]
                )
                continue
            state.position = self._committed[number] = offset
            machines = state.restore(records[number], self.pipeline.routes)
            log.debug("restored", partition=number, offset=offset, published=state.published, machines=machines)
        log.info(
            "partitions taken over",
            partitions=sorted(committed),
            machines=sum(self.pipeline.partition(number).machines for number in committed),
            seconds=round(time.monotonic() - started, 2),
        )
        self.assigned = True
        return committed

    def committed_offset(self, partition: int) -> int:
        """Offset that a restart reads from; 0 before the first commit."""
        return self._committed.get(partition, 0)

    def revoke(self, partitions: Iterable[int]) -> None:
        """Forget partitions that another worker takes over."""
        for partition in partitions:
            self.pipeline.partitions.pop(partition, None)
            self._committed.pop(partition, None)

    def handle(self, batches: Sequence[PartitionBatch]) -> None:
        """Handle messages of assigned partitions and publish what comes of them."""
        started = time.monotonic()
        outputs = self.pipeline.handle(batches, started)
        if outputs:
            self._alerts_pending = self._alerts_pending or any(output.topic == "alerts" for output in outputs)
            self.publisher.publish(outputs)
        self.working_seconds += time.monotonic() - started

    @property
    def alerts_pending(self) -> bool:
        """True where an alert was published since the last commit: in a transaction it cannot be read before."""
        return self._alerts_pending

    def prepare_commit(self, *, everything: bool = False) -> dict[int, int]:
        """Publish snapshots that are due and say which offsets may be committed now, by partition.

        Without transactions the output is awaited first, then the snapshots: a snapshot that says 'alert opened' must
        not arrive when the alert did not.

        Args:
            everything: snapshot every machine with new rows, as on a clean stop.
        """
        now = time.monotonic()
        records: list[Output] = []
        offsets: dict[int, int] = {}
        for number, state in self.pipeline.partitions.items():
            snapshots = state.snapshots(now, everything=everything)
            records += snapshots
            committable = state.committable
            # Offset 0 too, once rows have been handled: without any commit a successor would not look for progress.
            if state.position > 0 and committable > self._committed.get(number, -1):
                offsets[number] = committable
            if state.position > state.progress_written:
                records.append(progress_record(state.position, number))
                state.progress_written = state.position
        if not self.publisher.transactional:
            self.publisher.flush()
        self.publisher.publish(dataclasses.replace(r, key=self._prefix + (r.key or b"")) for r in records)
        if not self.publisher.transactional:
            self.publisher.flush()
        return offsets

    def standing_offsets(self) -> dict[int, int]:
        """Offsets that may be committed again without a change, by partition: those of partitions with messages."""
        partitions = self.pipeline.partitions
        return {number: state.committable for number, state in partitions.items() if state.position > 0}

    def committed(self, offsets: dict[int, int]) -> None:
        """Note that `offsets` were committed."""
        self._committed.update(offsets)
        self._alerts_pending = False
