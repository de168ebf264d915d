from __future__ import annotations

import numpy as np
import pytest
from aeon.benchmarking.metrics.anomaly_detection import range_f_score

from wheeltapper.training.datasets.labels import runs
from wheeltapper.training.judging.metrics.thresholded import (
    affiliation,
    affiliation_f1,
    oracle_point_f1,
    oracle_random_floor,
    point_adjusted_f1,
    point_f1,
    random_floor,
    range_f1,
)


def rows(length: int, *stretches: tuple[int, int]) -> np.ndarray:
    flags = np.zeros(length, dtype=np.uint8)
    for start, stop in stretches:
        flags[start:stop] = 1
    return flags


def test_point_adjustment_by_hand() -> None:
    labels, flags = rows(10, (2, 6)), rows(10, (4, 5), (8, 9))
    assert point_f1(labels, flags) == pytest.approx(2 * 1 / (4 + 2))
    # One flagged row makes the whole segment found: 4 hits, 1 false.
    assert point_adjusted_f1(labels, flags) == pytest.approx(2 * 4 / (4 + 5))


def test_range_f1_by_hand_and_by_aeon() -> None:
    labels, flags = rows(12, (2, 6)), rows(12, (4, 8))
    # Precision: the flagged range lies half within. Recall: 0.5 for being met at all, 0.5 * 2/4 for the overlap.
    precision, recall = 0.5, 0.5 + 0.5 * 0.5
    assert range_f1(labels, flags) == pytest.approx(2 * precision * recall / (precision + recall))
    assert range_f1(labels, flags) == pytest.approx(range_f_score(labels.astype(int), flags.astype(int)))


def test_range_f1_of_constant_flags_follows_the_definition() -> None:
    labels = rows(12, (2, 4), (8, 10))
    assert range_f1(labels, np.zeros(12)) == 0.0
    # One range over two segments: overlap 4/12, halved for meeting two; recall 1.
    assert range_f1(labels, np.ones(12)) == pytest.approx(2 * (4 / 12 / 2) / (4 / 12 / 2 + 1))


def test_affiliation_by_hand_one_segment() -> None:
    labels = rows(10, (4, 6))
    # A flag at [8, 9): distances 2..3 to [4, 6); within distance d lie 2 + 2d of the 10: precision 1 - 0.7 on average.
    # Recall: for y in [4, 6) the flag is 8 - y away; nearer lie 8 - max(2y - 8, 0): on average 6 of the 10.
    precision, recall = affiliation(labels, rows(10, (8, 9)))
    assert (precision, recall) == (pytest.approx(0.3), pytest.approx(0.4))
    assert affiliation_f1(labels, rows(10, (8, 9))) == pytest.approx(2 * 0.3 * 0.4 / 0.7)
    # Everything flagged: recall 1; precision 1 on the segment's 2 rows and 1 - (2 + 2 * 2) / 10 on average elsewhere.
    assert affiliation(labels, np.ones(10)) == (pytest.approx(0.2 * 1 + 0.8 * 0.4), pytest.approx(1.0))
    assert affiliation(labels, labels) == (pytest.approx(1.0), pytest.approx(1.0))


def test_affiliation_by_hand_two_segments() -> None:
    # Zones: [0, 5.5) and [5.5, 12). The second is not flagged: recall 0 there, and no say in precision.
    labels = rows(12, (2, 4), (7, 9))
    precision, recall = affiliation(labels, rows(12, (2, 4)))
    assert (precision, recall) == (pytest.approx(1.0), pytest.approx(0.5))


def test_affiliation_without_flags_or_labels() -> None:
    assert affiliation(rows(10, (2, 4)), np.zeros(10)) == (None, 0.0)
    assert affiliation_f1(rows(10, (2, 4)), np.zeros(10)) == 0.0
    assert affiliation_f1(np.zeros(10), np.ones(10)) is None


def numeric_affiliation(labels: np.ndarray, flags: np.ndarray, parts: int = 40) -> tuple[float, float]:
    """The definition by sums over a fine grid, without any of the shortcuts."""
    grid = (np.arange(len(labels) * parts) + 0.5) / parts
    segments = runs(labels)
    distance_to = np.stack([np.maximum(np.maximum(start - grid, grid - stop), 0) for start, stop in segments])
    zone = distance_to.argmin(axis=0)
    flagged = np.repeat(flags != 0, parts)
    precisions, recalls = [], []
    for index, (start, stop) in enumerate(segments):
        inside = grid[zone == index]
        to_segment = distance_to[index][zone == index]
        hits = inside[flagged[zone == index]]
        truth = inside[(inside > start) & (inside < stop)]
        if not len(hits):
            recalls.append(0.0)
            continue
        away = np.maximum(np.maximum(start - hits, hits - stop), 0)
        precisions.append(np.mean([np.mean(to_segment >= d) for d in away]))
        nearest = np.abs(truth[:, None] - hits[None]).min(axis=1)
        recalls.append(np.mean([np.mean(np.abs(inside - y) >= d) for y, d in zip(truth, nearest, strict=True)]))
    return float(np.mean(precisions)), float(np.mean(recalls))


@pytest.mark.parametrize("seed", range(8))
def test_affiliation_equals_the_definition_integrated_numerically(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels, flags = np.zeros(60, np.uint8), (rng.random(60) < rng.uniform(0.05, 0.4)).astype(np.uint8)
    for start in (int(rng.integers(0, 10)), int(rng.integers(20, 30)), int(rng.integers(45, 55))):
        labels[start : start + int(rng.integers(1, 6))] = 1
    assert affiliation(labels, flags) == pytest.approx(numeric_affiliation(labels, flags), abs=0.02)


def test_floors_say_what_knowing_nothing_earns() -> None:
    labels = rows(2000, (100, 300), (900, 1100), (1500, 1600))
    # 10 % of rows at random meet long segments for sure: adjusted recall 1, precision 500 / (500 + 10 % of 1500).
    assert random_floor(point_adjusted_f1, labels, 0.1) == pytest.approx(2 * 500 / (500 + 500 + 150), abs=0.02)
    best = oracle_random_floor(point_adjusted_f1, labels)
    assert best is not None
    assert best > 0.9
    affiliated = random_floor(affiliation_f1, labels, 0.1)
    assert affiliated is not None
    assert 0.6 < affiliated < 0.75
    assert random_floor(point_adjusted_f1, labels, 0.0) == 0.0
    assert random_floor(point_adjusted_f1, np.zeros(10), 0.5) is None
    assert oracle_random_floor(affiliation_f1, np.zeros(10)) is None


def test_oracle_point_f1_is_the_best_over_all_thresholds() -> None:
    rng = np.random.default_rng(0)
    labels = rows(300, (50, 80), (200, 230))
    scores = np.round(rng.random(300) + 0.5 * labels, 2)
    every = [point_f1(labels, scores >= level) or 0.0 for level in np.unique(scores)]
    assert oracle_point_f1(labels, scores) == pytest.approx(max(every))
    assert oracle_point_f1(np.zeros(300), scores) is None
