from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import ndcg_score

from wheeltapper.training.datasets.series import LabelledSegment
from wheeltapper.training.judging.metrics.localization import localization_metrics, random_localization, truth_matrix


def test_by_hand() -> None:
    # given rows 1..2 with channels 0 and 1 at fault, row 4 with channel 3, of 4 channels
    truth = truth_matrix(6, 4, [LabelledSegment(1, 3, (0, 1)), LabelledSegment(4, 5, (3,))])
    blame = np.zeros((6, 4))
    blame[1] = [4, 3, 2, 1]  # both on top
    blame[2] = [4, 1, 3, 2]  # one of two on top; the other is last
    blame[4] = [3, 4, 1, 2]  # the one at fault is third
    metrics = localization_metrics(truth, blame)
    # HitRate@100: top 2, 2, 1: 1, 1/2, 0. @150: top 3, 3, 2: 1, 1/2, 0.
    assert metrics["hit_rate_100"] == pytest.approx((1 + 0.5 + 0) / 3)
    assert metrics["hit_rate_150"] == pytest.approx((1 + 0.5 + 0) / 3)
    # NDCG@100: row 2: (1/log2 2) / (1/log2 2 + 1/log2 3). @150: top 3, and round(1.5) = 2 for row 4.
    half = 1 / (1 + 1 / np.log2(3))
    assert metrics["ndcg_100"] == pytest.approx((1 + half + 0) / 3)
    assert metrics["ndcg_150"] == pytest.approx((1 + half + 0) / 3)
    # IPS: largest contributions of rows 1..2 are [4, 3, 3, 2]: channel 0 sure, 1 and 2 tie for the second place.
    assert metrics["ips_100"] == pytest.approx((0.75 + 0) / 2)
    assert metrics["ips_150"] == pytest.approx((1 + 0) / 2)


def test_equal_contributions_give_the_mean_over_all_orders() -> None:
    truth = np.zeros((1, 5), dtype=bool)
    truth[0, [1, 4]] = True
    metrics = localization_metrics(truth, np.zeros((1, 5)))
    # Nothing is known: two of five places, two channels at fault.
    assert metrics["hit_rate_100"] == pytest.approx(2 / 5)
    assert metrics["hit_rate_150"] == pytest.approx(3 / 5)
    assert metrics["ips_100"] == pytest.approx(2 / 5)


@pytest.mark.parametrize("decimals", [9, 1])
def test_ndcg_is_sklearns(decimals: int) -> None:
    rng = np.random.default_rng(0)
    truth = rng.random((50, 12)) < 0.3
    truth[:, 0] |= ~truth.any(axis=1)
    blame = np.round(rng.random((50, 12)), decimals)  # with one decimal there are many ties
    for percent in (100, 150):
        expected = [
            ndcg_score([row.astype(int)], [score], k=max(round(percent * row.sum() / 100), 1))
            for row, score in zip(truth, blame, strict=True)
        ]
        assert localization_metrics(truth, blame)[f"ndcg_{percent}"] == pytest.approx(np.mean(expected))


def test_random_floor_is_the_share_of_channels_at_fault() -> None:
    truth = truth_matrix(4000, 20, [LabelledSegment(0, 4000, (1, 5, 7, 8, 19))])
    floor = random_localization(truth)
    assert floor["hit_rate_100"] == pytest.approx(5 / 20, abs=0.01)
    assert floor["hit_rate_150"] == pytest.approx(8 / 20, abs=0.01)


def test_rows_without_named_channels_do_not_count() -> None:
    truth = truth_matrix(10, 3, [LabelledSegment(2, 5, ())])
    assert localization_metrics(truth, np.ones((10, 3))) == {}
    # A touching segment with other channels makes one stretch: the union of both is at fault.
    truth = truth_matrix(10, 3, [LabelledSegment(2, 5, (0,)), LabelledSegment(5, 7, (1,))])
    blame = np.tile([3.0, 2.0, 1.0], (10, 1))
    assert localization_metrics(truth, blame)["ips_100"] == 1.0
    assert localization_metrics(truth, blame)["hit_rate_100"] == pytest.approx(3 / 5)
