"""PCA error: its graph against numpy, and the shapes that need care."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest

from tests.helpers.machines import normal_rows, rows_of, windows_of
from wheeltapper.models.pca.fit import PcaError, fit_pca
from wheeltapper.models.pca.settings import PcaSettings
from wheeltapper.schemas.bundle.graph import Graph
from wheeltapper.schemas.errors import InputError


def formulas(fitted: PcaError, window: np.ndarray) -> dict[str, np.ndarray]:
    """Outputs of one window [W, C] without NaN, in double precision."""
    clip = fitted.settings.clip
    z = np.clip((window.astype(np.float64) - fitted.mean) / fitted.std, -clip, clip)
    vectors = (z.T if fitted.channels == 1 else z) - fitted.center
    modelled = vectors @ fitted.vectors @ fitted.vectors.T
    residual = (vectors - modelled).T if fitted.channels == 1 else vectors - modelled
    modelled = modelled + fitted.center
    last = modelled.T[-1] if fitted.channels == 1 else modelled[-1]
    contribution = fitted.settings.row_weights() @ residual**2
    parts = vectors @ fitted.vectors if fitted.vectors.shape[1] else vectors
    return {
        "score": contribution.sum(),
        "contribution": contribution,
        "expected": fitted.mean + fitted.std * last,
        "embedding": parts[-1],
    }


@pytest.mark.parametrize(("window", "channels"), [(32, 38), (1, 38), (64, 60), (32, 1), (1, 1), (16, 2), (32, 3)])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_graph_and_twin_equal_the_formulas(window: int, channels: int) -> None:
    # Given a fitted machine whose readings lie far from zero
    train = normal_rows(2500, channels, seed=1, offset=1000.0)
    fitted = fit_pca(rows_of(train), PcaSettings(window=window))
    test = train[:400].copy()
    test[200:230, 0] += 5 * np.ptp(train[:, 0])
    windows = windows_of(test, window, step=9)
    # When windows over a fault are scored
    found = Graph(fitted.onnx_bytes(), device="cpu").run(windows)
    # Then every output is what the formulas give
    for index, values in enumerate(windows):
        for name, value in formulas(fitted, values).items():
            np.testing.assert_allclose(
                getattr(found, name)[index], value, rtol=2e-4, atol=2e-3 * (name == "embedding") + 1e-4, err_msg=name
            )
    np.testing.assert_allclose(found.contribution.sum(axis=1), found.score, rtol=1e-6)
    torch = pytest.importorskip("torch")
    twin = fitted.torchscript_bytes()
    assert twin is not None
    outputs = torch.jit.load(BytesIO(twin))(torch.from_numpy(windows))
    np.testing.assert_allclose(outputs[0].numpy(), found.score, rtol=1e-4)


@pytest.mark.parametrize(("channels", "components"), [(1, 2), (2, 1), (3, 1), (8, 4), (20, 10), (38, 10), (60, 30)])
def test_number_of_components_follows_the_channels(channels: int, components: int) -> None:
    fitted = fit_pca(rows_of(normal_rows(600, channels)))
    assert fitted.parameters["components"] == components
    assert Graph(fitted.onnx_bytes(), device="cpu").channels == channels


def test_breaking_the_correlation_scores_though_every_value_is_ordinary() -> None:
    # Given channels that always move together
    generator = np.random.default_rng(0)
    load = np.sin(np.arange(3000) / 50)[:, None] + 0.01 * generator.standard_normal((3000, 8))
    train = load.astype(np.float32)
    graph = Graph(fit_pca(rows_of(train), PcaSettings(components=1)).onnx_bytes(), device="cpu")
    # When one of them does the opposite, within its range
    windows = windows_of(train[:300], 32, step=10)
    broken = windows.copy()
    broken[:, :, 5] *= -1
    # Then the score says so and names it
    normal, found = graph.run(windows), graph.run(broken)
    assert np.median(found.score) > 100 * np.median(normal.score)
    assert (found.contribution.argmax(axis=1) == 5).mean() > 0.9


def test_newest_rows_weigh_most() -> None:
    weights = PcaSettings(window=5, half_life=1.0).row_weights()
    np.testing.assert_allclose(weights, np.array([1, 2, 4, 8, 16]) / 31)


def test_single_channel_is_judged_by_the_shape_of_its_window() -> None:
    # Given one channel with a steady swing
    wave = (np.sin(np.arange(4000) / 10) + 0.02 * np.random.default_rng(0).normal(size=4000)).astype(np.float32)[
        :, None
    ]
    graph = Graph(fit_pca(rows_of(wave)).onnx_bytes(), device="cpu")
    # When the swing stops at an ordinary value
    windows = windows_of(wave[:600], 32, step=7)
    stuck = np.repeat(windows[:, :1], 32, axis=1)
    # Then that scores above every normal window
    assert np.median(graph.run(stuck).score) > graph.run(windows).score.max()


def test_missing_and_infinite_readings_leave_the_score_finite() -> None:
    train = normal_rows(1000, 8)
    graph = Graph(fit_pca(rows_of(train)).onnx_bytes(), device="cpu")
    windows = windows_of(train[:40], 32)
    windows[0, :, 1] = np.nan
    windows[1, -1, 2] = np.inf
    windows[2, -1, 2] = -np.inf
    found = graph.run(windows)
    assert np.isfinite(found.score).all()
    assert np.isfinite(found.contribution).all()


@pytest.mark.parametrize("constant", [0.0, 1.0, -250.0])
def test_constant_channel_has_a_scale_of_its_own(constant: float) -> None:
    train = normal_rows(1000, 8)
    train[:, 4] = constant
    fitted = fit_pca(rows_of(train), channels=list("abcdefgh"))
    assert fitted.std[4] == pytest.approx(0.01 * (abs(constant) or 1.0))
    assert any("constant" in warning and "e" in warning for warning in fitted.warnings)
    windows = windows_of(train[:64], 32)
    moved = windows.copy()
    moved[:, -1, 4] += 1.0
    graph = Graph(fitted.onnx_bytes(), device="cpu")
    assert (graph.run(moved).score > graph.run(windows).score).all()


def test_wrong_settings_are_refused() -> None:
    for wrong in ({"window": 0}, {"half_life": 0.0}, {"components": 0}, {"clip": -1.0}):
        with pytest.raises(InputError, match="pca"):
            PcaSettings(**wrong)  # type: ignore[arg-type]
    assert PcaSettings().least_rows == 100
    assert PcaSettings(window=80).least_rows == 160


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_values_can_be_taken_as_they_come() -> None:
    # Given rows that someone has scaled already
    rows = (normal_rows(1000, 4) / 100).astype(np.float32)
    fitted = fit_pca(rows_of(rows), PcaSettings(scale="given", components=1))
    # Then no mean or deviation of the train part is applied
    np.testing.assert_array_equal(fitted.mean, 0)
    np.testing.assert_array_equal(fitted.std, 1)
    assert fitted.parameters["scale"] == "given"
    windows = windows_of(rows[:40], 32)
    found = Graph(fitted.onnx_bytes(), device="cpu").run(windows)
    np.testing.assert_allclose(found.score[0], formulas(fitted, windows[0])["score"], rtol=1e-3)
