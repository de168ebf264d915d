"""Whether an alarm level is so high that a bundle is quiet for being deaf, and the level at which it is not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wheeltapper.training.adaptation.gate_alarms import allowed_alarms, quiet_level
from wheeltapper.training.adaptation.gate_terms import GatePolicy, GateScores

DAY_S = 86_400.0

LEAST_TOLD = 0.6
"""Of what a bundle tells at a level as quiet as asked, its own alarm level must tell that share."""

LOWERED_TELLS = 0.8
"""A level that is lowered tells that share: between the two there is room for what other windows show."""

FAR_BELOW = 0.04
"""A level as quiet as asked that lies so far below the alarm level shows that the alarm level is no matter of a longer calibration."""


@dataclass(frozen=True, slots=True)
class Told:
    """Shares of the disturbed windows that a bundle tells.

    Attributes:
        quiet: the level that makes it as quiet as asked on the held-out windows; calibrated, 1 is its own. Its own comes from more
            windows, and may well be some times as high.
        own, reachable: told at its own level, and at `quiet`.
    """

    quiet: float
    own: float
    reachable: float

    def is_deaf(self, policy: GatePolicy) -> bool:
        """Whether its own level is too high."""
        far_above = self.quiet < FAR_BELOW and self.own < self.reachable - policy.max_loss
        return far_above or self.own < LEAST_TOLD * self.reachable


def told_by(scores: GateScores, policy: GatePolicy) -> Told:
    quiet = quiet_level(scores.recent, allowed(scores, policy), policy)
    return Told(quiet, _share(scores, 1.0), _share(scores, quiet))


def allowed(scores: GateScores, policy: GatePolicy) -> int:
    """Alarms on the held-out recent windows."""
    return allowed_alarms(policy.false_alarms_per_day * len(scores.recent) * scores.interval_s / DAY_S)


def lower_level(scores: GateScores, policy: GatePolicy) -> float | None:
    """The highest level at which a bundle tells LOWERED_TELLS of what it could, calibrated by its own; never less than as quiet as
    asked on the held-out windows. None where its own is not too high.
    """
    told = told_by(scores, policy)
    if not told.is_deaf(policy) or not told.quiet < 1:
        return None
    levels = np.unique(np.concatenate([*scores.faults.values()]))
    levels = levels[(levels > told.quiet) & (levels < 1)]
    for level in levels[::-1].tolist():
        lowered = Told(told.quiet / level, _share(scores, level), told.reachable)
        if lowered.own >= LOWERED_TELLS * told.reachable and not lowered.is_deaf(policy):
            return float(level)
    return told.quiet


def _share(scores: GateScores, level: float) -> float:
    return float(np.mean([np.mean(each >= level) for each in scores.faults.values()]))
