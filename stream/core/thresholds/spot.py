"""When a calibrated score is too high.

Sign: larger scores are stranger; a threshold is the raise level, in calibrated score, where 1.0 is the bundle's alarm
level. A threshold learns only from windows that lie outside of alerts, and only in time order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np

from wheeltapper.stream.core.tail import fit_tail
from wheeltapper.stream.settings import ThresholdSettings

SECONDS_PER_DAY = 86_400.0

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
    """

    start: float
    level: float
    probability: float
    seen: int
    above: int
    excesses: list[float] = field(default_factory=list)
    fitted_at: int = 0


class SpotThreshold:
    """SPOT for one rule: starts from the bundle's calibration, then learns per machine."""

    def __init__(self, settings: ThresholdSettings, calibration: np.ndarray, windows_per_day: float) -> None:
        """
        Args:
            calibration: [n] calibrated scores of held-out normal windows, in time order.
            windows_per_day: scored windows per machine and day.
        """
        probability = min(settings.false_alarms_per_day / windows_per_day, settings.spot_tail / 2)
        self._fallback = settings.raise_level
        start = float(np.quantile(calibration, 1 - settings.spot_tail)) if len(calibration) else settings.raise_level
        excesses = calibration[calibration > start] - start
        self._first = SpotState(
            start=start,
            level=settings.raise_level,
            probability=probability,
            seen=len(calibration),
            above=len(excesses),
            excesses=[float(excess) for excess in excesses[-MAX_EXCESSES:]],
        )
        self._refit(self._first)

    def state_from(self, known: SpotState | None) -> SpotState:
        """What a machine has learned, as far as it fits today's settings; else what every machine starts with.

        Another tail share makes its excesses useless; another rate of false alarms only moves the level.
        """
        first = self._first
        if known is None or not math.isclose(known.start, first.start):
            return replace(first, excesses=list(first.excesses))
        if known.probability != first.probability:
            known.probability = first.probability
            self._refit(known)
        return known

    def learn(self, state: SpotState, score: float) -> None:
        """Take in one score from outside of any alert."""
        if score > state.level:
            return
        state.seen += 1
        if score <= state.start:
            return
        state.above += 1
        state.excesses.append(score - state.start)
        if len(state.excesses) > MAX_EXCESSES:
            del state.excesses[0]
        if state.above - state.fitted_at >= max(1, REFIT_GROWTH * len(state.excesses)):
            self._refit(state)

    def learn_ordinary(self, state: SpotState, count: int) -> None:
        """Take in `count` scores that are known to lie at or below `state.start`."""
        state.seen += count

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
            state.level = self._fallback
            return
        # Above `start` itself: where a detector often gives exactly that score (0, mostly), it is no reason for an alert.
        lowest = math.nextafter(state.start, math.inf)
        state.level = max(lowest, tail.level(state.start, share, state.probability))
