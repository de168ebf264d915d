"""The heart: messages in, alerts out. Synchronous, without Kafka, clock or randomness.

The main path, top to bottom: decode -> take in -> windows -> scores -> judges -> what is not out already. The Faust and the
direct runner take its steps one by one, `backtest` and the tests all of them (`Pipeline.handle`); `evaluate` runs the same core
(`stream.core`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from wheeltapper.schemas.audio_chunk import record_key
from wheeltapper.schemas.bundle import Bundle
from wheeltapper.stream.ahead import AheadCheck
from wheeltapper.stream.control.log import Change, ControlMessage
from wheeltapper.stream.core.calendar import SpanSource
from wheeltapper.stream.core.counters import Counters, count
from wheeltapper.stream.core.judging import Emission
from wheeltapper.stream.core.scoring_loop import RuleRuntime
from wheeltapper.stream.dead_letters import flawed_letters, refused_dead_letter
from wheeltapper.stream.deployment import Deployment
from wheeltapper.stream.kinds.contract import MachineBlock, Routes
from wheeltapper.stream.left_out import DeadLetterLines
from wheeltapper.stream.machine import Machine
from wheeltapper.stream.outgoing import alert_output
from wheeltapper.stream.pace import Pace
from wheeltapper.stream.partition import PartitionKey, PartitionState
from wheeltapper.stream.portions import Portion, Portions
from wheeltapper.stream.records import Output, PartitionBatch
from wheeltapper.stream.rule_book import RuleBook
from wheeltapper.stream.settings import Settings
from wheeltapper.stream.silent_machines import SilentMachines
from wheeltapper.stream.together import Together, Waiting


class Step(NamedTuple):
    """A bounded piece of work that is done.

    Attributes:
        outputs: to be published, in order.
        whole: no message is half done: snapshots may be taken.
    """

    outputs: list[Output]
    whole: bool


class Pipeline:
    """All machines of the partitions that this worker owns."""

    def __init__(self, routes: Routes, settings: Settings, maintenance: Sequence[SpanSource] = ()) -> None:
        """
        Args:
            maintenance: when which machines are in maintenance, beside what operators announce meanwhile.
        """
        self.routes = routes
        self.settings = settings
        self.counters = Counters()
        self.partitions: dict[PartitionKey, PartitionState] = {}
        self._dead_letter_lines = DeadLetterLines()
        self.largest_state_record = 0
        """Bytes that the `state` topic takes; 0: any number."""
        self._maintenance = tuple(maintenance)
        self._book = RuleBook(routes, settings, self.counters)
        self._kinds = {settings.topics.full_name(kind.topic): kind for kind in routes.kinds.values()}
        self._pace = Pace(settings)
        self._is_clean = True
        """Nothing has been taken since the last step."""
        self._may_pause = False
        """The step may end within a message: it has nothing else."""
        self._waiting: list[Portion] = []
        """Read, and not taken in: at most one portion of a partition."""
        self._together = Together(settings.windows, self.counters)
        self._ahead = AheadCheck(settings.input.max_ahead_s, self.counters)
        intakes = {topic: kind.intake(routes, settings) for topic, kind in self._kinds.items()}
        self._portions = Portions(intakes, self._pace)
        self._silence = SilentMachines(settings, self.counters)

    @property
    def topics(self) -> tuple[str, ...]:
        """Full names of the input topics."""
        return tuple(self._kinds)

    def partition(self, topic: str, number: int) -> PartitionState:
        """State of one input partition, new where there is none."""
        key = (topic, number)
        state = self.partitions.get(key)
        if state is None:
            kind = self._kinds[topic].name
            state = self.partitions[key] = PartitionState(key, kind, self.settings, self._book, self._maintenance)
            state.refused = self.counters.state_refused
            state.largest_record = self.largest_state_record
        return state

    def handle(self, batches: Sequence[PartitionBatch], now: float) -> list[Output]:
        """All `steps` at once; returns what is to be published, in order."""
        return [output for step in self.steps(batches, now) for output in step.outputs]

    def steps(self, batches: Sequence[PartitionBatch], now: float) -> Iterator[Step]:
        """Handle messages in steps that are bounded in memory and time; how they are cut changes nothing.

        Between two steps the pipeline may be used otherwise, or be left for good.

        Args:
            batches: at most one a partition.
            now: monotonic time (s); it only decides when snapshots are due and who is silent, never what is computed.
        """
        outputs: list[Output] = []
        self._pace.begin(self.scoring_seconds)
        self._is_clean = True
        self._waiting.clear()
        for received in batches:
            partition = self.partition(received.topic, received.partition)
            # A client that went back to its commit brings rows again.
            rest: PartitionBatch | None = received.since(partition.position)
            while rest:
                partition.position = rest.offsets[0]
                if partition.has_due_changes:
                    self._judge(outputs)  # what came before, by the rules that were in force
                    outputs += partition.apply_changes(now)
                boundary = partition.next_boundary()
                batch, rest = (rest, None) if boundary is None else rest.split(boundary)
                yield from self._read(partition, batch, now, outputs)
                if rest:
                    yield from self._take_read(now, outputs)
        yield from self._take_read(now, outputs)
        yield self._end_step(outputs)

    def finish(self) -> list[Output]:
        """What waits for more input, where none follows: the end of a recording. A worker's input has no end."""
        outputs: list[Output] = []
        for partition in self.partitions.values():
            for machine in partition.known_machines():
                rest = machine.memory.rest(self.counters, machine.name)
                self._take_parts(partition, machine, rest, outputs)
        self._judge(outputs)
        return outputs

    def tick(self, now: float, is_at_end: Callable[[PartitionKey], bool]) -> list[Output]:
        """What time alone brings about: see `SilentMachines.tick`."""
        self._book.forget_idle(now)
        return self._silence.tick(self.partitions, now, is_at_end)

    def prepare(self, deployment: Deployment, bundle: Bundle | None = None) -> None:
        """Open, check and warm up a deployment's bundle, so that `command` does not have to; may be called from any thread.

        Args:
            bundle: the deployment's, where it has been opened already.

        Raises:
            InputError: the bundle is refused; nothing has changed.
        """
        self._book.prepare(deployment, bundle)

    def command(self, change: Change, now: float) -> list[Output]:
        """Put a change in force in every partition, from its position on; to be called between two batches.

        Returns:
            the records that a restart needs, to be delivered before any other output; then 'cleared' events of alerts that end
            by it.

        Raises:
            InputError: the bundle is refused; nothing has changed.
        """
        if isinstance(change, Deployment):
            self._book.prepare(change)
        return self.apply([ControlMessage("", 0, change)], now)

    def apply(self, messages: Sequence[ControlMessage], now: float) -> list[Output]:
        """Put changes in force whose bundles have been prepared, each in the partitions that have not met it yet.

        While rows are read again whose output is out, a change holds behind them.

        Args:
            messages: in the order in which they came.

        Returns:
            as `command`.
        """
        records: list[Output] = []
        events: list[Output] = []
        for partition in self.partitions.values():
            met = False
            for message in messages:
                if message.topic:
                    read = partition.control.read[message.topic]
                    if read is None or message.offset < read:
                        continue
                    partition.control.read[message.topic] = message.offset + 1
                met = True
                if message.change is not None and getattr(message.change, "kind", partition.kind) == partition.kind:
                    partition.add_change(message.change)
            if met:
                records += partition.addressed([partition.control_record()])
                events += partition.apply_changes(now)
        if records:
            used = [runtime for partition in self.partitions.values() for runtime in partition.served()]
            entries = [
                entry
                for partition in self.partitions.values()
                for entry in partition.control.serving(partition.position)
            ]
            self._book.forget_unused(used, entries, now)
        return [*records, *events]

    @property
    def loaded_bundles(self) -> tuple[str, ...]:
        """Locations of deployed bundles that are in memory: in force, awaited, or kept in case that they are taken back."""
        return self._book.loaded

    @property
    def rules_at_work(self) -> list[RuleRuntime]:
        """All rules that score; may be asked from any thread."""
        return self._book.at_work

    @property
    def scoring_seconds(self) -> float:
        """Time spent in onnxruntime so far."""
        return self._book.scoring_seconds

    def _read(
        self, partition: PartitionState, batch: PartitionBatch, now: float, outputs: list[Output]
    ) -> Iterator[Step]:
        """One partition's messages, portion by portion. What is read waits for that of the other partitions, to be taken in together."""
        while batch:
            flawed = batch.first_flawed()
            if flawed == 0:
                yield from self._take_read(now, outputs)
                self._refuse(partition, flawed_letters(batch.first(1)), outputs)
                partition.position = batch.offsets[0] + 1
                batch = batch.without(1)
                self._is_clean = False
                continue
            portion = self._portions.next(partition, batch if flawed is None else batch.first(flawed))
            batch = batch.without(len(portion.batch))
            if not self._is_clean and not self._has_room(portion):
                yield from self._take_read(now, outputs)
                yield self._end_step(outputs)
            self._may_pause = self._is_clean and not outputs
            self._is_clean = False
            self._waiting.append(portion)
            if batch or self._pace.is_full:
                yield from self._take_read(now, outputs)
            if self._pace.is_full:
                yield self._end_step(outputs)

    def _has_room(self, portion: Portion) -> bool:
        """True where the step may hold it beside what has been read."""
        values, seconds = portion.load
        for waiting in self._waiting:
            values, seconds = values + waiting.load[0], seconds + waiting.load[1]
        return self._pace.has_room(values, seconds)

    def _end_step(self, outputs: list[Output]) -> Step:
        self._judge(outputs)
        self._pace.end(self.scoring_seconds, whole=True)
        self._pace.begin(self.scoring_seconds)
        self._is_clean = True
        done = outputs.copy()
        outputs.clear()
        return Step(done, whole=True)

    def _take_read(self, now: float, outputs: list[Output]) -> Iterator[Step]:
        """All that has been read to windows that wait for their scores: at most a portion of each partition."""
        portions, self._waiting = self._waiting, []
        found: list[Output] = []
        for block, portion in self._blocks(portions, now, found):
            for _ in self._take_block(portion.partition, block, portion.batch, now, found):
                self._judge(found)
                self._pace.end(self.scoring_seconds, whole=False)
                if self._may_pause and len(portions) == 1:
                    yield Step([], whole=False)
                self._pace.begin(self.scoring_seconds)
        for portion in portions:
            portion.partition.position = portion.batch.offsets[-1] + 1
            self._pace.took(len(portion.batch))
        outputs += found

    def _blocks(
        self, portions: Sequence[Portion], now: float, outputs: list[Output]
    ) -> Iterator[tuple[MachineBlock, Portion]]:
        """Takes in what is ordinary of blocks of many machines; yields what is left, machine by machine."""
        together: list[tuple[Waiting, Portion, float, float]] = []
        for portion in portions:
            partition, batch = portion.partition, portion.batch
            decoded, partly = self._ahead.refuse(batch, portion.decoded)
            self._refuse(partition, decoded.dead_letters, outputs)
            outputs += partition.fresh(partly)
            self.counters.messages += len(batch) - len(decoded.dead_letters)
            for event, number in decoded.readings.items():
                self.counters.readings[event] = self.counters.readings.get(event, 0) + number
            for block in decoded.blocks:
                yield block, portion
            for many, (machines, (values, seconds)) in zip(decoded.together, portion.together, strict=False):
                if self._pace.has_room(values, seconds):
                    self._pace.add(values, seconds, many.length)
                    together.append((Waiting(partition, many, machines, batch), portion, values, seconds))
                else:
                    for place in range(len(many.machines)):
                        yield many.one(place), portion
        if together:
            left = self._together.take([waiting for waiting, *_ in together], now)
            for (waiting, portion, values, seconds), places in zip(together, left, strict=True):
                share = len(places) / len(waiting.machines)
                self._pace.add(-share * values, -share * seconds, -round(share * waiting.many.length))
                for place in places:
                    yield waiting.many.one(place), portion

    def _refuse(self, partition: PartitionState, letters: Sequence[Emission], outputs: list[Output]) -> None:
        """Dead letters of whole messages."""
        for emission in letters:
            count(self.counters.dead_letters, (emission.output.headers[0][1] or b"").decode())
            self._dead_letter_lines.see(emission.output.headers, emission.output.key)
        outputs += partition.fresh(letters)

    def _take_block(
        self, partition: PartitionState, taken: MachineBlock, batch: PartitionBatch, now: float, outputs: list[Output]
    ) -> Iterator[None]:
        """One machine's block into its memory; yields where the windows that wait for their scores are enough for a step."""
        machine = partition.machine(taken.machine, taken.route)
        block: Any = taken.block
        if machine.life != partition.life.number:
            block, ends = partition.meet(machine, block, self.counters)
            if block is None:
                return
            outputs += partition.fresh(Emission(int(block.offsets[0]), output) for output in ends)
        first, last = int(block.offsets[0]), int(block.offsets[-1])
        if first <= machine.offset:  # read again after a restart: the snapshot holds these
            if last <= machine.offset:
                return
            block = block.after(machine.offset)
            first = int(block.offsets[0])
        pace, memory, entries = self._pace, machine.memory, len(block.offsets)
        runtimes = (served.runtime for served in machine.rules.values())
        values, seconds = pace.expect(runtimes, block.length, block.size)
        share = pace.share(values, seconds)
        step = entries if share == 1.0 else max(1, int(share * entries))
        for start in range(0, entries, step):
            piece = block if step >= entries else block.only(slice(start, start + step))
            part = len(piece.offsets) / entries
            if pace.values and not pace.has_room(part * values, part * seconds):
                yield
            pace.add(part * values, part * seconds, round(part * block.length))
            parts = memory.take(piece, self.settings.windows, self.counters, machine.name, batch.stamp_of)
            self._take_parts(partition, machine, parts, outputs)
            if machine.silent_since is not None and memory.waiting is not None:
                outputs += partition.fresh([self._silence.speaks_again(machine, *memory.waiting)])
            for refused in memory.refused():
                letter = refused_dead_letter(batch.topic, batch.partition, record_key(machine.name), refused)
                outputs += partition.fresh([Emission(refused.by, letter)])
        partition.touch(machine, first, last, entries, now)
        machine.settle()

    def _take_parts(
        self, partition: PartitionState, machine: Machine, parts: Iterable[Any], outputs: list[Output]
    ) -> None:
        """Each part of a machine's input to the windows that it completes."""
        calendar = partition.calendar
        for part in parts:
            if machine.silent_since is not None:
                outputs += partition.fresh(
                    [self._silence.speaks_again(machine, int(part.offsets[0]), int(part.times[0]))]
                )
            for served in machine.rules.values():
                runtime = served.runtime
                due = machine.memory.due(part, runtime.rule)
                if due is not None:
                    maintenance = (
                        None if calendar.is_empty else calendar.mask(machine.name, due.times, machine.patterned)
                    )
                    runtime.collect(machine.name, served.memory, due, partition, maintenance)
            notices = machine.memory.notices(part)
            if notices:
                route = machine.route
                told = [Emission(each.offset, alert_output(route.placed(each.output))) for each in notices]
                outputs += partition.fresh(told)

    def _judge(self, outputs: list[Output]) -> None:
        """Scores before the judges, for all machines of one rule after the other."""
        for runtime in self._book.runtimes:
            if runtime.has_windows:
                for origin, emissions in runtime.judge(self.counters):
                    outputs += origin.fresh(emissions)
