"""Blocks of a machine's normal, as the judge of drift compares the stream's with: drift.parquet."""

from __future__ import annotations

import numpy as np

from wheeltapper.schemas.bundle.manifest import Calibration
from wheeltapper.schemas.bundle.normal_blocks import SUMMARY_COLUMNS
from wheeltapper.stream.core.calibration import calibrate
from wheeltapper.stream.core.drift.blocks import (
    LEAST_ROWS,
    STATISTICS,
    block_edges,
    block_length_us,
    log_scores,
    row_step,
    summarise,
)
from wheeltapper.training.fitting.calibration import CalibrationScores

MAX_BLOCK_VALUES = 1_000_000
"""Of all columns; beyond it, evenly spaced stretches of `STRETCH` blocks stand for the whole."""
STRETCH = 48


def drift_blocks(
    values: np.ndarray,
    times: np.ndarray,
    sampling_interval_s: float,
    scores: CalibrationScores,
    calibration: Calibration,
) -> dict[str, np.ndarray]:
    """Columns of drift.parquet (see `wheeltapper.schemas.bundle.normal_blocks`).

    Args:
        values: [T, C] rows that are normal, NaN where a sensor gave nothing. times: [T] int64 microseconds, rising.
        scores: raw scores of held-out windows of the same rows, with the stride of the bundle.
        calibration: of the same bundle.
    """
    block_us = block_length_us(sampling_interval_s)
    between = sampling_interval_s * 1e6 * scores.stride
    # As many rows of a block as the stream looks at: a quantile of few is another than that of many.
    every = row_step(block_us, between) * scores.stride
    numbers, starts = block_edges(times, block_us)
    pieces = [
        (number, piece[::every])
        for number, piece in zip(numbers.tolist(), np.split(values, starts[1:]), strict=True)
        if 2 * len(piece) >= block_us / (sampling_interval_s * 1e6) and len(piece[::every]) >= LEAST_ROWS
    ]
    pieces = _bounded(pieces, MAX_BLOCK_VALUES // (len(STATISTICS) * values.shape[1]))
    summaries = np.array([summarise(piece) for _, piece in pieces], dtype=np.float32).reshape(
        len(pieces), len(STATISTICS), values.shape[1]
    )
    found = _score_means(scores, calibration, block_us)
    kept = np.array([number for number, _ in pieces], dtype=np.int64)
    return {
        "time": kept * block_us,
        "block_us": np.full(len(kept), block_us, dtype=np.int64),
        "score": np.array([found.get(number, np.nan) for number in kept.tolist()], dtype=np.float64),
        **{name: summaries[:, index] for index, name in enumerate(SUMMARY_COLUMNS)},
    }


def score_blocks(scores: CalibrationScores, calibration: Calibration, block_us: int) -> dict[str, np.ndarray]:
    """Columns of a drift.parquet that tells of scores alone: those of a bundle of sound."""
    found = _score_means(scores, calibration, block_us)
    numbers = np.array(sorted(found), dtype=np.int64)
    return {
        "time": numbers * block_us,
        "block_us": np.full(len(numbers), block_us, dtype=np.int64),
        "score": np.array([found[number] for number in numbers.tolist()], dtype=np.float64),
    }


def _score_means(scores: CalibrationScores, calibration: Calibration, block_us: int) -> dict[int, float]:
    order = np.argsort(scores.time, kind="stable")
    values = log_scores(calibrate(scores.score[order], calibration.center, calibration.alarm_level))
    numbers, starts = block_edges(scores.time[order], block_us)
    parts = zip(numbers.tolist(), np.split(values, starts[1:]), strict=True)
    return {number: float(part.mean()) for number, part in parts if len(part) >= LEAST_ROWS}


def _bounded(pieces: list[tuple[int, np.ndarray]], most: int) -> list[tuple[int, np.ndarray]]:
    if len(pieces) <= most:
        return pieces
    stretches = max(1, most // STRETCH)
    first = np.linspace(0, max(0, len(pieces) - STRETCH), stretches).astype(int)
    chosen = sorted({index for start in first.tolist() for index in range(start, min(start + STRETCH, len(pieces)))})
    return [pieces[index] for index in chosen[:most]]
