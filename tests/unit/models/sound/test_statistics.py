"""Shrunk covariance, distances and centres."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.covariance import LedoitWolf

from wheeltapper.models.sound.statistics import FITTED_ROWS, centres, distances, ledoit_wolf


@pytest.mark.parametrize("count", [3, 20, 500])
def test_shrinkage_is_that_of_scikit_learn(count: int) -> None:
    # given rows of correlated columns
    rng = np.random.default_rng(count)
    rows = rng.normal(size=(count, 12)) @ rng.normal(size=(12, 12)) + 5
    # then the covariance is that of the reference implementation
    np.testing.assert_allclose(ledoit_wolf(rows), LedoitWolf().fit(rows).covariance_, rtol=1e-9)


def test_rows_that_are_all_the_same_have_no_covariance() -> None:
    np.testing.assert_array_equal(ledoit_wolf(np.ones((4, 3))), np.zeros((3, 3)))


def test_distances_are_exact_near_zero() -> None:
    # given rows far from the origin, and the same a hair away
    rows = np.full((2, 8), 1e6)
    # then the distance is that hair, for products would have lost it
    np.testing.assert_allclose(distances(rows, rows + 1e-3), 1e-3 * np.sqrt(8), rtol=1e-6)


def test_few_rows_are_their_own_centres() -> None:
    rows = np.random.default_rng(0).normal(size=(9, 2))
    assert centres(rows, 10) is rows


def test_centres_find_the_heaps() -> None:
    # given more rows than centres are fitted on, in three heaps that come one after another
    rng = np.random.default_rng(1)
    heaps = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    rows = np.repeat(heaps, FITTED_ROWS // 3 + 100, axis=0) + rng.normal(0, 0.1, (3 * (FITTED_ROWS // 3 + 100), 2))
    # when three centres are fitted, twice
    found = centres(rows, 3)
    # then each heap has one, and the second fit is the first
    assert distances(heaps, found).min(axis=1).max() < 0.05
    np.testing.assert_array_equal(found, centres(rows, 3))
