"""Missing values in a series."""

from __future__ import annotations

import numpy as np


def carried_forward(values: np.ndarray, first: np.ndarray) -> np.ndarray:
    """[T, C] values with every NaN replaced by its channel's last value before; `first` [C] where there is none yet.

    This is what the stream does with a live machine. Returns `values` itself where nothing is missing.
    """
    absent = np.isnan(values)
    if not absent.any():
        return values
    padded = np.concatenate([first[None].astype(values.dtype), values])
    source = np.where(np.isnan(padded), 0, np.arange(len(padded))[:, None])
    np.maximum.accumulate(source, axis=0, out=source)
    return np.take_along_axis(padded, source, axis=0)[1:]


def medians(values: np.ndarray) -> np.ndarray:
    """[C] float32: median of each channel of [T, C], missing values aside; 0 for a channel without any."""
    result = np.zeros(values.shape[1], dtype=np.float32)
    for channel in range(values.shape[1]):
        present = values[:, channel][~np.isnan(values[:, channel])]
        if len(present):
            result[channel] = np.median(present)
    return result
