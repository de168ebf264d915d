from __future__ import annotations

import numpy as np
import pytest
from aeon.benchmarking.metrics.anomaly_detection import range_pr_vus_score, range_roc_vus_score

from tests.helpers.covering import covering
from wheeltapper.training.datasets.registry import load_series
from wheeltapper.training.judging.metrics.ranking import auc_pr, auc_roc, vus_by_ranks


def series(rows: int, seed: int, kind: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.zeros(rows, dtype=np.uint8)
    for start in rng.integers(0, rows - 20, 6):
        labels[start : start + int(rng.integers(1, 20))] = 1
    scores = rng.random(rows) + 0.4 * labels
    if kind == "tied":
        scores = np.round(scores, 1)
    if kind == "edges":
        labels[:5] = labels[-7:] = 1
    if kind == "float32":
        scores = scores.astype(np.float32)
    return labels, scores


def test_auc_of_four_rows_by_hand() -> None:
    labels, scores = np.array([0, 1, 0, 1]), np.array([0.1, 0.9, 0.8, 0.7])
    # Ranked: 1, 0, 1, 0: precision at the two hits is 1/1 and 2/3; 3 of the 4 pairs are in order.
    assert auc_pr(labels, scores) == pytest.approx((1 + 2 / 3) / 2)
    assert auc_roc(labels, scores) == pytest.approx(3 / 4)


@covering(strength=1, kind=["plain", "tied", "edges", "float32"], seed=[0, 1, 2])
def test_vus_is_aeons(kind: str, seed: int) -> None:
    labels, scores = series(300, seed, kind)
    expected = (
        range_pr_vus_score(labels.astype(int), scores.astype(float), max_buffer_size=12),
        range_roc_vus_score(labels.astype(int), scores.astype(float), max_buffer_size=12),
    )
    assert vus_by_ranks(labels, scores, 12) == pytest.approx(expected, abs=1e-12)


def test_vus_of_a_perfect_and_of_a_reversed_score() -> None:
    labels = np.zeros(200, dtype=np.uint8)
    labels[50:60] = labels[120:130] = 1
    # Without a buffer a score that names exactly the labelled rows is perfect.
    assert vus_by_ranks(labels, labels.astype(float), 0) == pytest.approx((1.0, 1.0))
    worst_pr, worst_roc = vus_by_ranks(labels, 1.0 - labels, 0)
    assert worst_pr < 0.2
    assert worst_roc < 0.5


def test_where_nothing_can_be_ranked() -> None:
    scores = np.linspace(0, 1, 50)
    for labels in (np.zeros(50, np.uint8), np.ones(50, np.uint8)):
        assert vus_by_ranks(labels, scores) == (None, None)
        assert auc_pr(labels, scores) is None
        assert auc_roc(labels, scores) is None
    some = np.zeros(50, np.uint8)
    some[10:20] = 1
    # A constant score ranks nothing; aeon says 0 by convention.
    assert vus_by_ranks(some, np.full(50, 0.3)) == (0.0, 0.0)


def test_random_scores_on_a_simulated_pump_reach_about_the_share_of_labelled_rows() -> None:
    labels = load_series("simulated", None, "pump-1").test_labels
    assert labels is not None
    pr, roc = vus_by_ranks(labels, np.random.default_rng(0).random(len(labels)))
    assert pr is not None
    assert roc is not None
    assert labels.mean() < pr < labels.mean() + 0.1
    assert 0.5 < roc < 0.62
