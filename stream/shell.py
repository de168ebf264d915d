"""What both runners share around the pipeline: restore, publish, and commit in the order that loses nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence

import structlog

from wheeltapper.schemas.topics import ALERTS, STATE
from wheeltapper.stream.control.control import Control
from wheeltapper.stream.control.log import Change
from wheeltapper.stream.core.calendar import SpanSource
from wheeltapper.stream.freed_memory import give_back
from wheeltapper.stream.input_guard import InputGuard
from wheeltapper.stream.input_life import FoundInput, InputEvent, TakeOver, known_input, take_over
from wheeltapper.stream.input_watch import InputWatch
from wheeltapper.stream.kinds.contract import Routes
from wheeltapper.stream.latency import note_latencies
from wheeltapper.stream.partition import PartitionKey, PartitionState, state_prefix
from wheeltapper.stream.pipeline import Pipeline
from wheeltapper.stream.publisher import Publisher
from wheeltapper.stream.records import Output, PartitionBatch
from wheeltapper.stream.settings import Settings
from wheeltapper.stream.state import PROGRESS, read_progress, read_reserved, says_reserved
from wheeltapper.stream.state_reader import StateReader

log = structlog.get_logger(__name__)


class Shell:
    """One worker's pipeline with its state and its output.

    Not to be called from two threads at a time; `health` may be read from any.
    """

    def __init__(
        self,
        routes: Routes,
        settings: Settings,
        publisher: Publisher,
        stop: Callable[[], bool] = lambda: False,
        *,
        maintenance: Sequence[SpanSource] = (),
        watch: InputWatch | None = None,
    ) -> None:
        """
        Args:
            stop: asked while waiting for a broker.
            maintenance: when which machines are in maintenance, beside what operators announce meanwhile.
            watch: looks at the input topics meanwhile; None: nobody does.
        """
        self.pipeline = Pipeline(routes, settings, maintenance)
        self._stop = stop
        self._control = Control(settings, self.pipeline) if settings.control.enabled else None
        self._group = settings.kafka.group
        self.publisher = publisher
        publisher.counters = self.pipeline.counters
        self.pipeline.largest_state_record = publisher.largest(STATE)
        self._reader = StateReader(settings, stop)
        self._reader.refused = self.pipeline.counters.state_refused
        self._reserve_messages = settings.worker.max_batch_messages
        self._committed: dict[PartitionKey, int] = {}
        self.input = InputGuard(self.pipeline, watch, self._reader.grow, self._save_again)
        self._alerts_pending = False
        self._is_whole = True
        """False while a message is half done: its machines may not be snapshotted then."""
        self._taken: Sequence[PartitionBatch] = ()
        """What is being handled."""
        self.input_ends: dict[PartitionKey, int] = {}
        """Ends of the input partitions, as the runner last heard; kept by it."""
        self.working_seconds = 0.0
        """Spent on handling and publishing so far."""
        self.assigned = False
        """True once the group has given this worker its part, be it empty."""

    def follow_control(self) -> None:
        """Follow deployments and operators' commands, unless settings say otherwise; `close` ends it."""
        if self._control is not None:
            self._control.start()

    def close(self) -> None:
        """End the thread and client that `follow_control` started."""
        if self._control is not None:
            self._control.close()

    @property
    def topics(self) -> tuple[str, ...]:
        """Full names of the input topics."""
        return self.pipeline.topics

    def assign(self, partitions: Sequence[PartitionKey]) -> dict[PartitionKey, int | None]:
        """Take over partitions: state as of the group's commits, and newer where snapshots are.

        Returns:
            where reading each partition starts: at the committed offset, but where the input is not what it was; None: at its
            first message.
        """
        self.revoke(partitions)
        started = time.monotonic()
        self.input.assigned(started)
        committed: dict[PartitionKey, int | None] = {}
        for topic in self.topics:
            committed |= self._take_over(topic, [number for name, number in partitions if name == topic])
        if self._control is not None and partitions:
            self._apply(self._control.catch_up(time.monotonic(), self._stop))
        log.info(
            "partitions taken over",
            partitions=sorted(number for _, number in committed),
            machines=sum(self.pipeline.partition(*key).machines for key in committed),
            seconds=round(time.monotonic() - started, 2),
        )
        give_back()
        self.assigned = True
        return committed

    def _take_over(self, topic: str, numbers: Sequence[int]) -> dict[PartitionKey, int | None]:
        """`assign` for the partitions of one input topic."""
        committed = self._reader.committed(topic, numbers)
        found = self._reader.found(topic, numbers)
        self.input.see_counts(self._reader.counts)
        prefix = state_prefix(self._group, topic)
        records = self._reader.read({number: offset or 0 for number, offset in committed.items()}, prefix)
        starts: dict[PartitionKey, int | None] = {}
        events: list[tuple[PartitionKey, InputEvent]] = []
        begun: list[PartitionState] = []
        for number, offset in committed.items():
            key = (topic, number)
            seen = found.get(number, FoundInput())
            taken = take_over(known_input(records[number].get(PROGRESS, b"")), offset, seen)
            events += [(key, event) for event in taken.events]
            state = self.pipeline.partition(topic, number)
            state.parts.sets = self._reader.sets[number]
            self._delete(state, self._reader.left_over[number])
            state.life, starts[key] = taken.life, taken.start
            state.position = (seen.first or 0) if taken.start is None else taken.start
            if taken.forgets:
                self._delete(state, records[number])
                continue
            if taken.start is not None:
                state.committed = state.before = self._committed[key] = taken.start
            state.input_end = self._handled_end(state.position, seen.end, records[number].get(PROGRESS, b""), taken)
            outputs, unused = state.restore(records[number], time.monotonic(), time.time_ns() // 1000)
            if taken.is_new_life:
                begun.append(state)
            self._publish(outputs)
            self._delete(state, unused)
            log.debug("restored", topic=topic, partition=number, offset=taken.start, published=state.published)
        self.input.tell(events)
        self._begin_lives(begun)
        self._find_handled(topic, numbers)
        return starts

    def _begin_lives(self, states: Sequence[PartitionState]) -> None:
        """Say before any output of these partitions is out that their offsets mean something else from now on."""
        if not states:
            return
        self.publisher.publish([record for state in states for record in state.addressed([state.progress_record()])])
        if not self.publisher.transactional:
            self.publisher.flush()

    @staticmethod
    def _handled_end(position: int, end: int | None, progress: bytes, taken: TakeOver) -> int | None:
        """The offset from which on nothing can have been handled: the input's end, or less where the group has said how far it came.

        Args:
            end: of the input; None: the broker did not tell.
            progress: the partition's progress record.
        """
        if end is None or taken.is_new_life or not says_reserved(progress):
            return end if end is None else max(position, end)
        published = read_progress(progress)
        told = max(position, published if published <= end else 0, read_reserved(progress))
        return max(position, min(end, told))

    def _find_handled(self, topic: str, numbers: Iterable[int]) -> None:
        """How far the worker before may have come: as far as it had said, and no further than there was input."""
        states = {number: self.pipeline.partition(topic, number) for number in numbers}
        doubtful = {number for number, state in states.items() if state.reserved > max(state.position, state.published)}
        for number, end in self._reader.input_ends(topic, doubtful).items():
            states[number].handled_before = min(states[number].reserved, end)
        if self.publisher.transactional:
            for state in states.values():
                state.reserved = 0

    def _delete(self, state: PartitionState, keys: Iterable[bytes]) -> None:
        self.publisher.publish(state.addressed(Output(STATE, key, None, partition=state.number) for key in keys))

    def committed_offset(self, partition: PartitionKey) -> int:
        """Offset that a restart reads from; 0 before the first commit."""
        return self._committed.get(partition, 0)

    def revoke(self, partitions: Iterable[PartitionKey]) -> None:
        """Forget partitions that another worker takes over."""
        for partition in partitions:
            self.pipeline.partitions.pop(partition, None)
            self._committed.pop(partition, None)
            self.input_ends.pop(partition, None)
        self._is_whole = self._is_whole or not self.pipeline.partitions

    def handle(self, batches: Sequence[PartitionBatch]) -> None:
        """All of `work` at once."""
        for _ in self.work(batches):
            pass

    def work(self, batches: Sequence[PartitionBatch]) -> Iterator[None]:
        """Handle messages of assigned partitions and publish what comes of them, in steps that are bounded in memory and time.

        Between two steps offsets may be committed, partitions revoked, and the rest be left: it is read again from the commit.
        """
        started = time.monotonic()
        self._apply_news(started)
        self.input.note(batches)
        self._reserve(batches)
        steps = self.pipeline.steps(batches, started)
        self._taken = batches
        while True:
            self._is_whole = False  # and stays so where a step fails, or the rest is left
            step = next(steps, None)
            if step is None:
                break
            self._publish(step.outputs)
            self._is_whole = step.whole
            self.working_seconds += time.monotonic() - started
            yield
            started = time.monotonic()
        self._is_whole = True
        self._taken = ()

    def _reserve(self, batches: Sequence[PartitionBatch]) -> None:
        """Say before any output of these rows is out that it may be: a successor must score them by the same bundles.

        Once in thousands of messages: the next ones are reserved with them, and at every commit.
        """
        if self.publisher.transactional:
            return
        records: list[Output] = []
        for batch in batches:
            state = self.pipeline.partition(batch.topic, batch.partition)
            if batch.offsets and batch.offsets[-1] >= state.reserved:
                state.reserved = batch.offsets[-1] + 1 + self._reserve_messages
                records += state.addressed([state.progress_record()])
        if records:
            self.publisher.publish(records)
            self.publisher.flush()

    def tick(self, is_at_end: Callable[[PartitionKey], bool]) -> None:
        """Publish what time alone brings about, as NO_DATA; about once a second is often enough.

        Args:
            is_at_end: whether a partition is known to have been read to its end; asked only where a machine is overdue.
        """
        if not self._is_whole:
            return
        self._apply_news(time.monotonic())
        outputs = self.pipeline.tick(time.monotonic(), is_at_end)
        if not outputs:
            return
        if not self.publisher.transactional:
            # A machine that speaks again clears an alert only if its state says that one is open: the state comes first, and
            # a restart repeats the alert.
            self.publisher.flush()
            self.publisher.publish(self._snapshots(time.monotonic()))
            self.publisher.flush()
        self._publish(outputs)

    def command(self, change: Change) -> None:
        """Put a change in force between two batches; see `Pipeline.command`.

        Raises:
            InputError: its bundle is refused; nothing has changed.
        """
        self._apply(self.pipeline.command(change, time.monotonic()))

    def _apply_news(self, now: float) -> None:
        if self._control is not None and self.assigned:
            self._apply(self._control.news(now))

    def _apply(self, outputs: Sequence[Output]) -> None:
        """Publish what comes of changes: first what a restart needs to know of them."""
        if not outputs:
            return
        self.publisher.publish([output for output in outputs if output.topic == STATE])
        if not self.publisher.transactional:
            self.publisher.flush()  # no output may be out before a restart knows by which bundle it was made
        self._publish([output for output in outputs if output.topic != STATE])

    def _publish(self, outputs: Sequence[Output]) -> None:
        if outputs:
            alerts = [output for output in outputs if output.topic == ALERTS]
            self._alerts_pending = self._alerts_pending or bool(alerts)
            self.publisher.publish(outputs)
            if alerts:
                note_latencies(self.pipeline.counters, alerts, self._taken, time.time())

    def _snapshots(self, now: float, *, everything: bool = False) -> list[Output]:
        wall_us = time.time_ns() // 1000
        return [
            record
            for state in self.pipeline.partitions.values()
            for record in state.addressed(state.snapshots(now, wall_us, everything=everything))
        ]

    def _save_again(self) -> None:
        """The next commit writes all state, as if nothing of it had ever been written."""
        now = time.monotonic()
        for state in self.pipeline.partitions.values():
            state.save_again(now)
            if state.control.number:
                self.publisher.publish(state.addressed([state.control_record()]))

    @property
    def alerts_pending(self) -> bool:
        """True where an alert was published since the last commit: in a transaction it cannot be read before."""
        return self._alerts_pending

    def prepare_commit(self, *, everything: bool = False) -> dict[PartitionKey, int]:
        """Publish snapshots that are due and say which offsets may be committed now, by partition.

        Without transactions the output is awaited first, then the snapshots: a snapshot that says 'alert opened' must
        not arrive when the alert did not.

        Args:
            everything: snapshot every machine with new rows, as on a clean stop. While a message is half done there are no
                snapshots.
        """
        records = self._snapshots(time.monotonic(), everything=everything) if self._is_whole else []
        offsets: dict[PartitionKey, int] = {}
        for key, state in self.pipeline.partitions.items():
            committable = state.committable
            # Offset 0 too, once rows have been handled: without any commit a successor would not look for progress.
            if state.position > 0 and committable > self._committed.get(key, -1):
                offsets[key] = committable
            if state.position > state.progress_written or (key in offsets and offsets[key] != state.committed):
                state.progress_written = max(state.progress_written, state.position)
                state.committed, state.before = offsets.get(key, state.committed), self._committed.get(key)
                if not self.publisher.transactional:
                    state.reserved = max(state.reserved, state.position + self._reserve_messages)
                records += state.addressed([state.progress_record()])
        if not self.publisher.transactional:
            self.publisher.flush()
        self.publisher.publish(records)
        if not self.publisher.transactional:
            self.publisher.flush()
        return offsets

    def standing_offsets(self) -> dict[PartitionKey, int]:
        """Offsets that may be committed again without a change, by partition: those of partitions with messages."""
        partitions = self.pipeline.partitions
        return {key: state.committable for key, state in partitions.items() if state.position > 0}

    def committed(self, offsets: dict[PartitionKey, int]) -> None:
        """Note that `offsets` were committed."""
        self._committed.update(offsets)
        self._alerts_pending = False
