"""The judge that notices drift: block after block of event time, families of evidence, agreement that lasts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, Protocol

import numpy as np

from wheeltapper.stream.core.alert_judge import ALERT
from wheeltapper.stream.core.counters import Counters, count
from wheeltapper.stream.core.drift.blocks import (
    LEAST_ROWS,
    MAX_ROWS,
    MEAN,
    SPREAD,
    STATISTICS,
    log_scores,
    row_step,
    summarise,
)
from wheeltapper.stream.core.drift.embeddings import thinned
from wheeltapper.stream.core.drift.memory import (
    DriftMemory,
    DriftSlot,
    OpenDrift,
    Run,
    keep_embeddings,
    new_filling,
)
from wheeltapper.stream.core.drift.policy import DriftRules
from wheeltapper.stream.core.drift.reference import DriftReference, drift_reference
from wheeltapper.stream.core.drift.scores import (
    ADWIN_LEAST_MOVE,
    ADWIN_MOST,
    MOST_SUM,
    adwin_mean,
    new_adwin,
    page_hinkley,
)
from wheeltapper.stream.core.judging import Emission, Judged, Slot
from wheeltapper.stream.core.rule import RuleSpec

DRIFT = "drift"
FAMILY_OF = {
    "adwin": "scores",
    "page-hinkley": "scores",
    "inputs": "inputs",
    "channel": "inputs",
    "embedding": "embedding",
}
"""Test -> family of evidence."""

NEAR = 0.7
"""Of their levels: a run of blocks that look different goes on while as many families as must agree are above."""
MOVED_ERRORS = 3.0
MOVED_SIGMA = 0.2
"""A channel has moved when a statistic is so many standard errors and so many standard deviations of its rows away."""
FEWEST_WINDOWS, MOST_WINDOWS = 0.5, 1.5
"""Of the windows that a block should have: outside of that the rate has changed, or rows are missing."""


@dataclass(frozen=True, slots=True)
class MovedChannel:
    """A channel that moved.

    Attributes:
        index: of the channel. statistic: the one that moved most; before, after: its value, raw units.
        effect: of the move, in standard deviations of the channel's normal rows.
    """

    index: int
    statistic: str
    before: float
    after: float
    effect: float


@dataclass(frozen=True, slots=True)
class DriftFinding:
    """A drift that starts or ends.

    Attributes:
        bundle: id of the bundle that found it. since: event time (us) of the change, as estimated.
        tests: that agree. channels: that moved, the largest effect first.
        score_before, score_after: median calibrated scores.
        first_offset: input offset of the first window since the change. alert_open: the rule has an alert open.
    """

    event: Literal["started", "ended"]
    bundle: str
    since: int
    tests: tuple[str, ...]
    channels: tuple[MovedChannel, ...]
    score_before: float
    score_after: float
    first_offset: int
    alert_open: bool


class DriftReport(Protocol):
    """Turns a finding into outputs."""

    def __call__(self, judged: Judged, position: int, finding: DriftFinding) -> Iterable[Any]:
        """
        Args:
            position: of the window with which it was noticed, among the judged ones.
        """
        ...


class DriftWatch:
    """One rule's drift. Stands behind the alert judge, whose alerts it asks for."""

    keeps_rows = False

    def __init__(
        self,
        rule: RuleSpec,
        policy: DriftRules,
        report: DriftReport,
        counters: Counters,
        reference: DriftReference | None = None,
    ) -> None:
        """
        Args:
            reference: of the bundle, where the caller has it already.
        """
        self.reference = drift_reference(rule, policy) if reference is None else reference
        self._bundle = rule.manifest.bundle_id
        self._width = rule.manifest.row_width
        self._report = report
        self._counters = counters
        self._block_us = self.reference.block_us
        between_us = rule.manifest.sampling_interval_s * 1e6 * rule.stride
        self._expected = self._block_us / between_us
        self._step = row_step(self._block_us, between_us)
        self._agreement = policy.agreement
        self._dwell_us = round(policy.min_dwell_s * 1e6)
        slot = DriftSlot(self._new, self._bundle, self._block_us, self._width)
        self.slots: Mapping[str, Slot[Any]] = {DRIFT: slot}

    @property
    def can_agree(self) -> bool:
        """False where the bundle supports fewer families of evidence than must agree."""
        return len(self.reference.families) >= self._agreement

    def _new(self) -> DriftMemory:
        reference = self.reference
        normal = np.zeros((len(STATISTICS), self._width)) if reference.inputs is None else reference.inputs.center
        return DriftMemory(
            self._bundle, self._block_us, new_filling(self._width), normal, discrepancy=reference.embedding_center
        )

    def see(self, judged: Judged) -> Sequence[Emission]:
        """See `Judge.see`."""
        memory: DriftMemory = judged.memory.slots[DRIFT]
        filling, times, block_us = memory.filling, judged.due.times, self._block_us
        emissions: list[Emission] = []
        if memory.open is not None and memory.open.superseded:
            emissions += self._end(judged, 0, memory)
        last = int(times[-1]) // block_us
        if filling.number == last == int(times[0]) // block_us:
            self._fill(memory, judged, 0, len(times))
            return emissions
        numbers = times // block_us
        starts = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(times)]
        for start, stop in pairwise(starts):
            number = int(numbers[start])
            if filling.number != number:
                if filling.number is not None:
                    emissions += self._close(judged, start, memory)
                    if number < filling.number:  # the clock was set back
                        memory.run = memory.agree_since = memory.apart_since = None
                filling.begin(number, int(judged.due.offsets[start]))
            self._fill(memory, judged, start, stop)
        return emissions

    def _fill(self, memory: DriftMemory, judged: Judged, start: int, stop: int) -> None:
        """Take windows [start, stop) into the block that is filling: every `step`-th."""
        filling = memory.filling
        first = start + -filling.windows % self._step
        filling.windows += stop - start
        maintenance = getattr(judged, "maintenance", None)
        if maintenance is not None:
            filling.withheld += int(np.count_nonzero(maintenance[start:stop]))
        if first >= stop:
            return
        kept = filling.kept
        rows = judged.due.actual[first : stop : self._step][: MAX_ROWS - kept]
        end = kept + len(rows)
        filling.rows[kept:end] = rows
        filling.scores[kept:end] = judged.score[first : stop : self._step][: MAX_ROWS - kept]
        if self.reference.embedding is not None and end > kept:
            embedding = judged.scored.embedding
            assert embedding is not None
            picked = slice(judged.start + first, judged.start + stop, self._step)
            keep_embeddings(filling, kept, embedding[picked][: MAX_ROWS - kept])
        filling.kept = end

    # -- a block has ended ----------------------------------------------------------------------------------------------

    def _close(self, judged: Judged, position: int, memory: DriftMemory) -> list[Emission]:
        """Judge the block that ended before window `position`."""
        filling = memory.filling
        assert filling.number is not None
        if filling.withheld:
            return self._pass_over("maintenance")
        if not FEWEST_WINDOWS * self._expected <= filling.windows <= MOST_WINDOWS * self._expected + 1:
            return self._pass_over("rate")
        if filling.kept < LEAST_ROWS:
            return self._pass_over("short")
        rows, scores = filling.rows[: filling.kept], filling.scores[: filling.kept]
        summary = summarise(rows)
        silent = self._silent(summary)
        if silent is not None and silent.all():
            return self._pass_over("silent")
        count(self._counters.drift_blocks, "judged")
        begins = filling.number * self._block_us
        statistics = self._learn(memory, summary, silent, scores)
        tests = tuple(name for name, value in statistics.items() if value >= 1.0)
        self._follow_run(memory, begins, statistics, summary, silent, sorted(scores.tolist())[len(scores) // 2])
        agree = len({FAMILY_OF[name] for name in tests}) >= self._agreement
        return self._decide(judged, position, memory, tests, begins, agree)

    def _pass_over(self, why: str) -> list[Emission]:
        """A block that gives no evidence, for or against."""
        count(self._counters.drift_blocks, why)
        return []

    def _silent(self, summary: np.ndarray) -> np.ndarray | None:
        """[C] bool, channels that give no evidence in a block: stuck, or hardly measured; None where all give some."""
        missing = np.isnan(summary[MEAN])
        some = bool(missing.any())
        if some:
            count(self._counters.drift_blocks, "missing channels")
        normal = self.reference.inputs
        if normal is not None:
            stuck = normal.moves & (summary[SPREAD] == 0.0)
            if stuck.any():
                count(self._counters.drift_blocks, "stuck channels")
                return stuck | missing
        return missing if some else None

    def _learn(
        self, memory: DriftMemory, summary: np.ndarray, silent: np.ndarray | None, scores: np.ndarray
    ) -> dict[str, float]:
        """Move every test on by a block: test -> statistic, 1.0 where it speaks."""
        reference, found = self.reference, {}
        if reference.scores is not None:
            value = reference.scores.standardise(float(log_scores(scores).mean()))
            most = MOST_SUM * reference.score_level
            memory.sums = page_hinkley(memory.sums, value, most)
            found["adwin"] = float(self._adwin(memory, value))
            found["page-hinkley"] = max(memory.sums) / reference.score_level
        if reference.inputs is not None:
            usable = summary if silent is None else np.nan_to_num(summary)
            memory.inputs = reference.inputs.step(memory.inputs, usable, silent)
            machine, channel = reference.inputs.statistics(memory.inputs)
            found["inputs"] = machine / reference.inputs_level
            found["channel"] = channel / reference.channel_level
        embeddings = memory.filling.embeddings
        if reference.embedding is not None and embeddings is not None:
            away = reference.embedding.discrepancy(thinned(embeddings[: memory.filling.kept]))
            memory.discrepancy += reference.decay * (away - memory.discrepancy)
            span = reference.embedding_level - reference.embedding_center
            found["embedding"] = (memory.discrepancy - reference.embedding_center) / span
        return found

    def _adwin(self, memory: DriftMemory, value: float) -> bool:
        normal = self.reference.scores
        assert normal is not None
        if memory.adwin is None:
            memory.adwin = new_adwin(normal, np.array(memory.values))
        changed = memory.adwin.update(value)
        memory.values.append(value)
        away = abs(adwin_mean(memory.adwin)) >= ADWIN_LEAST_MOVE
        memory.shifted = away and (memory.shifted or bool(changed))
        if len(memory.values) > ADWIN_MOST:
            # What ADWIN holds must follow from what a snapshot holds.
            memory.values = memory.values[-ADWIN_MOST // 2 :]
            memory.adwin = None
        return memory.shifted

    def _follow_run(
        self,
        memory: DriftMemory,
        begins: int,
        statistics: Mapping[str, float],
        summary: np.ndarray,
        silent: np.ndarray | None,
        score: float,
    ) -> None:
        """The run of blocks that look different, from the first that does on: where a drift would begin."""
        near = {FAMILY_OF[name] for name, value in statistics.items() if value >= NEAR}
        if memory.open is None and len(near) < self._agreement:
            memory.run = None
            return
        run = memory.run
        if run is None:
            shape = summary.shape
            run = memory.run = Run(begins, memory.filling.first_offset, np.zeros(shape), np.zeros(shape[1]))
        run.sums += summary if silent is None else np.where(silent, 0.0, summary)
        run.counts += 1.0 if silent is None else ~silent
        run.blocks += 1
        run.score += score

    def _decide(
        self,
        judged: Judged,
        position: int,
        memory: DriftMemory,
        tests: tuple[str, ...],
        begins: int,
        agree: bool,
    ) -> list[Emission]:
        """Start or end a drift once the families have agreed, or no longer do, for the dwell."""
        ends = begins + self._block_us
        if agree:
            memory.apart_since = None
            memory.agree_since = begins if memory.agree_since is None else memory.agree_since
            if memory.open is not None or ends - memory.agree_since < self._dwell_us:
                return []
            return self._start(judged, position, memory, tests)
        memory.agree_since = None
        if memory.open is None:
            return []
        memory.apart_since = begins if memory.apart_since is None else memory.apart_since
        return self._end(judged, position, memory) if ends - memory.apart_since >= self._dwell_us else []

    def _start(self, judged: Judged, position: int, memory: DriftMemory, tests: tuple[str, ...]) -> list[Emission]:
        run = memory.run
        assert run is not None
        channels = self._moved(memory, run)
        alert_open = is_alert_open(judged, position)
        if alert_open and len(channels) == 1 and self._width > 2:
            # One channel and an alarm: that is an anomaly until somebody says otherwise.
            self._pass_over("anomaly")
            return []
        count(self._counters.drifts, "started")
        memory.open = OpenDrift(self._bundle, run.since, run.first_offset)
        finding = self._finding("started", memory.open, tests, channels, run, alert_open)
        return self._emissions(judged, position, finding)

    def _end(self, judged: Judged, position: int, memory: DriftMemory) -> list[Emission]:
        told, run = memory.open, memory.run
        assert told is not None
        count(self._counters.drifts, "ended")
        memory.open = memory.run = memory.apart_since = None
        finding = self._finding("ended", told, (), (), run, is_alert_open(judged, position))
        return self._emissions(judged, position, finding)

    def _finding(
        self,
        event: Literal["started", "ended"],
        told: OpenDrift,
        tests: tuple[str, ...],
        channels: tuple[MovedChannel, ...],
        run: Run | None,
        alert_open: bool,
    ) -> DriftFinding:
        before = self.reference.score_before
        after = run.score / run.blocks if run is not None and run.blocks else before
        return DriftFinding(
            event, told.bundle, told.since, tests, channels, before, after, told.first_offset, alert_open
        )

    def _emissions(self, judged: Judged, position: int, finding: DriftFinding) -> list[Emission]:
        offset = int(judged.due.offsets[position])
        return [Emission(offset, output) for output in self._report(judged, position, finding)]

    def _moved(self, memory: DriftMemory, run: Run) -> tuple[MovedChannel, ...]:
        """Channels that moved since the run began, the largest effect first."""
        normal = self.reference.inputs
        if normal is None:
            return ()
        distances = normal.distances(memory.inputs)
        after = np.where(run.counts > 0, run.sums / np.maximum(run.counts, 1.0), normal.center)
        effects = (after - normal.center) / normal.sigma
        far = (distances >= MOVED_ERRORS) & (np.abs(effects) >= MOVED_SIGMA)
        best = np.where(far, np.abs(effects), -1.0).argmax(axis=0)
        channels = np.flatnonzero(far.any(axis=0)).tolist()
        found = [
            MovedChannel(
                channel,
                STATISTICS[best[channel]],
                float(normal.center[best[channel], channel]),
                float(after[best[channel], channel]),
                float(effects[best[channel], channel]),
            )
            for channel in channels
        ]
        return tuple(sorted(found, key=lambda moved: (-abs(moved.effect), moved.index)))


def is_alert_open(judged: Judged, position: int) -> bool:
    """Whether the rule had an alert open before window `position`, however the windows were grouped."""
    state = judged.memory.slots.get(ALERT)
    is_open = state is not None and state.opened_at is not None
    for step, event in reversed(judged.steps):
        if step < position:
            break
        is_open = event == "cleared"
    return is_open
