"""The life of an alert: opened -> updated -> cleared, one at a time per machine and rule."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Literal

from wheeltapper.stream.core.thresholds.spot import SpotState
from wheeltapper.stream.settings import ThresholdSettings

# Any fixed UUID serves as the name space; the ids must only be the same everywhere.
ALERT_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:wheeltapper:alert")

# An open alert speaks again when its severity has risen by that much: news, not noise.
SEVERITY_STEP = 10

EventKind = Literal["opened", "updated", "cleared"]


def alert_id(machine: str, rule: str, bundle: str, opened_at: int) -> str:
    """UUIDv5 of what makes the alert this one, so that the same input gives the same id."""
    return str(uuid.uuid5(ALERT_NAMESPACE, f"{machine}\x1f{rule}\x1f{bundle}\x1f{opened_at}"))


def severity_of(score: float) -> int:
    """Calibrated score to 0..100: 0 -> 0, 1.0 (alarm level) -> 50, 3 -> 75, 9 -> 90."""
    return min(100, round(100 * score / (1 + score)))


@dataclass(frozen=True, slots=True)
class Question:
    """The least certain window of a stretch of time, waiting for the stretch to end.

    Attributes:
        stretch: number of the stretch.
        distance: of its score from the raise level, as a share of the level.
        message: the LabelRequest, as JSON.
    """

    stretch: int
    distance: float
    message: str


@dataclass(slots=True)
class RuleState:
    """What one rule remembers of one machine.

    Attributes:
        opened_at: event time (us) of the open alert's opening; None where none is open.
        peak_score, severity: worst of the open alert, or of the run that may open one; severity as last published.
        above_run, below_run: windows in a row above the raise, below the clear level.
        above_since: event time of the first window of `above_run`.
        spot: the learned threshold, where the method is SPOT.
        question: what a person may be asked, where label requests are wanted.
    """

    opened_at: int | None = None
    peak_score: float = 0.0
    severity: int = 0
    above_run: int = 0
    below_run: int = 0
    above_since: int = 0
    spot: SpotState | None = None
    question: Question | None = None

    @property
    def is_quiet(self) -> bool:
        """True where nothing is open and nothing is about to open."""
        return self.opened_at is None and self.above_run == 0


class AlertLifecycle:
    """Turns scores, one window after the other, into the steps of an alert's life."""

    def __init__(self, settings: ThresholdSettings) -> None:
        self._clear_ratio = settings.clear_ratio
        self._min_duration = settings.min_duration
        self._clear_duration = settings.clear_duration

    def step(self, state: RuleState, score: float, time: int, level: float) -> EventKind | None:
        """One window's calibrated score at event time `time` (us) against the raise level; what happened, if anything.

        After 'cleared', `state` still tells of the alert that ended until `end` is called.
        """
        if score >= level:
            if state.above_run == 0:
                state.above_since = time
            state.above_run += 1
        else:
            state.above_run = 0
        if state.opened_at is None:
            if state.above_run == 0:
                return None
            # The alert dates from the first window of the run, so its worst score counts from there too.
            state.peak_score = score if state.above_run == 1 else max(state.peak_score, score)
            if state.above_run < self._min_duration:
                return None
            state.opened_at = state.above_since
            state.severity = severity_of(state.peak_score)
            state.below_run = 0
            return "opened"
        state.peak_score = max(state.peak_score, score)
        state.below_run = state.below_run + 1 if score < self._clear_ratio * level else 0
        if state.below_run >= self._clear_duration:
            return "cleared"
        severity = severity_of(state.peak_score)
        if severity >= state.severity + SEVERITY_STEP or (severity == 100 > state.severity):
            state.severity = severity
            return "updated"
        return None

    @staticmethod
    def end(state: RuleState) -> None:
        """Forget the alert that has been cleared."""
        state.opened_at = None
        state.peak_score = 0.0
        state.severity = 0
        state.above_run = 0
        state.below_run = 0
