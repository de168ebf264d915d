"""Scores: ADWIN (Bifet and Gavalda, SDM 2007), Page-Hinkley (Page, Biometrika 1954) and a smoothed shift of the blocks' mean log scores.

All see the same stream, in standard deviations of normal blocks. Page-Hinkley takes its mean from the normal blocks, so it
speaks as long as the change lasts. The shift is an exponentially weighted mean (Roberts, Technometrics 1959): unlike the sums, it says
how large the change is. ADWIN is river's; river's own class would bring pandas and scikit-learn into the worker's memory
(2.6 s, 150 MB), so its compiled core is taken by itself (1 ms, 1 MB), when the first block ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

CLIP = 6.0
"""In standard deviations: no single block pulls harder."""
WIDE_CLIP = 12.0
"""The same for the smoothed shift: how far out the scores stand is what it measures."""
SLACK = 0.5
"""Page-Hinkley's delta: changes of the mean by less are none."""
MOST_SUM = 2.0
"""In levels: Page-Hinkley's sum grows no further, so that it finds back within a known time."""
ADWIN_DELTAS = (0.05, 0.01, 2e-3, 4e-4, 1e-4, 1e-5, 1e-6, 1e-8, 1e-12)
ADWIN_LEAST_MOVE = 0.5
"""What ADWIN found must differ from normal by so many standard deviations of normal blocks."""
ADWIN_NORMAL = 128
"""Normal blocks that ADWIN's window begins with."""
ADWIN_MOST = 256
"""Blocks of the stream after which ADWIN starts again from the newer half: what it remembers is a function of so many."""


@dataclass(frozen=True)
class ScoreNormal:
    """What normal blocks score.

    Attributes:
        center, width: of the blocks' mean log scores.
        past: [n] the last normal blocks, standardised, at most `ADWIN_NORMAL`.
        delta: ADWIN's.
    """

    center: float
    width: float
    past: np.ndarray
    delta: float = ADWIN_DELTAS[2]

    def standardise(self, value: float) -> float:
        """One block's mean log score in standard deviations of normal blocks, clipped."""
        return min(CLIP, max(-CLIP, (value - self.center) / self.width))

    def standardise_widely(self, value: float) -> float:
        """The same, clipped at `WIDE_CLIP`."""
        return min(WIDE_CLIP, max(-WIDE_CLIP, (value - self.center) / self.width))


def score_normal(values: np.ndarray, delta: float = ADWIN_DELTAS[2]) -> ScoreNormal:
    """Fit on normal blocks' mean log scores [b] in time order."""
    center = float(np.mean(values))
    width = max(float(np.std(values)), 0.05)
    past = np.clip((values - center) / width, -CLIP, CLIP)
    return ScoreNormal(center, width, past[-ADWIN_NORMAL:], delta)


def page_hinkley(sums: tuple[float, float], value: float, most: float) -> tuple[float, float]:
    """The sums (upwards, downwards) after one more standardised block."""
    return min(most, max(0.0, sums[0] + value - SLACK)), min(most, max(0.0, sums[1] - value - SLACK))


def page_hinkley_course(values: np.ndarray) -> np.ndarray:
    """[b]: the larger of both sums after each standardised block."""
    sums, found = (0.0, 0.0), np.empty(len(values))
    for index, value in enumerate(values.tolist()):
        sums = page_hinkley(sums, value, np.inf)
        found[index] = max(sums)
    return found


def shift_course(values: np.ndarray, normal: ScoreNormal, decay: float) -> np.ndarray:
    """[b]: the size of the smoothed shift after each block, from the blocks' mean log scores [b]."""
    smoothed, found = 0.0, np.empty(len(values))
    for index, value in enumerate(values.tolist()):
        smoothed += decay * (normal.standardise_widely(value) - smoothed)
        found[index] = abs(smoothed)
    return found


def new_adwin(normal: ScoreNormal, values: np.ndarray) -> Any:
    """river's ADWIN after the normal blocks and these of the stream."""
    adwin = _adwin(normal.delta)
    for value in normal.past.tolist():
        adwin.update(value)
    for value in values.tolist():
        adwin.update(value)
    return adwin


def adwin_mean(adwin: Any) -> float:
    """Mean of the window that ADWIN has kept."""
    width = adwin.get_width()
    return float(adwin.get_total()) / width if width else 0.0


def adwin_delta(values: np.ndarray, detections: float) -> float:
    """The largest delta at which ADWIN finds at most so many changes in the normal blocks [b]; the least where none does."""
    for delta in ADWIN_DELTAS:
        adwin = _adwin(delta)
        if sum(bool(adwin.update(value)) for value in values.tolist()) <= detections:
            return delta
    return ADWIN_DELTAS[-1]


def _adwin(delta: float) -> Any:
    from river._river_rust.drift import AdaptiveWindowing

    return AdaptiveWindowing(delta=delta, clock=1, max_buckets=5, min_window_length=4, grace_period=8)
