"""Which level a drift statistic passes how seldom, from its course over blocks of the machine's own normal."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

FOLDS = 3
"""Each part of the normal blocks is judged by the others: a normal that wanders gets a level that bears it."""
LEAST_BLOCKS = 24
"""With fewer there is no level: the test is left out."""
LEAST_SPREAD = 0.05
"""Of the tail, as a share of the largest value: where the normal blocks are few and alike, the next need not be."""


def level(course: np.ndarray, blocks_per_false_drift: float, correlated: int) -> float:
    """The level that a statistic like this one passes once in so many blocks.

    Args:
        course: [n] the statistic after each normal block, out of sample, in time order.
        blocks_per_false_drift: expected blocks between passes.
        correlated: blocks over which the statistic remembers: its largest value of each such stretch is one observation.

    The stretches' largest values are taken to have an exponential tail above their median; where the asked time is longer
    than what was seen, the level is extrapolated from there.
    """
    stretches = max(1, len(course) // correlated)
    peaks = np.array([part.max() for part in np.array_split(course, stretches)])
    median = float(np.median(peaks))
    above = peaks[peaks > median] - median
    largest = float(peaks.max())
    scale = max(float(above.mean()) if len(above) else 0.0, LEAST_SPREAD * largest)
    asked = max(1.0, blocks_per_false_drift / correlated)
    from_tail = median + scale * math.log(max(1.0, asked / 2))
    beyond = largest + scale * math.log(max(1.0, asked / stretches))
    return max(from_tail, beyond) if asked >= stretches else float(np.quantile(peaks, 1 - 1 / asked))


def out_of_sample(count: int, course: Callable[[np.ndarray, np.ndarray], np.ndarray], folds: int = FOLDS) -> np.ndarray:
    """The course [count] of a statistic over blocks, each fold by what was fitted on the others.

    Args:
        course: (index of the blocks to fit on, index of the blocks to judge, in order) -> statistic after each.
    """
    parts: list[np.ndarray] = np.array_split(np.arange(count), folds)
    judged: Sequence[np.ndarray] = [
        course(np.concatenate([other for other in parts if other is not part]), part) for part in parts
    ]
    return np.concatenate(judged)
