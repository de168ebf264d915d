"""The life of an alert: opened -> updated -> cleared, one at a time per machine and rule."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Literal

import numpy as np

from wheeltapper.stream.core.durations import Durations
from wheeltapper.stream.core.policies import AlarmRules

# Any fixed UUID serves as the name space; the ids must only be the same everywhere.
ALERT_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:wheeltapper:alert")

# An open alert speaks again when its severity has risen by that much: news, not noise.
SEVERITY_STEP = 10
# A cool-down holds back what is not that much more severe than the alert before.
FAR_MORE_SEVERE = 20

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
        above_us, quiet_us: how long the score has been above the raise, below the clear level without a break; 0: it is not.
        above_since: event time of the first window of the run above the raise level.
        seen_at: event time of the last window of a run or an alert.
        bundle: id of the bundle that opened the alert: part of its id, also once another bundle has taken over.
        last: the alert before, while a setting needs it.
    """

    opened_at: int | None = None
    peak_score: float = 0.0
    severity: int = 0
    above_us: int = 0
    quiet_us: int = 0
    above_since: int = 0
    seen_at: int = 0
    bundle: str = ""
    last: EndedAlert | None = None

    @property
    def is_quiet(self) -> bool:
        """True where nothing is open and nothing is about to open."""
        return self.opened_at is None and self.above_us == 0


@dataclass(frozen=True, slots=True)
class EndedAlert:
    """The alert that cleared last: when it opened and cleared (event time, us), its bundle and its worst score."""

    opened_at: int
    cleared_at: int
    bundle: str
    peak_score: float


def is_ahead(state: AlertState, latest: int) -> bool:
    """True where a state tells of event times (us) after `latest`."""
    return max(state.opened_at or state.seen_at, state.above_since, state.seen_at) > latest


class AlertLife:
    """Turns scores, one window after the other, into the steps of an alert's life."""

    def __init__(self, policy: AlarmRules, interval_s: float) -> None:
        """
        Args:
            interval_s: between scored windows.
        """
        self._clear_ratio = policy.clear_ratio
        self._durations = Durations(policy, interval_s)
        self._remembers = self._durations.cool_down > 0 or self._durations.reopen > 0

    def step(self, state: AlertState, score: float, time: int, level: float) -> EventKind | None:
        """One window's calibrated score at event time `time` (us) against the raise level; what happened, if anything.

        After 'cleared', `state` still tells of the alert that ended until `end` is called.
        """
        durations = self._durations
        if score >= level:
            if state.above_us == 0:
                state.above_since = time
                if state.opened_at is None:
                    state.peak_score = score
            state.above_us = durations.grown(state.above_us, state.seen_at, time)
        else:
            state.above_us = 0
        if state.opened_at is None:
            if state.above_us == 0:
                return None
            state.seen_at = time
            # The alert dates from the first window of the run, so its worst score counts from there too.
            state.peak_score = max(state.peak_score, score)
            if state.above_us < durations.minimum or self._cools_down(state, time):
                return None
            self._open(state, time)
            return "opened"
        state.peak_score = max(state.peak_score, score)
        quiet = score < self._clear_ratio * level
        state.quiet_us = durations.grown(state.quiet_us, state.seen_at, time) if quiet else 0
        state.seen_at = time
        if quiet and state.quiet_us >= durations.clear:
            return "cleared"
        severity = severity_of(state.peak_score)
        if severity >= state.severity + SEVERITY_STEP or (severity == 100 > state.severity):
            state.severity = severity
            return "updated"
        return None

    def end(self, state: AlertState, time: int, *, over: bool = False) -> None:
        """Forget the alert that has been cleared at event time `time` (us).

        Args:
            over: nothing takes it up again and nothing waits for it: an operator ended it.
        """
        state.last = None
        if self._remembers and not over and state.opened_at is not None:
            state.last = EndedAlert(state.opened_at, time, state.bundle, state.peak_score)
        state.opened_at = None
        state.peak_score = 0.0
        state.severity = 0
        state.above_us = 0
        state.quiet_us = 0
        state.bundle = ""

    def goes_on(self, state: AlertState) -> bool:
        """True where the alert that has just opened is the last one again; its bundle is in place then."""
        return state.last is not None and state.opened_at == state.last.opened_at

    def _open(self, state: AlertState, time: int) -> None:
        last = state.last
        if last is not None and 0 <= time - last.cleared_at <= self._durations.reopen:
            state.opened_at, state.bundle = last.opened_at, last.bundle
            state.peak_score = max(state.peak_score, last.peak_score)
        else:
            state.opened_at, state.last = state.above_since, None
        state.severity = severity_of(state.peak_score)
        state.quiet_us = 0

    def _cools_down(self, state: AlertState, time: int) -> bool:
        last = state.last
        if last is None or not 0 <= time - last.cleared_at < self._durations.cool_down:
            return False
        return severity_of(state.peak_score) < severity_of(last.peak_score) + FAR_MORE_SEVERE


def runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """Contiguous stretches of true entries of a [T] array, as (start, stop) with stop exclusive, in order."""
    padded = np.zeros(len(flags) + 2, dtype=np.int8)
    padded[1:-1] = np.asarray(flags) != 0
    edges = np.diff(padded)
    return list(zip(np.flatnonzero(edges == 1).tolist(), np.flatnonzero(edges == -1).tolist(), strict=True))


@dataclass(frozen=True)
class SpanRule:
    """How alerts open and clear on scores without times, at a level that stays; calibration's rule.

    Attributes:
        clear_ratio: an open alert clears below this share of the raise level.
        min_windows, clear_windows: windows in a row, above the raise level before an alert opens, below the clear level
            before it clears.
    """

    clear_ratio: float = 0.8
    min_windows: int = 1
    clear_windows: int = 10


def alert_spans(scores: np.ndarray, rule: SpanRule, raise_level: float = 1.0) -> list[tuple[int, int]]:
    """Alerts that `AlertLife` opens on [T] calibrated scores of one machine at a level that stays, all at once.

    Calibration asks this of many levels; a property test holds it to `AlertLife.step` with windows a constant time apart.

    Returns:
        (window that the alert dates from, window behind the last one at or above the clear level) of each alert, in order.
    """
    scores = np.asarray(scores)
    quiet = scores < rule.clear_ratio * raise_level
    # Windows with which an open alert clears: the last of `clear_windows` quiet ones.
    clear_after = rule.clear_windows
    clearing = [(start + clear_after - 1, start) for start, stop in runs(quiet) if stop - start >= clear_after]
    cleared_at = np.array([window for window, _ in clearing], dtype=np.int64)
    opens_after = rule.min_windows - 1
    raising = [
        (start, start + opens_after) for start, stop in runs(scores >= raise_level) if stop - start > opens_after
    ]
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
