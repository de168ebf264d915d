"""SPOT: an extreme-value threshold that is learned online per machine."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from wheeltapper.stream.core.policies import AlarmRules
from wheeltapper.stream.core.saved import level, listed, number, score, whole
from wheeltapper.stream.core.tail import fit_tail
from wheeltapper.stream.core.thresholds.asked_level import policy_level
from wheeltapper.stream.core.thresholds.contract import Calibrated, OperatorAction
from wheeltapper.stream.core.thresholds.learner import Learner

# Excesses remembered per machine: enough for the tail, small in a snapshot.
MAX_EXCESSES = 500

# The tail is fitted again when its excesses have grown by this share: costs fall off, the level still follows.
REFIT_GROWTH = 0.05


@dataclass(slots=True)
class SpotState:
    """Streaming peaks over threshold (SPOT; Siffer et al., KDD 2017) of one machine and rule.

    Attributes:
        start: t: scores above it are the tail.
        level: z: the raise level now.
        probability: q: the level is to be exceeded by that share of scores.
        seen, above: scores learned from, and how many of them lay above `start`.
        excesses: the newest excesses over `start`.
        fitted_at: value of `above` at the last fit.
        accepted: by what an operator's `accept` moved all of it.
    """

    start: float
    level: float
    probability: float
    seen: int
    above: int
    excesses: list[float] = field(default_factory=list)
    fitted_at: int = 0
    accepted: float = 1.0


class SpotThreshold(Learner):
    """SPOT for one rule: starts from the bundle's calibration, then learns per machine."""

    def __init__(self, policy: AlarmRules, basis: Calibrated) -> None:
        calibration = basis.calibration_scores
        probability = min(policy.false_alarms_per_day / basis.windows_per_day, policy.spot_tail / 2)
        self._fallback = policy_level(policy, basis)
        start = float(np.quantile(calibration, 1 - policy.spot_tail)) if len(calibration) else self._fallback
        excesses = calibration[calibration > start] - start
        self._first = SpotState(
            start=start,
            level=self._fallback,
            probability=probability,
            seen=len(calibration),
            above=len(excesses),
            excesses=[float(excess) for excess in excesses[-MAX_EXCESSES:]],
        )
        self._refit(self._first)

    def new(self) -> SpotState:
        return replace(self._first, excesses=list(self._first.excesses))

    def adopt(self, memory: SpotState) -> SpotState:
        """See `Threshold.adopt`: another tail share or calibration makes the excesses useless; another rate moves the level."""
        first = self._first
        if not math.isclose(memory.start, first.start * memory.accepted):
            return self.new()
        if memory.probability != first.probability:
            memory.probability = first.probability
            self._refit(memory)
        return memory

    def level(self, memory: SpotState) -> float:
        return memory.level

    def advance(self, memory: SpotState, scores: np.ndarray, times: np.ndarray) -> np.ndarray:
        """See `Threshold.advance`."""
        count = len(scores)
        levels = np.empty(count)
        position = 0
        while position < count:
            # Scores up to `start` only add to the count; the level moves with an excess at most.
            noted = np.flatnonzero((scores[position:] > memory.start) | (scores[position:] >= memory.level))
            stop = position + int(noted[0]) if len(noted) else count
            memory.seen += stop - position
            levels[position : stop + 1] = memory.level
            if stop == count:
                break
            score = float(scores[stop])
            position = stop + 1
            if score >= memory.level:
                return levels[:position]
            self.learn(memory, score)
        return levels

    def pass_quiet(
        self,
        memories: Sequence[SpotState],
        counts: Sequence[int],
        firsts: Sequence[int],
        lasts: Sequence[int],
        peaks: Sequence[float],
    ) -> list[float | None]:
        """See `Threshold.pass_quiet`: scores up to `start` only add to the count."""
        levels: list[float | None] = []
        for memory, count, peak in zip(memories, counts, peaks, strict=True):
            is_quiet = peak <= memory.start and peak < memory.level
            levels.append(memory.level if is_quiet else None)
            memory.seen += count * is_quiet
        return levels

    def learn(self, memory: SpotState, score: float) -> None:
        """One score below the level."""
        memory.seen += 1
        if score <= memory.start:
            return
        memory.above += 1
        memory.excesses.append(score - memory.start)
        if len(memory.excesses) > MAX_EXCESSES:
            del memory.excesses[0]
        if memory.above - memory.fitted_at >= max(1, REFIT_GROWTH * len(memory.excesses)):
            self._refit(memory)

    def command(self, memory: SpotState, action: OperatorAction, recent: float) -> SpotState:
        """See `Threshold.command`: an accepted level stretches all that was learned."""
        if action == "reset":
            return self.new()
        if action == "accept" and recent > memory.level:
            factor = recent / memory.level
            memory.accepted *= factor
            memory.start, memory.level = memory.start * factor, recent
            memory.excesses = [excess * factor for excess in memory.excesses]
        return memory

    def reason(self, memory: SpotState) -> str:
        """See `Threshold.reason`."""
        return "" if memory.accepted == 1 else f"accepted as normal: level x {memory.accepted:.2g}"

    def dump(self, memory: SpotState) -> Any:
        return asdict(memory)

    def load(self, saved: Any) -> SpotState:
        return SpotState(
            start=score(saved["start"]),
            level=level(saved["level"]),
            probability=number(saved["probability"], 0.0, 1.0),
            seen=whole(saved["seen"]),
            above=whole(saved["above"]),
            excesses=listed(score, saved.get("excesses", []), MAX_EXCESSES),
            fitted_at=whole(saved.get("fitted_at", 0)),
            accepted=level(saved.get("accepted", 1.0)),
        )

    def _refit(self, state: SpotState) -> None:
        """Fit the tail and set the level.

        Scores above the level open alerts and are not learned from, so the tail looks cut off there. Fitted as it looks,
        it would come out shorter every time, and the level would sink: to six times the false alarms asked for, in
        200,000 scores. Therefore as many scores as are expected above the level count as excesses, by their expected
        value: as far above it as the mean excess lies above `start`, as for an exponential tail.
        """
        state.fitted_at = state.above
        excesses = np.array(state.excesses)
        learned = state.seen - self._first.seen
        share = (state.above + state.probability * learned) / max(state.seen, 1)
        if learned and len(excesses):
            behind = min(learned, len(excesses) * state.seen / state.above)  # scores that the kept excesses stand for
            unseen = min(round(state.probability * behind), len(excesses))
            excesses = np.append(excesses, np.full(unseen, state.level - state.start + excesses.mean()))
        tail = fit_tail(excesses)
        if tail is None:
            state.level = self._fallback * state.accepted
            return
        # Above `start` itself: where a detector often gives exactly that score (0, mostly), it is no reason for an alert.
        lowest = math.nextafter(state.start, math.inf)
        state.level = max(lowest, tail.level(state.start, share, state.probability))
