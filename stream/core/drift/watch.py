"""The judge that notices drift: block after block of event time, families of evidence, agreement that lasts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from wheeltapper.stream.core.alert_judge import ALERT
from wheeltapper.stream.core.counters import Counters, count
from wheeltapper.stream.core.drift.blocks import (
    LEAST_ROWS,
    MAX_ROWS,
    MEAN,
    SPREAD,
    STATISTICS,
    row_step,
    summarise,
)
from wheeltapper.stream.core.drift.evidence import agree, are_near, learn, moved_on, size
from wheeltapper.stream.core.drift.finding import DriftFinding, DriftReport, MovedChannel
from wheeltapper.stream.core.drift.memory import (
    DriftMemory,
    DriftSlot,
    OpenDrift,
    Run,
    Settled,
    new_filling,
)
from wheeltapper.stream.core.drift.reference import DriftReference, drift_reference
from wheeltapper.stream.core.judging import Emission, Judged, JudgedTogether, RuleMemory, Slot
from wheeltapper.stream.core.policies import DriftRules
from wheeltapper.stream.core.rule import RuleSpec
from wheeltapper.stream.core.scoring import ScoredWindows

if TYPE_CHECKING:
    from wheeltapper.schemas.commands import AlarmAction
    from wheeltapper.stream.core.alert_life import AlertState

DRIFT = "drift"
MOVED_ERRORS = 3.0
MOVED_SIGMA = 0.2
"""A channel has moved when a statistic is so many standard errors and so many standard deviations of its rows away."""
SETTLES_US = 36 * 3_600_000_000
"""After so long under an open drift what is smoothed has followed the machine."""
MOVED_ON = 1.5
"""A run that was long so far from normal, and is so many times as far now, is of two states: it begins anew."""
ACCEPTED_US = 3 * 86_400_000_000
"""So long after an operator's accept no drift is told: an adaptation is under way."""
FEWEST_WINDOWS, MOST_WINDOWS = 0.5, 1.5
"""Of the windows that a block should have: outside of that the rate has changed, or rows are missing."""


class DriftWatch:
    """One rule's drift. Stands behind the alert judge, whose alerts it asks for."""

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

    def command(self, memory: RuleMemory, action: AlarmAction, time: int) -> list[AlertState]:
        """What an operator said, see `Commanded`: what is accepted as the new normal is no drift.

        An open drift ends with the next window, and none starts for `ACCEPTED_US`, which is the time that an adaptation has:
        another bundle begins anew; without one the drift is told again. An accept that meets neither an alert, nor a drift, nor
        evidence of one starts no adaptation, and changes nothing.
        """
        known: DriftMemory = memory.slots[DRIFT]
        alert: AlertState | None = memory.slots.get(ALERT)
        stands = alert is not None and alert.opened_at is not None
        if action == "accept" and (stands or known.open is not None or known.agree_since is not None):
            known.accepted_at, known.agree_since = time, None
            if known.open is not None:
                known.open.superseded = True
        return []

    def see_together(self, judged: JudgedTogether) -> Iterator[tuple[int, Sequence[Emission]]]:
        """See `SeesTogether`: windows within the block that is filling are counted, and those that are kept of it filed."""
        block_us, step, edges = self._block_us, self._step, judged.edges
        in_maintenance = judged.has_maintenance
        for place, (slots, first, last, windows) in enumerate(
            zip(judged.slots, judged.first_times, judged.last_times, judged.counts, strict=True)
        ):
            memory: DriftMemory = slots[DRIFT]
            filling = memory.filling
            if (
                filling.number != last // block_us
                or filling.number != first // block_us
                or (memory.open is not None and memory.open.superseded)
                or (in_maintenance and judged.maintenance(place) is not None)
            ):
                emissions = self.see(judged.one(place))
                if emissions:
                    yield place, emissions
                continue
            kept = -filling.windows % step
            filling.windows += windows
            if kept < windows and filling.kept < MAX_ROWS:
                picked = slice(edges[place] + kept, edges[place + 1], step)
                embedding = self._embedding(judged.scored, judged.base, picked)
                filling.keep(judged.actual[picked], judged.score[picked], embedding)

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
                        memory.run = memory.agree_since = memory.apart_since = memory.moved_since = None
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
        if first < stop:
            picked = slice(first, stop, self._step)
            embedding = self._embedding(judged.scored, judged.start, picked)
            filling.keep(judged.due.actual[picked], judged.score[picked], embedding)

    def _embedding(self, scored: ScoredWindows, base: int, picked: slice) -> np.ndarray | None:
        """Of picked windows, counted from `base` on among those scored; None where they are not judged."""
        if self.reference.embedding is None:
            return None
        assert scored.embedding is not None
        found: np.ndarray = scored.embedding[base + picked.start : base + picked.stop : picked.step]
        return found

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
        statistics = learn(self.reference, memory, summary, silent, scores)
        settled = None if memory.open is None else memory.open.settled
        # Under an open drift that has settled, what is looked for is a change of that state.
        told = statistics if settled is None else moved_on(self.reference, memory, statistics, settled)
        complete = silent is None
        agrees = agree(statistics, self._agreement, complete=complete)
        moves = agrees if settled is None else agree(told, self._agreement, complete=complete)
        if self._is_in_run(memory, begins, told, moves):
            self._add_to_run(memory, begins, summary, silent, sorted(scores.tolist())[len(scores) // 2])
        else:
            memory.run = None
        if agrees:
            return self._agree(judged, position, memory, begins, told, moves)
        return self._disagree(judged, position, memory, begins)

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

    def _is_in_run(self, memory: DriftMemory, begins: int, told: Mapping[str, float], moves: bool) -> bool:
        """Whether a block belongs to the run of blocks that look different: a drift begins where its run does."""
        if memory.open is not None and memory.open.settled is None:
            return True
        run = memory.run
        if run is not None:
            now = size(told)
            if begins - run.since < SETTLES_US:
                run.size = max(run.size, now)
            elif now >= MOVED_ON * run.size:
                memory.run = None  # what was a little different has changed: the drift begins here
        return moves or are_near(told, self._agreement)

    def _add_to_run(
        self, memory: DriftMemory, begins: int, summary: np.ndarray, silent: np.ndarray | None, score: float
    ) -> None:
        run = memory.run
        if run is None:
            shape = summary.shape
            run = memory.run = Run(begins, memory.filling.first_offset, np.zeros(shape), np.zeros(shape[1]))
        run.sums += summary if silent is None else np.where(silent, 0.0, summary)
        run.counts += 1.0 if silent is None else ~silent
        run.blocks += 1
        run.score += score

    def _agree(
        self, judged: Judged, position: int, memory: DriftMemory, begins: int, told: Mapping[str, float], moves: bool
    ) -> list[Emission]:
        """Start a drift once the families have agreed for the dwell, or, where one is open, that the machine has left its state.

        Args:
            told: statistics by which a drift would be told now. moves: they agree.
        """
        ends, drift = begins + self._block_us, memory.open
        memory.apart_since = None
        memory.agree_since = begins if memory.agree_since is None else memory.agree_since
        if drift is None:
            accepted = memory.accepted_at is not None and ends - memory.accepted_at < ACCEPTED_US
            if accepted or ends - memory.agree_since < self._dwell_us:
                return []
            channels = self._tellable(judged, position, memory)
            return [] if channels is None else self._start(judged, position, memory, told, channels, ends)
        if drift.settled is None:
            if ends - drift.told_at >= SETTLES_US:
                drift.settled = Settled(memory.inputs.copy(), memory.shift, memory.discrepancy, size(told))
                memory.run = None
            return []
        if not moves:
            memory.moved_since = None
            return []
        memory.moved_since = begins if memory.moved_since is None else memory.moved_since
        if ends - memory.moved_since < self._dwell_us:
            return []
        run, channels = memory.run, self._tellable(judged, position, memory)
        if channels is None:
            return []
        emissions = self._end(judged, position, memory)
        memory.run = run
        return [*emissions, *self._start(judged, position, memory, told, channels, ends)]

    def _disagree(self, judged: Judged, position: int, memory: DriftMemory, begins: int) -> list[Emission]:
        """End a drift once the families have not agreed for the dwell."""
        memory.agree_since = memory.moved_since = None
        if memory.open is None:
            return []
        memory.apart_since = begins if memory.apart_since is None else memory.apart_since
        ends = begins + self._block_us
        return self._end(judged, position, memory) if ends - memory.apart_since >= self._dwell_us else []

    def _tellable(self, judged: Judged, position: int, memory: DriftMemory) -> tuple[MovedChannel, ...] | None:
        """The channels that moved; None where that is no drift to tell of."""
        assert memory.run is not None
        channels = self._moved(memory, memory.run)
        if not channels and self.reference.inputs is not None:
            # Scores wander by themselves; there is nothing to look at, and nothing to adapt to.
            self._pass_over("no channel")
            return None
        if len(channels) == 1 and self._width > 2 and is_alert_open(judged, position):
            # One channel and an alarm: that is an anomaly until somebody says otherwise.
            self._pass_over("anomaly")
            return None
        return channels

    def _start(
        self,
        judged: Judged,
        position: int,
        memory: DriftMemory,
        told: Mapping[str, float],
        channels: tuple[MovedChannel, ...],
        ends: int,
    ) -> list[Emission]:
        run = memory.run
        assert run is not None
        count(self._counters.drifts, "started")
        memory.open = OpenDrift(self._bundle, run.since, run.first_offset, told_at=ends)
        tests = tuple(name for name, value in told.items() if value >= 1.0)
        finding = self._finding("started", memory.open, tests, channels, run, is_alert_open(judged, position))
        return self._emissions(judged, position, finding)

    def _end(self, judged: Judged, position: int, memory: DriftMemory) -> list[Emission]:
        told, run = memory.open, memory.run
        assert told is not None
        count(self._counters.drifts, "ended")
        memory.open = memory.run = memory.agree_since = memory.apart_since = memory.moved_since = None
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
