"""Critical differences against a case worked out by hand, Demsar's table and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import friedmanchisquare

from wheeltapper.training.lab.compare.ranks import (
    critical_difference,
    entity_ranks,
    friedman,
    not_told_apart,
    rank_detectors,
)


def test_a_case_by_hand() -> None:
    # Given three detectors on five entities: a first on four, c always last
    scores = np.array([[0.9, 0.5, 0.1], [0.8, 0.7, 0.2], [0.6, 0.5, 0.4], [0.3, 0.4, 0.1], [0.9, 0.8, 0.7]])
    ranking = rank_detectors(["a", "b", "c"], scores)
    # Then rank sums are 6, 9, 15; chi-square = 12 / (5*3*4) * (36 + 81 + 225) - 3*5*4 = 68.4 - 60
    assert ranking is not None
    assert ranking.names == ("a", "b", "c")
    assert ranking.ranks == pytest.approx((1.2, 1.8, 3.0))
    assert ranking.chi_square == pytest.approx(8.4)
    assert ranking.p_value == pytest.approx(np.exp(-4.2))  # chi-square with 2 degrees of freedom
    # And CD = 2.343 sqrt(3*4 / (6*5)) = 1.482: a and b, and b and c are not told apart, a and c are
    assert ranking.critical_difference == pytest.approx(1.482, abs=1e-3)
    assert ranking.groups == ((0, 1), (1, 2))
    assert ranking.entities == 5


def test_friedman_is_that_of_scipy_with_ties_too() -> None:
    generator = np.random.default_rng(0)
    for decimals in (8, 1):
        scores = generator.random((12, 5)).round(decimals) + np.array([0, 0, 0.1, 0.2, 0.3])
        expected = friedmanchisquare(*scores.T)
        found = friedman(entity_ranks(scores))
        assert found == pytest.approx((expected.statistic, expected.pvalue))


@pytest.mark.parametrize(("detectors", "quantile"), [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (10, 3.164)])
def test_critical_values_are_those_of_demsars_table(detectors: int, quantile: float) -> None:
    expected = quantile * np.sqrt(detectors * (detectors + 1) / (6 * 14))
    assert critical_difference(detectors, 14) == pytest.approx(expected, rel=1e-3)


def test_detectors_that_are_all_alike_are_not_told_apart() -> None:
    ranking = rank_detectors(["a", "b"], np.ones((6, 2)))
    assert ranking is not None
    assert (ranking.chi_square, ranking.p_value, ranking.groups) == (0.0, 1.0, ((0, 1),))


def test_groups_are_the_largest_only() -> None:
    assert not_told_apart(np.array([1.0, 1.5, 2.2, 4.0, 5.5]), 1.3) == ((0, 2),)
    assert not_told_apart(np.array([1.0, 3.0, 5.0]), 1.0) == ()


@pytest.mark.parametrize("shape", [(4, 3), (9, 1)])
def test_too_few_entities_or_detectors_have_no_ranking(shape: tuple[int, int]) -> None:
    assert rank_detectors([str(i) for i in range(shape[1])], np.random.default_rng(0).random(shape)) is None


def test_a_missing_score_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        rank_detectors(["a", "b"], np.full((6, 2), np.nan))
