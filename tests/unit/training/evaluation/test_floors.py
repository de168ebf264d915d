from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.datasets.simulated import DAY, simulate
from wheeltapper.training.judging.floors import floor_scores


@pytest.fixture(scope="module")
def pump() -> SensorSeries:
    return simulate("pump-1", train_rows=3 * DAY, test_rows=2 * DAY)


def test_same_seed_same_scores(pump: SensorSeries) -> None:
    for one, other in zip(floor_scores(pump), floor_scores(pump), strict=True):
        assert one.name == other.name
        for scores, again in zip(one.scores, other.scores, strict=True):
            np.testing.assert_array_equal(scores, again)
            assert scores.shape == (len(pump.test),)


def test_l2_and_pca_are_their_definitions(pump: SensorSeries) -> None:
    floors = {floor.name: floor for floor in floor_scores(pump)}
    mean, deviation = pump.train.mean(axis=0, dtype=np.float64), pump.train.std(axis=0, dtype=np.float64)
    z_train, z = (pump.train - mean) / deviation, (pump.test - mean) / deviation
    np.testing.assert_allclose(floors["l2"].scores[0], np.linalg.norm(z, axis=1), rtol=1e-4)
    # 15 channels: 7 components at most, half of them.
    _, _, directions = np.linalg.svd(z_train, full_matrices=False)
    rest = z - z @ directions[:7].T @ directions[:7]
    np.testing.assert_allclose(floors["pca"].scores[0], np.linalg.norm(rest, axis=1), rtol=1e-2, atol=1e-3)
    for name in ("l2", "pca"):
        contributions = floors[name].contributions
        assert contributions is not None
        np.testing.assert_allclose(contributions.sum(axis=1), floors[name].scores[0] ** 2, rtol=1e-6)


def test_units_do_not_matter(pump: SensorSeries) -> None:
    # given the same pump with every channel in another unit
    factor = np.geomspace(0.01, 100, 15).astype(np.float32)
    other = replace(pump, train=pump.train * factor + 7, test=pump.test * factor + 7)
    # then every floor ranks the rows as before
    for one, again in zip(floor_scores(pump), floor_scores(other), strict=True):
        assert np.corrcoef(one.scores[0], again.scores[0])[0, 1] > 0.99


def test_the_rows_after_do_not_matter(pump: SensorSeries) -> None:
    changed = pump.test.copy()
    changed[2000:] += 1000
    other = replace(pump, test=changed)
    for one, again in zip(floor_scores(pump), floor_scores(other), strict=True):
        np.testing.assert_allclose(one.scores[0][:2000], again.scores[0][:2000], rtol=1e-4, atol=1e-4)


def test_constant_channels_and_missing_values(pump: SensorSeries) -> None:
    train, test = pump.train.copy(), pump.test.copy()
    train[:, 3] = 1.0
    test[100:200, 5] = np.nan
    for floor in floor_scores(replace(pump, train=train, test=test)):
        assert all(np.isfinite(scores).all() for scores in floor.scores)
        if floor.contributions is not None:
            assert not floor.contributions[:, 3].any()
    still = replace(pump, train=np.ones_like(train), test=np.ones_like(test))
    for floor in floor_scores(still):
        assert all(np.isfinite(scores).all() for scores in floor.scores)
