"""The range bands graph against its formulas, written out row by row in double precision."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest

from tests.helpers.machines import normal_rows, rows_of, windows_of
from wheeltapper.models.range_bands.fit import RangeBands, fit_range_bands
from wheeltapper.models.range_bands.fitted import Bands
from wheeltapper.models.range_bands.settings import RangeBandSettings
from wheeltapper.schemas.bundle.graph import Graph, GraphOutput

SMALL = RangeBandSettings(window=24, scored_rows=8, baseline_half_life=5.0, score_half_life=2.0)


def formulas(fitted: RangeBands, window: np.ndarray) -> dict[str, np.ndarray]:
    """score [], contribution [C], expected [C], embedding [3 C] of one window [W, C] without NaN, as the formulas say."""
    s = fitted.settings
    x = window.astype(np.float64)
    u = np.clip((x - fitted.minimum) * fitted.gain, fitted.clip_low, fitted.clip_high)
    contribution = view(u, fitted.bands, s)
    if fitted.residual is not None:
        r = fitted.residual
        z = np.clip((u - r.mean) / r.std, -s.clip, s.clip)
        contribution = contribution + s.residual_weight * view((z - r.center) @ r.projector, r.bands, s)
    row = s.window - 1 - s.lag
    distance = np.clip((x[row] - fitted.typical) * fitted.gain, -s.clip, s.clip)
    if len(distance) > 1:
        contribution = contribution + s.inside * distance**2
    expected = fitted.minimum + np.clip(u[row], fitted.bands.low, fitted.bands.high) / fitted.gain
    embedding = np.concatenate([u[row], u[row] - average(u, row, s), np.log(1 + contribution)])
    return {"score": contribution.sum(), "contribution": contribution, "expected": expected, "embedding": embedding}


def view(u: np.ndarray, bands: Bands, s: RangeBandSettings) -> np.ndarray:
    total, weights = np.zeros(u.shape[1]), 0.0
    for row in range(s.window - s.scored_rows, s.window):
        change = u[row] - average(u, row, s)
        outside = np.maximum(np.maximum(u[row] - bands.high, bands.low - u[row]), 0)
        unusual = np.maximum(np.maximum(change - bands.change_high, bands.change_low - change), 0)
        v = (np.minimum(outside, unusual) + s.leak * outside) * np.where(u[row] < bands.low, s.down, 1.0)
        z = ((v / bands.scale) / (1 + v / (bands.scale * s.cap))) ** 2
        weight = 0.5 ** (abs(s.window - 1 - s.lag - row) / s.score_half_life)
        total, weights = total + weight * z, weights + weight
    return total / weights


def average(u: np.ndarray, row: int, s: RangeBandSettings) -> np.ndarray:
    total, weights = np.zeros(u.shape[1]), 0.0
    for back in range(s.window - s.scored_rows):
        weight = 0.5 ** (back / s.baseline_half_life)
        total, weights = total + weight * u[row - back], weights + weight
    return total / weights


def assert_equal(found: GraphOutput, fitted: RangeBands, windows: np.ndarray) -> None:
    for index, window in enumerate(windows):
        expected = formulas(fitted, window)
        for name, value in expected.items():
            np.testing.assert_allclose(
                getattr(found, name)[index], value, rtol=1e-4, atol=2e-5, err_msg=f"{name} of window {index}"
            )


def disturbed(rows: np.ndarray) -> np.ndarray:
    """Rows with a jump up, a jump down, a slow drift, and one reading beyond all measure."""
    rows = rows.copy()
    span = np.ptp(rows, axis=0)
    rows[60:75, 0] += 2 * span[0]
    rows[90:99, 1 % len(span)] -= 3 * span[1 % len(span)]
    rows[100:150, 2 % len(span)] += np.linspace(0, 1.5, 50).astype(np.float32) * span[2 % len(span)]
    rows[160, 3 % rows.shape[1]] = 1e30
    return rows


VARIANTS = {
    "default": (SMALL, 8),
    "sustained": (replace(SMALL, leak=0.5), 8),
    "no leak": (replace(SMALL, leak=0.0), 8),
    "bands alone": (replace(SMALL, inside=0.0), 8),
    "drops count half": (replace(SMALL, down=0.5), 8),
    "one view": (replace(SMALL, residual_view=False), 8),
    "few channels": (SMALL, 4),
    "one channel": (SMALL, 1),
    "lag": (replace(SMALL, lag=3), 8),
    "odd window": (RangeBandSettings(window=23, scored_rows=7), 9),
    "full size": (RangeBandSettings(), 11),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_graph_equals_the_formulas(variant: str) -> None:
    # Given a machine with a constant channel among its channels, fitted
    settings, channels = VARIANTS[variant]
    train, test = normal_rows(3000, channels, seed=1), disturbed(normal_rows(420, channels, seed=1))
    if channels > 1:
        train[:, -1] = 7.0
        test[:, -1] = 7.0
        test[200:, -1] = 7.5
    fitted = fit_range_bands(rows_of(train), settings)
    # When windows over the disturbances are scored
    windows = windows_of(test, settings.window, step=5)
    found = Graph(fitted.onnx_bytes(), device="cpu").run(windows)
    # Then every output is what the formulas give, and the score is the sum of the contributions
    assert_equal(found, fitted, windows)
    np.testing.assert_allclose(found.contribution.sum(axis=1), found.score, rtol=1e-6)
    assert found.score.max() > 1


def test_channel_far_from_zero_keeps_its_digits() -> None:
    # Given a channel that lives at a million and varies by one: float32 holds 1/16 of that
    train = normal_rows(3000, 7, seed=2)
    train[:, 0] = 1e6 + np.round(np.sin(np.arange(3000) / 40) * 8) / 16
    fitted = fit_range_bands(rows_of(train), SMALL)
    test = train[:200].copy()
    test[100:, 0] += 1.0
    windows = windows_of(test, SMALL.window, step=7)
    assert_equal(Graph(fitted.onnx_bytes(), device="cpu").run(windows), fitted, windows)


def test_missing_value_scores_nothing_and_is_expected_at_its_median() -> None:
    # Given a fitted machine and a normal window
    train = normal_rows(3000, 8, seed=3)
    fitted = fit_range_bands(rows_of(train), replace(SMALL, residual_view=False))
    graph = Graph(fitted.onnx_bytes(), device="cpu")
    window = windows_of(train[500:524], 24)
    # When one channel is missing throughout
    holed = window.copy()
    holed[:, :, 2] = np.nan
    found = graph.run(holed)
    # Then nothing is NaN, that channel has no part in the score, and all others are untouched
    assert np.isfinite(found.score).all()
    assert found.contribution[0, 2] == 0
    assert found.expected is not None
    assert found.expected[0, 2] == pytest.approx(np.median(train[:, 2]), rel=1e-6)
    np.testing.assert_allclose(
        np.delete(found.contribution, 2, axis=1), np.delete(graph.run(window).contribution, 2, axis=1), atol=1e-7
    )


def test_infinite_reading_is_an_outlier_like_any_other() -> None:
    fitted = fit_range_bands(rows_of(normal_rows(3000, 8, seed=4)), SMALL)
    graph = Graph(fitted.onnx_bytes(), device="cpu")
    window = windows_of(normal_rows(24, 8, seed=4), 24)
    infinite, huge = window.copy(), window.copy()
    infinite[0, -1, 1], huge[0, -1, 1] = np.inf, 3e38
    found = graph.run(infinite)
    assert np.isfinite(found.score).all()
    assert found.score[0] == pytest.approx(graph.run(huge).score[0])


def test_drops_count_half_where_asked() -> None:
    # Given the same machine with and without `down`
    train = normal_rows(3000, 8, seed=5)
    test = train[:200].copy()
    test[150:, 0] -= 2 * np.ptp(train[:, 0])
    whole, half = (
        Graph(
            fit_range_bands(rows_of(train), replace(SMALL, residual_view=False, down=down)).onnx_bytes(), device="cpu"
        ).run(windows_of(test, 24))
        for down in (1.0, 0.5)
    )
    # Then a drop scores less, but is still there
    assert 0 < half.contribution[:, 0].max() < whole.contribution[:, 0].max()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_twin_gives_the_same() -> None:
    torch = pytest.importorskip("torch")
    train = normal_rows(3000, 8, seed=6)
    windows = windows_of(disturbed(normal_rows(300, 8, seed=6)), 24, step=3)
    for settings in (SMALL, replace(SMALL, down=0.5, lag=2), replace(SMALL, residual_view=False)):
        fitted = fit_range_bands(rows_of(train), settings)
        twin = fitted.torchscript_bytes()
        assert twin is not None
        assert twin == fitted.torchscript_bytes(), "the same detector gives the same bytes"
        outputs = torch.jit.load(BytesIO(twin))(torch.from_numpy(windows))
        found = Graph(fitted.onnx_bytes(), device="cpu").run(windows)
        for name, value in zip(("score", "contribution", "expected", "embedding"), outputs, strict=True):
            np.testing.assert_allclose(value.numpy(), getattr(found, name), rtol=1e-4, atol=1e-5, err_msg=name)
