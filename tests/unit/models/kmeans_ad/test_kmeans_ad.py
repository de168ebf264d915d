"""KMeansAD: its graph against numpy, how the nearest centroid is found, and normalised windows."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest

from tests.helpers.machines import normal_rows, rows_of, windows_of
from wheeltapper.models.kmeans_ad.fit import KMeansAD, fit_kmeans_ad, normalised
from wheeltapper.models.kmeans_ad.settings import KMeansSettings
from wheeltapper.schemas.bundle.graph import Graph
from wheeltapper.schemas.errors import InputError


def formulas(fitted: KMeansAD, window: np.ndarray) -> dict[str, np.ndarray]:
    """Outputs of one window [W, C] without NaN, in double precision."""
    z = fitted.scaling.apply(window, fitted.settings.clip)
    v = normalised(z[None], fitted.settings.normalise)[0]
    squares = ((v - fitted.centroids.astype(np.float64)) ** 2).sum(axis=1)  # [K, C]
    nearest = int(squares.sum(axis=1).argmin())
    last = fitted.centroids[nearest, -1].astype(np.float64)
    level = z.mean(axis=0)
    if fitted.settings.normalise == "shape":
        last = last * np.maximum((z - level).std(axis=0), 0.1)
    if fitted.settings.normalise != "none":
        last = last + level
    return {
        "score": np.sqrt(squares[nearest].sum()),
        "contribution": squares[nearest],
        "expected": fitted.scaling.mean + fitted.scaling.std * last,
        "embedding": level,
    }


@pytest.mark.parametrize("normalise", ["none", "level", "shape"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_graph_and_twin_equal_the_formulas(normalise: str) -> None:
    # Given a machine whose readings lie far from zero
    train = normal_rows(1500, 6, seed=1, offset=1000.0)
    fitted = fit_kmeans_ad(rows_of(train), KMeansSettings(window=12, clusters=15, normalise=normalise))  # type: ignore[arg-type]
    test = train[:300].copy()
    test[150:180, 0] += 5 * np.ptp(train[:, 0])
    windows = windows_of(test, 12, step=7)
    # When windows over a fault are scored
    found = Graph(fitted.onnx_bytes(), device="cpu").run(windows)
    # Then every output is what the formulas give, and contributions add up to the squared score
    for index, values in enumerate(windows):
        for name, value in formulas(fitted, values).items():
            np.testing.assert_allclose(getattr(found, name)[index], value, rtol=2e-3, atol=2e-3, err_msg=name)
    np.testing.assert_allclose(found.contribution.sum(axis=1), found.score**2, rtol=1e-5)
    torch = pytest.importorskip("torch")
    twin = fitted.torchscript_bytes()
    assert twin is not None
    outputs = torch.jit.load(BytesIO(twin))(torch.from_numpy(windows))
    np.testing.assert_allclose(outputs[1].numpy(), found.contribution, rtol=1e-3, atol=1e-5)


def test_a_window_at_a_centroid_scores_its_true_small_distance() -> None:
    # Given centroids that lie 1,000 standard deviations from the origin, where ||x||^2 - 2 x c + ||c||^2 has no digits
    fitted = fit_kmeans_ad(rows_of(normal_rows(400, 3)), KMeansSettings(window=4, clusters=2, scale="given", clip=1e9))
    far = np.full((1, 4, 3), 30_000.0, dtype=np.float32)
    fitted.centroids[0] = far[0]
    window = far.copy()
    window[0, -1, 1] += 0.5
    # Then the distance is exact all the same
    found = Graph(fitted.onnx_bytes(), device="cpu").run(window)
    np.testing.assert_allclose(found.score, [0.5])
    np.testing.assert_allclose(found.contribution, [[0.0, 0.25, 0.0]])


def test_normalised_windows_tell_shapes_apart_but_not_levels() -> None:
    # Given a steady swing
    train = (np.sin(np.arange(3000) / 5) + 0.02 * np.random.default_rng(0).normal(size=3000)).astype(np.float32)[
        :, None
    ]
    windows = windows_of(train[:200], 32, step=5)
    shifted, stuck = windows + 10.0, np.repeat(windows[:, :1], 32, axis=1)
    plain = Graph(fit_kmeans_ad(rows_of(train), KMeansSettings(window=32)).onnx_bytes(), device="cpu")
    shaped = Graph(
        fit_kmeans_ad(rows_of(train), KMeansSettings(window=32, normalise="shape")).onnx_bytes(), device="cpu"
    )
    # Then a shift is a fault for the plain distance alone, a standstill for both
    assert plain.run(shifted).score.min() > 5 * plain.run(windows).score.max()
    np.testing.assert_allclose(shaped.run(shifted).score, shaped.run(windows).score, rtol=1e-2)
    assert shaped.run(stuck).score.min() > 3 * shaped.run(windows).score.max()


def test_few_distinct_windows_give_as_many_centroids() -> None:
    train = np.tile(np.array([[0.0], [1.0]], dtype=np.float32), (100, 1))
    assert fit_kmeans_ad(rows_of(train), KMeansSettings(window=4, clusters=30)).parameters["centroids"] == 2


def test_wrong_settings_and_unusable_training_are_refused() -> None:
    for wrong in ({"window": 0}, {"clusters": 0}, {"clip": 0.0}, {"window": 1, "normalise": "shape"}):
        with pytest.raises(InputError, match="kmeans-ad"):
            KMeansSettings(**wrong)  # type: ignore[arg-type]
    assert KMeansSettings().least_rows == 50
    with pytest.raises(InputError, match="as long as the window"):
        fit_kmeans_ad(rows_of(*[normal_rows(15, 3)] * 6))
