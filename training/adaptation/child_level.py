"""The alarm level of a child, from few recent windows and from the many that an earlier level was chosen from.

Half a day of recent windows shows where scores lie now, and how widely they spread; it shows nothing of the tail: a level that is
chosen from them alone is half again the largest of them, or an extrapolation from a dozen peaks. The tail's shape is what the
calibration of weeks knows. So the level keeps its distance from the center, in units of the spread:

    level = center now + (known level - known center) * spread now / known spread

Center is the median; spread is the upper quartile above it. Both stay near what was known where the recent windows are few: windows that share rows
count once. The level lies between what was known and what the recent windows ask for by themselves, and they raise no more alarms
at it than the asked rate makes likely.

A graph by which the ordinary recent window lies above the known level has not learnt the regime: no tail is carried over then.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from wheeltapper.schemas.bundle import Bundle
from wheeltapper.schemas.bundle.manifest import Calibration
from wheeltapper.stream.core.calibration import calibrate
from wheeltapper.training.adaptation.child import Draft
from wheeltapper.training.adaptation.gate_alarms import allowed_alarms, quiet_level
from wheeltapper.training.adaptation.gate_terms import GatePolicy
from wheeltapper.training.fitting.calibration import CalibrationScores, alarm_level

# Recent scores that lie further above the known ones contradict their level.
MOST_LIFT = 1.5

UPPER = 0.75
"""Quantile that says how widely ordinary scores spread: faults in a quarter of few windows do not move it."""

ORDINARY = 0.9
"""Quantile at which recent scores are compared with the known ones."""

PRIOR_WINDOWS = 2.0
"""As many independent windows as the known center and spread count for."""

LOWERED = "lowered"
"""`method` of a calibration whose level was lowered because it told too little."""

MOVED_TAIL = "moved-tail"
"""`method` of a calibration whose tail was known and whose center and spread are those of recent windows."""


def level_of(parent: Bundle, recent: CalibrationScores, false_alarms_per_day: float) -> Calibration:
    """An alarm level for a graph that gives recent rows scores on the parent's scale; never below the parent's."""
    manifest = parent.manifest
    if is_foreign(manifest.calibration, recent):
        return alarm_level(recent, false_alarms_per_day)
    return raised_level(
        manifest.calibration, parent.calibration_scores(), recent, manifest.window, false_alarms_per_day
    )


def is_foreign(known: Calibration, recent: CalibrationScores) -> bool:
    """Whether an ordinary recent score would be an alarm: the graph does not know this regime, and no known tail belongs to it."""
    return bool(np.median(recent.score) >= known.alarm_level)


def raised_level(
    known: Calibration, known_scores: np.ndarray, recent: CalibrationScores, window: int, false_alarms_per_day: float
) -> Calibration:
    """The known level where recent scores do not contradict it, else a higher one.

    Args:
        known: chosen from many windows; known_scores: [n] raw scores of such windows, in any order.
        recent: raw scores on the same scale.
        window: rows.
    """
    own = alarm_level(recent, false_alarms_per_day)
    if own.alarm_level <= known.alarm_level:
        return known
    higher = own.alarm_level - known.center > MOST_LIFT * (known.alarm_level - known.center)
    if not higher and not _is_louder(known, known_scores, recent.score):
        return known
    level, method, windows = own.alarm_level, own.method, len(recent.score)
    # Rows long enough to have shown what is asked have nothing to borrow.
    if own.method == "maximum" or recent.days * false_alarms_per_day < 1:
        shown = _quiet(known, recent, false_alarms_per_day)
        moved = max(_moved(known, known_scores, recent, window), shown, known.alarm_level)
        if moved < level:
            level, method, windows = moved, MOVED_TAIL, known.windows + windows
    # Every score below the center is 0. A median of hours in a busy mode would make the calm one, and faults in it, all alike.
    return Calibration(
        center=min(known.center, own.center),
        alarm_level=level,
        false_alarms_per_day=false_alarms_per_day,
        windows=windows,
        method=method,
    )


def _moved(known: Calibration, known_scores: np.ndarray, recent: CalibrationScores, window: int) -> float:
    """The known tail behind the center and the spread of recent scores."""
    length_us = window / recent.stride * recent.interval_s * 1e6
    witnesses = len(np.unique(recent.time // max(1, round(length_us))))
    trust = witnesses / (witnesses + PRIOR_WINDOWS)
    center, spread = _center_and_spread(known_scores)
    center_now, spread_now = _center_and_spread(recent.score)
    ratio = math.exp(trust * math.log(spread_now / spread)) if spread > 0 and spread_now > 0 else 1.0
    return center + trust * (center_now - center) + (known.alarm_level - center) * ratio


def _center_and_spread(scores: np.ndarray) -> tuple[float, float]:
    center, upper = np.quantile(scores, (0.5, UPPER))
    return float(center), float(upper - center)


def _quiet(known: Calibration, recent: CalibrationScores, false_alarms_per_day: float) -> float:
    """The lowest raw level at which recent scores raise no more alarms than are likely, and none that stands."""
    scores = calibrate(recent.score, known.center, known.alarm_level)
    lowest = quiet_level(scores, allowed_alarms(false_alarms_per_day * recent.days), GatePolicy(false_alarms_per_day))
    return known.center + lowest * (known.alarm_level - known.center)


def _is_louder(known: Calibration, known_scores: np.ndarray, recent: np.ndarray) -> bool:
    """Whether ordinary recent scores lie above those that the known level was chosen from."""
    before, now = (calibrate(scores, known.center, known.alarm_level) for scores in (known_scores, recent))
    return bool(np.quantile(now, ORDINARY) > MOST_LIFT * np.quantile(before, ORDINARY) + 0.05)


def at_level(draft: Draft, level: float) -> Draft:
    """A child with another alarm level.

    Args:
        level: calibrated, by the level that it has.
    """
    known = draft.calibration
    raw = known.center + level * (known.alarm_level - known.center)
    return replace(draft, calibration=known.model_copy(update={"alarm_level": raw, "method": LOWERED}))
