"""The heart: messages in, alerts out. Synchronous, without Kafka, clock or randomness.

The main path, top to bottom: decode -> accept rows -> windows -> scores -> thresholds -> alerts. The Faust and the
direct runner, `backtest` and the tests all call `Pipeline.handle`, so what was evaluated is what runs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wheeltapper.stream.core.alert_life import AlertLifecycle
from wheeltapper.stream.core.counters import Counters, count
from wheeltapper.stream.core.judging import Segment
from wheeltapper.stream.core.row_clock import accept_rows
from wheeltapper.stream.core.scoring import BatchScorer, ScoredWindows
from wheeltapper.stream.core.thresholds.spot import SECONDS_PER_DAY, SpotThreshold
from wheeltapper.stream.core.windows import Machine
from wheeltapper.stream.judges.labels import LabelRequests
from wheeltapper.stream.judges.messages import AlertMessages
from wheeltapper.stream.kinds.sensors.decoding import Decoder, MachineRows
from wheeltapper.stream.partition import PartitionState
from wheeltapper.stream.records import Output, PartitionBatch
from wheeltapper.stream.routes import Route, Routes, Rule
from wheeltapper.stream.settings import Settings


class _RuleEngine:
    """One rule at work: its scorer, threshold, lifecycle and messages, and the windows collected in this batch."""

    def __init__(self, rule: Rule, route: Route, settings: Settings) -> None:
        self.rule = rule
        self.scorer = BatchScorer(rule)
        self.lifecycle = AlertLifecycle(settings.threshold)
        self.messages = AlertMessages(rule, settings.scoring)
        self.questions = LabelRequests(rule, self.messages, settings.labels) if settings.labels.enabled else None
        self.fixed_level = settings.threshold.raise_level
        self.spot: SpotThreshold | None = None
        if settings.threshold.method == "spot":
            windows_per_day = SECONDS_PER_DAY * 1e6 / (route.interval_us * rule.stride)
            self.spot = SpotThreshold(settings.threshold, rule.calibration_scores, windows_per_day)
        self.segments: list[Segment] = []


class Pipeline:
    """All machines of the partitions that this worker owns."""

    def __init__(self, routes: Routes, settings: Settings) -> None:
        self.routes = routes
        self.settings = settings
        self.counters = Counters()
        self.partitions: dict[int, PartitionState] = {}
        self._decoder = Decoder(routes, settings.input)
        self._engines = {
            route.pattern: [_RuleEngine(rule, route, settings) for rule in route.rules] for route in routes.routes
        }

    def partition(self, number: int) -> PartitionState:
        """State of one input partition, new where there is none."""
        if number not in self.partitions:
            self.partitions[number] = PartitionState(number, self.settings.state)
        return self.partitions[number]

    def handle(self, batches: Sequence[PartitionBatch], now: float) -> list[Output]:
        """Handle messages and return what is to be published, in order.

        Args:
            batches: at most one a partition.
            now: monotonic time (s); it only decides when snapshots are due, never what is computed.
        """
        outputs: list[Output] = []
        for received in batches:
            partition = self.partition(received.partition)
            batch = received.since(partition.position)  # a client that went back to its commit brings rows again
            if not len(batch):
                continue
            decoded = self._decoder.decode(batch)
            for offset, letter in decoded.dead_letters:
                count(self.counters.dead_letters, (letter.headers[0][1] or b"").decode())
                if offset >= partition.published:
                    outputs.append(letter)
            self.counters.messages += len(batch) - len(decoded.dead_letters)
            for rows in decoded.rows:
                self._take_rows(partition, rows, now)
            partition.position = batch.offsets[-1] + 1
        for engines in self._engines.values():
            for engine in engines:
                if engine.segments:
                    self._judge(engine, outputs)
        return outputs

    @property
    def scoring_seconds(self) -> float:
        """Time spent in onnxruntime so far."""
        return sum(engine.scorer.seconds for engines in self._engines.values() for engine in engines)

    def _take_rows(self, partition: PartitionState, rows: MachineRows, now: float) -> None:
        """Rows of one machine into its tail; the windows that they complete into the scorers' batches."""
        machine = partition.machine(rows.machine, rows.route)
        first, last = int(rows.offsets[0]), int(rows.offsets[-1])
        if first <= machine.offset:  # read again after a restart: the snapshot holds these rows
            if last <= machine.offset:
                return
            new = rows.offsets > machine.offset
            rows = MachineRows(rows.machine, rows.route, rows.offsets[new], rows.times[new], rows.values[new])
            first = int(rows.offsets[0])
        for part in accept_rows(machine, rows, self.settings.windows, self.counters):
            machine.tail.append(part.times, part.values, part.absent)
            self._collect_windows(partition, machine, part.offsets)
        partition.touch(machine, first, last, len(rows.offsets), now)

    def _collect_windows(self, partition: PartitionState, machine: Machine, offsets: np.ndarray) -> None:
        new_rows, tail = len(offsets), machine.tail
        for engine, state in zip(self._engines[machine.route.pattern], machine.rules, strict=True):
            manifest = engine.rule.manifest
            windows, ends = tail.windows(new_rows, manifest.window, engine.rule.stride, manifest.warm_up)
            if not len(ends):
                continue
            engine.scorer.add(windows)
            start = engine.segments[-1].stop if engine.segments else 0
            segment = Segment(
                partition,
                machine,
                state,
                start,
                start + len(ends),
                tail.scored_times(new_rows, ends, manifest.lag),
                offsets[ends],
                *tail.measured(new_rows, ends, manifest.window, manifest.lag),
                None if engine.questions is None else tail.spanned(new_rows, ends, manifest.window),
            )
            engine.segments.append(segment)

    def _judge(self, engine: _RuleEngine, outputs: list[Output]) -> None:
        """Scores against thresholds, for all machines of one rule."""
        scored = engine.scorer.finish()
        segments, engine.segments = engine.segments, []
        self.counters.windows += len(scored.score)
        self.counters.not_finite_scores += int(np.count_nonzero(~np.isfinite(scored.raw)))
        # Most machines are quiet most of the time: one maximum a machine tells which deserve a closer look.
        peaks = np.maximum.reduceat(scored.score, [segment.start for segment in segments])
        for segment, peak in zip(segments, peaks.tolist(), strict=True):
            levels = self._run_alerts(engine, segment, peak, scored, outputs)
            if engine.questions is not None:
                asked = engine.questions.of(segment, scored, levels)
                self.counters.label_requests += len(asked)
                outputs += asked
            if self.settings.scoring.publish_scores:
                new = segment.offsets >= segment.partition.published
                if new.any():
                    raw, score = scored.raw[segment.start : segment.stop], scored.score[segment.start : segment.stop]
                    message = engine.messages.scores(
                        segment.machine.name,
                        segment.times[new],
                        raw[new],
                        score[new],
                        levels[new],
                        segment.quality[new],
                    )
                    outputs.append(message)

    def _run_alerts(
        self, engine: _RuleEngine, segment: Segment, peak: float, scored: ScoredWindows, outputs: list[Output]
    ) -> np.ndarray:
        """One machine's windows through threshold and lifecycle; the raise level at each window, [k] float64."""
        state, spot = segment.state, engine.spot
        windows = segment.stop - segment.start
        # A snapshot may come from before the settings were changed.
        learned = state.spot = None if spot is None else spot.state_from(state.spot)
        level = engine.fixed_level if learned is None else learned.level
        if state.is_quiet and peak < (level if learned is None else min(level, learned.start)):
            if spot is not None and learned is not None:
                spot.learn_ordinary(learned, windows)
            return np.full(windows, level)
        levels = np.empty(windows)
        times, offsets = segment.times.tolist(), segment.offsets.tolist()
        for position, score in enumerate(scored.score[segment.start : segment.stop].tolist()):
            levels[position] = level
            event = engine.lifecycle.step(state, score, times[position], level)
            if event is not None:
                count(self.counters.alerts, event)
                if offsets[position] >= segment.partition.published:
                    outputs += engine.messages.alert(
                        segment.machine.name,
                        state,
                        event,
                        times[position],
                        level,
                        float(segment.quality[position]),
                        scored,
                        segment.start + position,
                        None if segment.absent is None else segment.absent[position],
                    )
                if event == "cleared":
                    engine.lifecycle.end(state)
            elif spot is not None and learned is not None and state.is_quiet:
                spot.learn(learned, score)
                level = learned.level
        return levels
