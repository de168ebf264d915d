"""F1 scores of flagged rows. Labels and flags are [T], 0 or 1; without labelled rows they return None.

Point adjustment counts a whole segment as found when one of its rows is flagged, and affiliation measures distances
to the next segment: random flags score high under both. They are reported only beside that floor.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable

import numpy as np

from wheeltapper.training.datasets.labels import runs

FLOOR_SEEDS = 5
# Shares of flagged rows that the oracle floor may choose from: the percentiles 70 to 100 of the usual protocol.
_ORACLE_SHARES = np.linspace(0.30, 0.0, 60, endpoint=False)

F1 = Callable[[np.ndarray, np.ndarray], float | None]


def range_f1(labels: np.ndarray, flags: np.ndarray) -> float | None:
    """Range-based F1 by aeon (Tatbul et al., NeurIPS 2018): flat bias, reciprocal cardinality, existence reward 0.5."""
    from aeon.benchmarking.metrics.anomaly_detection import range_f_score

    if not np.any(labels):
        return None
    if not np.any(flags):
        return 0.0
    if np.all(flags):
        # aeon gives 0 to any constant prediction. By the definition one range covers all: its precision is the share
        # of labelled rows over the number of segments it spans, and every segment is recalled whole.
        precision = float(np.mean(labels != 0)) / len(runs(labels))
        return 2 * precision / (precision + 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(range_f_score((labels != 0).astype(np.int64), (flags != 0).astype(np.int64)))


def point_f1(labels: np.ndarray, flags: np.ndarray) -> float | None:
    """Plain F1 over rows."""
    if not np.any(labels):
        return None
    hits = np.count_nonzero((labels != 0) & (flags != 0))
    return 2 * hits / (np.count_nonzero(labels) + np.count_nonzero(flags))


def oracle_point_f1(labels: np.ndarray, scores: np.ndarray) -> float | None:
    """The best plain F1 over rows that any threshold reaches, chosen with the test labels: an upper bound."""
    if not np.any(labels):
        return None
    order = np.argsort(-np.asarray(scores), kind="stable")
    ranked = np.asarray(scores)[order]
    hits = np.cumsum(labels[order] != 0)
    last_of_ties = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    values = 2 * hits[last_of_ties] / (last_of_ties + 1 + np.count_nonzero(labels))
    return float(values.max())


def point_adjusted_f1(labels: np.ndarray, flags: np.ndarray) -> float | None:
    """F1 over rows after every segment with one flagged row has been flagged whole (Xu et al., WWW 2018)."""
    adjusted = np.asarray(flags) != 0
    for start, stop in runs(labels):
        if adjusted[start:stop].any():
            adjusted[start:stop] = True
    return point_f1(labels, adjusted)


def affiliation_f1(labels: np.ndarray, flags: np.ndarray) -> float | None:
    """Harmonic mean of affiliation precision and recall; 0 without flags."""
    precision, recall = affiliation(labels, flags)
    if recall is None:
        return None
    return 2 * precision * recall / (precision + recall) if precision else 0.0


def affiliation(labels: np.ndarray, flags: np.ndarray) -> tuple[float | None, float | None]:
    """Affiliation precision and recall (Huet et al., KDD 2022), in continuous time: row i is the interval [i, i + 1).

    Every moment belongs to the zone of its nearest segment. In a zone [a, b] with segment J, and X uniform in [a, b]:

        precision = mean over flagged x of P(dist(X, J) >= dist(x, J)),       averaged over zones with flags
        recall    = mean over y in J of P(|X - y| >= dist(y, flags in zone)), averaged over all zones (0 without flags)

    Returns:
        (precision, recall); precision None without flags, both None without labels.
    """
    segments = runs(labels)
    if not segments:
        return None, None
    flagged = runs(flags)
    if not flagged:
        return None, 0.0
    edges = [0.0, *((left[1] + right[0]) / 2 for left, right in itertools.pairwise(segments))]
    edges.append(float(len(labels)))
    starts = np.array([start for start, _ in flagged], dtype=np.float64)
    stops = np.array([stop for _, stop in flagged], dtype=np.float64)
    precisions, recalls = [], []
    for segment, low, high in zip(segments, edges[:-1], edges[1:], strict=True):
        first, last = np.searchsorted(stops, low, side="right"), np.searchsorted(starts, high, side="left")
        if first >= last:
            recalls.append(0.0)
            continue
        inside_starts, inside_stops = np.maximum(starts[first:last], low), np.minimum(stops[first:last], high)
        precisions.append(_zone_precision(segment, low, high, inside_starts, inside_stops))
        recalls.append(_zone_recall(segment, low, high, inside_starts, inside_stops))
    return float(np.mean(precisions)), float(np.mean(recalls))


def random_floor(metric: F1, labels: np.ndarray, share: float, *, seeds: int = FLOOR_SEEDS) -> float | None:
    """Mean of `metric` over flags drawn at random for that share of rows: what knowing nothing earns."""
    count = round(share * len(labels))
    values = [metric(labels, _random_flags(len(labels), count, seed)) for seed in range(seeds)]
    return None if values[0] is None else float(np.mean([value or 0.0 for value in values]))


def oracle_random_floor(metric: F1, labels: np.ndarray, *, seeds: int = 3) -> float | None:
    """The same where the share of flagged rows is chosen with the test labels, as published numbers often are."""
    if not np.any(labels):
        return None
    best = []
    for seed in range(seeds):
        ranks = np.random.default_rng(seed).permutation(len(labels))
        best.append(max(metric(labels, ranks < share * len(labels)) or 0.0 for share in _ORACLE_SHARES))
    return float(np.mean(best))


def _random_flags(rows: int, count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).permutation(rows) < count


def _quarters(starts: np.ndarray, stops: np.ndarray) -> np.ndarray:
    """Midpoints of the quarter rows that the intervals consist of.

    All bounds are multiples of a half, so within a quarter row every distance below, and every probability, is a
    linear function: its value in the middle is its mean, and sums over midpoints are exact integrals.
    """
    counts = np.rint((stops - starts) * 4).astype(np.int64)
    first = np.repeat(starts, counts)
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return first + (within + 0.5) / 4


def _zone_precision(segment: tuple[int, int], low: float, high: float, starts: np.ndarray, stops: np.ndarray) -> float:
    x = _quarters(starts, stops)
    distance = np.maximum(np.maximum(segment[0] - x, x - segment[1]), 0.0)
    nearer = (
        (segment[1] - segment[0]) + np.minimum(distance, segment[0] - low) + np.minimum(distance, high - segment[1])
    )
    return float(np.mean(np.where(distance > 0, 1 - nearer / (high - low), 1.0)))


def _zone_recall(segment: tuple[int, int], low: float, high: float, starts: np.ndarray, stops: np.ndarray) -> float:
    y = _quarters(np.array([float(segment[0])]), np.array([float(segment[1])]))
    following = np.searchsorted(starts, y, side="right")
    to_next = np.where(following < len(starts), starts[np.minimum(following, len(starts) - 1)] - y, np.inf)
    to_previous = np.where(following > 0, np.maximum(y - stops[np.maximum(following - 1, 0)], 0.0), np.inf)
    distance = np.minimum(to_next, to_previous)
    nearer = np.minimum(y + distance, high) - np.maximum(y - distance, low)
    return float(np.mean(1 - nearer / (high - low)))
