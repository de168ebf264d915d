"""Raw scores to calibrated ones: 1.0 is the alarm level of the bundle, for every detector."""

from __future__ import annotations

import numpy as np

LARGEST_SCORE = 1e9
"""Calibrated. Beyond it no threshold makes a difference, and JSON knows no infinity."""


def calibrate(raw: np.ndarray, center: float, alarm_level: float) -> np.ndarray:
    """Raw scores [n] to calibrated ones [n] float64: (raw - center) / (alarm_level - center), from 0 to LARGEST_SCORE.

    A score that is no number becomes 0: it raises nothing.
    """
    scores = (raw.astype(np.float64) - center) / (alarm_level - center)
    bounded: np.ndarray = np.minimum(np.fmax(scores, 0.0), LARGEST_SCORE)
    return bounded
