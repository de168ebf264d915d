"""Detectors that are fitted in one pass: held-out scores by cross-fitting, then a fit on all rows."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np

from wheeltapper.models.fitted import FittedDetector
from wheeltapper.models.training_rows import TrainingRows
from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.fitting.calibration import BLOCKS, CalibrationScores, contiguous_runs, cross_fit_scores
from wheeltapper.training.fitting.options import TrainOptions
from wheeltapper.training.fitting.training_rows import training_rows


def fit_and_cross_fit(
    name: str,
    series: SensorSeries,
    options: TrainOptions,
    fit: Callable[[TrainingRows], FittedDetector],
    least_rows: int,
) -> tuple[FittedDetector, CalibrationScores]:
    """Fit on all rows of the train part; scores are those of `calibration.cross_fit_scores`.

    Args:
        name: what errors call the detector.
        fit: from rows without a missing value to a detector.
        least_rows: that `fit` needs.

    Raises:
        InputError: too few rows, or values that are not numbers.
    """

    def fit_runs(runs: list[np.ndarray]) -> FittedDetector:
        return fit(training_rows(runs, at_least=least_rows, detector=name))

    least = -(-least_rows * BLOCKS // (BLOCKS - 1))
    if len(series.train) < least:
        raise InputError(
            f"{series.dataset} {series.entity}: {len(series.train)} train rows, {name} needs at least {least} (windows of "
            f"{least_rows // 2} rows, fitted on four fifths at a time); give it more history or a smaller --window"
        )
    show = ProgressLine(options.progress)
    scores = cross_fit_scores(
        series.train,
        series.train_ts,
        fit_runs,
        sampling_interval_s=series.sampling_interval_s,
        stride=options.stride,
        threads=options.threads,
        progress=show,
    )
    show("fit on all rows")
    fitted = fit_runs([series.train[run] for run in contiguous_runs(series.train_ts, series.sampling_interval_s)])
    show("")
    return fitted, scores


class ProgressLine:
    """One line on a terminal, rewritten; nothing where the output is none."""

    def __init__(self, wanted: bool) -> None:
        self._stream = sys.stderr if wanted and sys.stderr.isatty() else None

    def __call__(self, text: str) -> None:
        if self._stream is not None:
            self._stream.write(f"\r\x1b[2K{text}")
            self._stream.flush()
