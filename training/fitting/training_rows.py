"""From rows with holes to what a detector is fitted on: checked, missing values carried forward as the stream does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wheeltapper.models.training_rows import TrainingRows
from wheeltapper.schemas.errors import InputError
from wheeltapper.stream.core.imputation import carry_forward


def training_rows(runs: Sequence[np.ndarray], *, at_least: int, detector: str) -> TrainingRows:
    """Check and fill the rows that a detector is to be fitted on.

    Args:
        runs: [T_i, C] float, raw units, NaN where a sensor gave nothing.
        at_least: rows that the detector needs in all.
        detector: what errors call it.

    Raises:
        InputError: too few rows, no channel, or an infinite value.
    """
    kept = [np.asarray(run, dtype=np.float32) for run in runs if len(run)]
    rows = sum(len(run) for run in kept)
    if rows < at_least:
        raise InputError(
            f"{rows} training rows, {detector} needs at least {at_least}; give it more history or a smaller --window"
        )
    if any(run.ndim != 2 or run.shape[1] != kept[0].shape[1] or run.shape[1] == 0 for run in kept):
        shapes = sorted({run.shape for run in kept})
        raise InputError(f"training rows have shapes {shapes}, expected (rows, channels) with one channel or more")
    if any(bool(np.isinf(run).any()) for run in kept):
        channel = next(int(np.argwhere(np.isinf(run))[0, 1]) for run in kept if np.isinf(run).any())
        raise InputError(f"channel {channel} (from 0) is infinite in a training row; write such values as empty (NaN)")
    never = np.all([np.isnan(run).all(axis=0) for run in kept], axis=0)
    typical = channel_medians(kept)
    return TrainingRows(tuple(carry_forward(run, typical) for run in kept), typical, never)


def channel_medians(runs: Sequence[np.ndarray]) -> np.ndarray:
    """[C] float64: each channel's median over the measured values of all [T_i, C] runs; 0 where there is none."""
    medians = np.zeros(runs[0].shape[1])
    for channel in range(len(medians)):
        values = np.concatenate([run[:, channel] for run in runs]).astype(np.float64)
        measured = values[~np.isnan(values)]
        medians[channel] = np.median(measured) if len(measured) else 0.0
    return medians
