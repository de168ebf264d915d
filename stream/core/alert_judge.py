"""The judge that opens and clears alerts: threshold and alert life, window after window."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Protocol

import numpy as np

from wheeltapper.stream.core.alert_life import AlertLife, AlertState, EventKind
from wheeltapper.stream.core.counters import Counters, count
from wheeltapper.stream.core.judging import Emission, Judged, Slot
from wheeltapper.stream.core.policies import AlarmRules
from wheeltapper.stream.core.rule import RuleSpec
from wheeltapper.stream.core.thresholds import Threshold, make_threshold

ALERT = "alert"
THRESHOLD = "threshold"


class AlertReport(Protocol):
    """Turns a step of an alert's life into outputs."""

    def __call__(
        self, judged: Judged, position: int, state: AlertState, event: EventKind, level: float
    ) -> Iterable[Any]:
        """
        Args:
            position: of the window among the judged ones.
            level: raise level in force there.
        """
        ...


class AlertSlot:
    """An alert's life in a snapshot."""

    def new(self) -> AlertState:
        return AlertState()

    def adopt(self, memory: AlertState) -> AlertState:
        return memory

    def dump(self, memory: AlertState) -> Any:
        return asdict(memory)

    def load(self, saved: Any) -> AlertState:
        return AlertState(**saved)


class AlertJudge:
    """One rule's alerts. Comes first among the judges: it says which raise level was in force."""

    keeps_rows = False

    def __init__(self, rule: RuleSpec, policy: AlarmRules, report: AlertReport, counters: Counters) -> None:
        self._bundle_id = rule.manifest.bundle_id
        self._life = AlertLife(policy)
        self._report = report
        self._counters = counters
        calibration = np.empty(0) if policy.method == "fixed" else rule.calibration_scores
        self.threshold: Threshold[Any] = make_threshold(policy, calibration, rule.windows_per_day)
        self.slots: Mapping[str, Slot[Any]] = {ALERT: AlertSlot(), THRESHOLD: self.threshold}

    def see(self, judged: Judged) -> Sequence[Emission]:
        """See `Judge.see`; also fills `judged.levels`."""
        slots, threshold = judged.memory.slots, self.threshold
        state: AlertState = slots[ALERT]
        learned = slots[THRESHOLD]
        score = judged.score
        if state.is_quiet:
            # Most machines are quiet most of the time: that is all there is to do for them.
            judged.levels = levels = threshold.advance(learned, score, judged.peak)
            seen = len(levels)
            if seen == len(score) and score[-1] < levels[-1]:
                return ()
            levels = np.empty(len(score))
            levels[:seen] = judged.levels
            position = seen - 1  # this one reaches its level
        else:
            levels, position = np.empty(len(score)), 0
            levels[0] = threshold.level(learned)
        judged.levels = levels
        return self._follow(judged, state, learned, position)

    def _follow(self, judged: Judged, state: AlertState, learned: Any, position: int) -> list[Emission]:
        """Window by window from one that is loud, or belongs to an alert, at `position`; its level is known."""
        threshold, life, levels = self.threshold, self._life, judged.levels
        scores, times, offsets = judged.score, judged.due.times.tolist(), judged.due.offsets.tolist()
        values = scores.tolist()
        emissions: list[Emission] = []
        while position < len(values):
            level = float(levels[position])
            event = life.step(state, values[position], times[position], level)
            if event == "opened":
                state.bundle = self._bundle_id
            if event is not None:
                count(self._counters.alerts, event)
                judged.steps = (*judged.steps, (position, event))
                outputs = self._report(judged, position, state, event, level)
                emissions += [Emission(offsets[position], output) for output in outputs]
                if event == "cleared":
                    life.end(state)
            elif state.is_quiet:
                # It ended a run too short for an alert, and is itself ordinary.
                threshold.advance(learned, scores[position : position + 1])
            position += 1
            if position == len(values):
                break
            if state.is_quiet:
                part = threshold.advance(learned, scores[position:])
                levels[position : position + len(part)] = part
                position += len(part)
                if scores[position - 1] < part[-1]:
                    break
                position -= 1
            else:
                levels[position] = threshold.level(learned)
        return emissions
