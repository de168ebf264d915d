"""Missing values carry the channel's last value forward: the one rule of the live stream, evaluation and training."""

from __future__ import annotations

import numpy as np


def carry_forward(values: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Fill each gap with the channel's last value.

    Args:
        values: [n, C] float, NaN where a sensor gave nothing; of any float dtype, which the result has too.
        before: [C] float: what a channel counts as until its first value has come.

    Returns:
        [n, C] without NaN (as far as `before` has none); `values` itself where nothing is missing.
    """
    absent = np.isnan(values)
    if not absent.any():
        return values
    return filled(values, before)


def filled(values: np.ndarray, before: np.ndarray) -> np.ndarray:
    """`carry_forward` for values of which some are known to be missing."""
    with_before = np.concatenate([np.asarray(before, dtype=values.dtype)[None], values])
    rows = np.arange(len(with_before))[:, None]
    source = np.where(np.isnan(with_before), 0, rows)
    np.maximum.accumulate(source, axis=0, out=source)
    return np.take_along_axis(with_before, source, axis=0)[1:]
