"""Detectors that are fitted in one pass: held-out scores by cross-fitting, then a fit on all rows."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np

from wheeltapper.models.fitted import FittedDetector
from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.detectors.registry import TrainOptions
from wheeltapper.training.fitting.calibration import BLOCKS, CalibrationScores, contiguous_runs, cross_fit_scores


def fit_and_cross_fit(
    name: str,
    series: SensorSeries,
    options: TrainOptions,
    fit: Callable[[list[np.ndarray]], FittedDetector],
    least_rows: int,
) -> tuple[FittedDetector, CalibrationScores]:
    least = -(-least_rows * BLOCKS // (BLOCKS - 1))
    if len(series.train) < least:
        raise InputError(
            f"{series.dataset} {series.entity}: {len(series.train)} train rows, {name} needs at least {least} (windows of "
            f"{least_rows // 2} rows, fitted on four fifths at a time); give it more history or a smaller --window"
        )
    show = _Progress(options.progress)
    scores = cross_fit_scores(
        series.train,
        series.train_ts,
        fit,
        sampling_interval_s=series.sampling_interval_s,
        stride=options.stride,
        threads=options.threads,
        progress=show,
    )
    show("fit on all rows")
    fitted = fit([series.train[run] for run in contiguous_runs(series.train_ts, series.sampling_interval_s)])
    show("")
    return fitted, scores


class _Progress:
    """One line on a terminal, rewritten; nothing where the output is none."""

    def __init__(self, wanted: bool) -> None:
        self._stream = sys.stderr if wanted and sys.stderr.isatty() else None

    def __call__(self, text: str) -> None:
        if self._stream is not None:
            self._stream.write(f"\r\x1b[2K{text}")
            self._stream.flush()
