"""Isolation forest: its graph against scikit-learn's own scores, attribution, and values out of range."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest

from tests.helpers.machines import normal_rows, rows_of, windows_of
from wheeltapper.models.isolation_forest.fit import fit_isolation_forest
from wheeltapper.models.isolation_forest.settings import ForestSettings
from wheeltapper.models.isolation_forest.trees import LEAF, average_depth, grow
from wheeltapper.schemas.bundle.graph import Graph
from wheeltapper.schemas.errors import InputError

PUBLISHED = ForestSettings(window=1, trees=30, samples=64, outside=False)


def test_published_score_is_twice_that_of_scikit_learn() -> None:
    sklearn = pytest.importorskip("sklearn.ensemble")
    # Given a forest that scikit-learn grows with the same seed
    train = normal_rows(800, 5, seed=3)
    forest = sklearn.IsolationForest(n_estimators=30, max_samples=64, random_state=7).fit(train)
    graph = Graph(fit_isolation_forest(rows_of(train), PUBLISHED, seed=7).onnx_bytes(), device="cpu")
    # When usual rows and rows far away are scored
    rows = np.concatenate([train[:200], train[:50] * 4]).astype(np.float32)
    found = graph.run(rows[:, None])
    # Then the score is 2^(1 - h / c), as depths are cuts as scikit-learn counts them
    np.testing.assert_allclose(found.score, -2 * forest.score_samples(rows), rtol=1e-4)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_twin_takes_the_same_paths() -> None:
    torch = pytest.importorskip("torch")
    train = normal_rows(600, 4)
    fitted = fit_isolation_forest(rows_of(train), ForestSettings(window=4, trees=15, samples=64))
    windows = windows_of(train[:120], 4, step=3)
    windows[5:, :, 1] *= 3
    found = Graph(fitted.onnx_bytes(), device="cpu").run(windows)
    twin = fitted.torchscript_bytes()
    assert twin is not None
    outputs = torch.jit.load(BytesIO(twin))(torch.from_numpy(windows))
    np.testing.assert_allclose(outputs[0].numpy(), found.score, rtol=1e-5)
    np.testing.assert_allclose(outputs[1].numpy(), found.contribution, rtol=1e-3, atol=1e-5)


def test_depth_of_a_node_is_the_mean_over_its_rows() -> None:
    trees = grow(normal_rows(300, 3), trees=1, samples=32, seed=0)
    # What all rows of the root need on average is near what a random search tree of 32 rows needs
    assert trees.depth[0] == pytest.approx(average_depth(32), rel=0.35)
    inner = np.flatnonzero(trees.channel != LEAF)
    low = np.minimum(trees.depth[trees.left[inner]], trees.depth[trees.right[inner]])
    high = np.maximum(trees.depth[trees.left[inner]], trees.depth[trees.right[inner]])
    assert (low <= trees.depth[inner]).all()
    assert (trees.depth[inner] <= high).all()


@pytest.mark.parametrize(("rows", "depth"), [(1, 0.0), (2, 1.0), (256, 10.2448)])
def test_mean_depth_of_a_random_row(rows: int, depth: float) -> None:
    assert average_depth(rows) == pytest.approx(depth, abs=1e-4)


def test_score_grows_with_the_distance_from_the_training_range() -> None:
    # Given a row at the edge of the range, and rows 1 and 10 ranges beyond it in one channel
    train = normal_rows(800, 3)
    rows = np.repeat(np.median(train, axis=0)[None], 3, axis=0)
    rows[:, 1] = train[:, 1].max() + np.array([0, 1, 10]) * np.ptp(train[:, 1])
    published = Graph(fit_isolation_forest(rows_of(train), PUBLISHED).onnx_bytes(), device="cpu").run(rows[:, None])
    ours = Graph(
        fit_isolation_forest(rows_of(train), ForestSettings(window=1, trees=30, samples=64)).onnx_bytes(), device="cpu"
    ).run(rows[:, None])
    # Then the published score cannot tell them apart, and the default can
    assert np.ptp(published.score) < 1e-5
    np.testing.assert_allclose(ours.score / published.score, [1, 2, 11], rtol=1e-4)
    # And the channel is to blame; what all channels get is the score
    assert (ours.contribution.argmax(axis=1) == 1).all()
    np.testing.assert_allclose(ours.contribution.sum(axis=1), ours.score, rtol=1e-4)


def test_channel_that_never_moved_is_seen_by_its_first_change() -> None:
    train = normal_rows(400, 4)
    train[:, 2] = 5.0
    fitted = fit_isolation_forest(rows_of(train), ForestSettings(window=1, trees=20), channels=list("abcd"))
    assert any("constant" in warning and "c" in warning for warning in fitted.warnings)
    rows = np.repeat(train[:1], 2, axis=0)
    rows[1, 2] = 5.5
    found = Graph(fitted.onnx_bytes(), device="cpu").run(rows[:, None])
    assert found.score[1] > 3 * found.score[0]
    assert found.contribution[1].argmax() == 2


def test_missing_and_infinite_readings_leave_the_score_finite() -> None:
    train = normal_rows(400, 3)
    windows = windows_of(train[:12], 8)
    windows[0, :, 1] = np.nan
    windows[1, -1, 2] = np.inf
    graph = Graph(fit_isolation_forest(rows_of(train), ForestSettings(window=8, trees=10)).onnx_bytes(), device="cpu")
    found = graph.run(windows)
    assert np.isfinite(found.score).all()
    assert np.isfinite(found.contribution).all()


def test_wrong_settings_are_refused() -> None:
    for wrong in ({"window": 0}, {"trees": 0}, {"samples": 1}, {"half_life": 0.0}):
        with pytest.raises(InputError, match="isolation-forest"):
            ForestSettings(**wrong)  # type: ignore[arg-type]
    assert ForestSettings().least_rows == 50
