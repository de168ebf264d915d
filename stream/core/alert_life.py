"""The life of an alert: opened -> updated -> cleared, one at a time per machine and rule."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Literal

import numpy as np

from wheeltapper.stream.core.policies import AlarmRules

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


@dataclass(slots=True)
class AlertState:
    """The life of one rule's alert on one machine.

    Attributes:
        opened_at: event time (us) of the open alert's opening; None where none is open.
        peak_score, severity: worst of the open alert, or of the run that may open one; severity as last published.
        above_run, below_run: windows in a row above the raise, below the clear level.
        above_since: event time of the first window of `above_run`.
        bundle: id of the bundle that opened the alert: part of its id, also once another bundle has taken over.
    """

    opened_at: int | None = None
    peak_score: float = 0.0
    severity: int = 0
    above_run: int = 0
    below_run: int = 0
    above_since: int = 0
    bundle: str = ""

    @property
    def is_quiet(self) -> bool:
        """True where nothing is open and nothing is about to open."""
        return self.opened_at is None and self.above_run == 0


class AlertLife:
    """Turns scores, one window after the other, into the steps of an alert's life."""

    def __init__(self, policy: AlarmRules) -> None:
        self._clear_ratio = policy.clear_ratio
        self._min_duration = policy.min_duration
        self._clear_duration = policy.clear_duration

    def step(self, state: AlertState, score: float, time: int, level: float) -> EventKind | None:
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
    def end(state: AlertState) -> None:
        """Forget the alert that has been cleared."""
        state.opened_at = None
        state.peak_score = 0.0
        state.severity = 0
        state.above_run = 0
        state.below_run = 0
        state.bundle = ""


def runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """Contiguous stretches of true entries of a [T] array, as (start, stop) with stop exclusive, in order."""
    padded = np.zeros(len(flags) + 2, dtype=np.int8)
    padded[1:-1] = np.asarray(flags) != 0
    edges = np.diff(padded)
    return list(zip(np.flatnonzero(edges == 1).tolist(), np.flatnonzero(edges == -1).tolist(), strict=True))


def alert_spans(scores: np.ndarray, policy: AlarmRules, *, raise_level: float | None = None) -> list[tuple[int, int]]:
    """Alerts that `AlertLife` opens on [T] calibrated scores of one machine at a level that stays, all at once.

    Calibration asks this of many levels; a property test holds it to `AlertLife.step`.

    Args:
        raise_level: None takes the policy's.

    Returns:
        (window that the alert dates from, window behind the last one at or above the clear level) of each alert, in order.
    """
    scores = np.asarray(scores)
    level = policy.raise_level if raise_level is None else raise_level
    quiet = scores < policy.clear_ratio * level
    # Windows with which an open alert clears: the last of `clear_duration` quiet ones.
    clear_after = policy.clear_duration
    clearing = [(start + clear_after - 1, start) for start, stop in runs(quiet) if stop - start >= clear_after]
    cleared_at = np.array([window for window, _ in clearing], dtype=np.int64)
    opens_after = policy.min_duration - 1
    raising = [(start, start + opens_after) for start, stop in runs(scores >= level) if stop - start > opens_after]
    spans: list[tuple[int, int]] = []
    open_until = -1
    for since, opened in raising:
        if opened <= open_until:
            continue
        # A run that began while the last alert was still open cannot be: what is above the raise level clears nothing.
        index = int(np.searchsorted(cleared_at, opened))
        if index == len(clearing):
            loud = np.flatnonzero(~quiet[opened:])
            spans.append((since, opened + int(loud[-1]) + 1))
            break
        open_until, quiet_from = clearing[index]
        spans.append((since, quiet_from))
    return spans
