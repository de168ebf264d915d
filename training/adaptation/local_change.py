"""Whether a change may be a fault that lasts: a few channels stand far out, and the machine is else as it was."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

FEW_CHANNELS, FAR_SD = 3, 2.0
STANDS_OUT = 1 / 3
"""A change in so few channels, of which the first moved so many standard deviations and the others less than this share of it, is local."""


def may_be_fault(effects: Sequence[float]) -> bool:
    """Whether a drift looks like a fault that lasts: a few channels stand far out, and the machine is else as it was.

    No test can tell a replaced sensor from a broken one. Where it costs most to be wrong, a person is asked.

    Args:
        effects: of the channels that moved, in standard deviations of their normal rows.
    """
    sizes = sorted((abs(effect) for effect in effects), reverse=True)
    if not sizes or sizes[0] < FAR_SD:
        return False
    return sum(size >= STANDS_OUT * sizes[0] for size in sizes) <= FEW_CHANNELS


def far_channels(names: Sequence[str], shifts: np.ndarray) -> list[str]:
    """Names of the few channels that alone moved far; none where many moved, or none far.

    Args:
        shifts: [C] of the channels' means, in standard deviations of their normal rows.
    """
    if not may_be_fault(shifts.tolist()):
        return []
    sizes = np.abs(shifts)
    return [names[channel] for channel in np.flatnonzero(sizes >= STANDS_OUT * sizes.max())]
