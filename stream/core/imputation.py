"""Missing values carry the channel's last value forward: the one rule of the live stream, evaluation and training."""

from __future__ import annotations

import warnings

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


def usual_values(rows: np.ndarray) -> np.ndarray:
    """[C] float32: each channel's median over [n, C] rows, NaN left out; 0 where there is none."""
    if not len(rows):
        return np.zeros(rows.shape[1], dtype=np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a channel that was never measured has no median
        return np.nan_to_num(np.nanmedian(rows, axis=0)).astype(np.float32)
