"""Localization metrics: HitRate, NDCG and IPS at P percent of the number of channels at fault.

Truth is a [T, C] 0/1 matrix of the channels named for each labelled row. Channels are ranked by contribution, larger
first; where contributions are equal, a metric's value is its mean over all orders of the equal ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wheeltapper.training.datasets.labels import runs
from wheeltapper.training.datasets.series import LabelledSegment

PERCENTS = (100, 150)
FLOOR_SEEDS = 5


def truth_matrix(rows: int, channels: int, segments: Sequence[LabelledSegment]) -> np.ndarray:
    """[T, C] bool: which channels are named for which rows."""
    truth = np.zeros((rows, channels), dtype=bool)
    for segment in segments:
        truth[segment.start : segment.stop, list(segment.channels)] = True
    return truth


def localization_metrics(truth: np.ndarray, contributions: np.ndarray) -> dict[str, float]:
    """hit_rate_100, hit_rate_150, ndcg_100, ndcg_150, ips_100, ips_150; empty where no channel is named anywhere.

    HitRate@P: per row, k = ceil(P% of the channels at fault); part of the channels at fault within the top k.
    NDCG@P: per row, binary gains over the top round(P%), log2 discount.
    IPS@P: HitRate@P per contiguous labelled segment, with the union of its channels at fault and each channel's
    largest contribution in it. Means over rows (HitRate, NDCG) and over segments (IPS).

    Args:
        truth: [T, C] bool. contributions: [T, C], non-negative.
    """
    named: np.ndarray = np.asarray(truth.any(axis=1))
    if not named.any():
        return {}
    at_fault, blamed = truth[named], contributions[named]
    row_gains, row_counts = _expected_gains(at_fault, blamed), at_fault.sum(axis=1)
    stretches = runs(named)
    segment_truth = np.stack([truth[start:stop].any(axis=0) for start, stop in stretches])
    segment_blame = np.stack([contributions[start:stop].max(axis=0) for start, stop in stretches])
    segment_gains, segment_counts = _expected_gains(segment_truth, segment_blame), segment_truth.sum(axis=1)
    metrics = {}
    for percent in PERCENTS:
        metrics[f"hit_rate_{percent}"] = _hit_rate(row_gains, row_counts, percent)
    for percent in PERCENTS:
        metrics[f"ndcg_{percent}"] = _ndcg(row_gains, row_counts, percent)
    for percent in PERCENTS:
        metrics[f"ips_{percent}"] = _hit_rate(segment_gains, segment_counts, percent)
    return metrics


def random_localization(truth: np.ndarray, *, seeds: int = FLOOR_SEEDS) -> dict[str, float]:
    """The same metrics for contributions drawn at random: mean over seeds."""
    draws = [localization_metrics(truth, np.random.default_rng(seed).random(truth.shape)) for seed in range(seeds)]
    return {name: float(np.mean([draw[name] for draw in draws])) for name in draws[0]}


def _expected_gains(truth: np.ndarray, blame: np.ndarray) -> np.ndarray:
    """[n, C] float64: probability that the channel at each rank is at fault, equal contributions in random order."""
    order = np.argsort(-blame, axis=1, kind="stable")
    ranked = np.take_along_axis(blame, order, axis=1)
    hits = np.take_along_axis(truth, order, axis=1).astype(np.float64)
    fresh = np.ones(ranked.shape, dtype=bool)
    fresh[:, 1:] = ranked[:, 1:] != ranked[:, :-1]
    group = np.cumsum(fresh.ravel()) - 1  # equal contributions of one row share a group
    means: np.ndarray = (np.bincount(group, weights=hits.ravel()) / np.bincount(group))[group].reshape(ranked.shape)
    return means


def _hit_rate(gains: np.ndarray, counts: np.ndarray, percent: int) -> float:
    # Integer arithmetic: ceil(1.0 * 38 * 100 / 100) must not become 39.
    top = np.minimum(-(-percent * counts // 100), gains.shape[1])
    found = np.cumsum(gains, axis=1)[np.arange(len(gains)), top - 1]
    return float(np.mean(found / counts))


def _ndcg(gains: np.ndarray, counts: np.ndarray, percent: int) -> float:
    channels = gains.shape[1]
    top = np.clip(np.round(percent * counts / 100).astype(np.int64), 1, channels)
    discounts = 1 / np.log2(np.arange(2, channels + 2))
    rows = np.arange(len(gains))
    reached = np.cumsum(gains * discounts, axis=1)[rows, top - 1]
    ideal = np.cumsum(discounts)[np.minimum(top, counts) - 1]
    return float(np.mean(reached / ideal))
