"""Fitting range bands: parameters by hand, odd channels, and what it warns of."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.machines import normal_rows, rows_of
from wheeltapper.models.range_bands.fit import fit_range_bands, moving_baseline
from wheeltapper.models.range_bands.fitted import CONSTANT_GAIN
from wheeltapper.models.range_bands.settings import PRESETS, RangeBandSettings
from wheeltapper.schemas.bundle.graph import Graph
from wheeltapper.schemas.errors import InputError
from wheeltapper.training.fitting.training_rows import training_rows

SMALL = RangeBandSettings(window=24, scored_rows=8, baseline_half_life=5.0, score_half_life=2.0)


def test_baseline_is_the_normalised_average_of_the_rows_that_exist() -> None:
    # Given eight values, a half-life of two rows and a memory of three
    values = np.array([1.0, 2.0, 4.0, 8.0, 16.0, 0.0, 0.0, 1.0])
    # When the baseline is taken
    found = moving_baseline(values, half_life=2.0, rows=3)
    # Then every entry is the weighted mean of itself and at most two rows before, the newest weighing most
    weights = 0.5 ** (np.arange(3) / 2.0)
    for row in range(len(values)):
        past = values[max(0, row - 2) : row + 1][::-1]
        assert found[row] == pytest.approx(np.average(past, weights=weights[: len(past)]))


@pytest.mark.parametrize("rows", [1, 2, 5, 16, 31, 128])
def test_baseline_by_doubling_equals_a_plain_convolution(rows: int) -> None:
    values = np.random.default_rng(0).normal(size=300)
    weights = 0.5 ** (np.arange(rows) / 30.0)
    expected = np.convolve(values, weights)[:300] / np.convolve(np.ones(300), weights)[:300]
    np.testing.assert_allclose(moving_baseline(values, 30.0, rows), expected, rtol=1e-12, atol=1e-12)


def test_bands_are_quantiles_of_the_scaled_channel() -> None:
    # Given one channel from 100 to 300
    values = np.random.default_rng(1).uniform(100, 300, size=(4000, 1)).astype(np.float32)
    # When it is fitted
    fitted = fit_range_bands(rows_of(values), SMALL)
    # Then the band holds the middle 98 % of its range, and the scale is its width, its own excesses, and the floor
    u = (values[:, 0].astype(float) - values.min()) / float(values.max() - values.min())
    low, high = np.quantile(u, [0.01, 0.99])
    excess = np.maximum(np.maximum(u - high, low - u), 0)
    assert fitted.bands.low[0] == pytest.approx(low, abs=1e-6)
    assert fitted.bands.high[0] == pytest.approx(high, abs=1e-6)
    assert fitted.bands.scale[0] == pytest.approx(high - low + 4 * np.sqrt(np.mean(excess**2)) + 0.01, abs=1e-6)


def test_constant_channel_is_measured_by_the_sign_of_its_change() -> None:
    rows = normal_rows(600, 8)
    rows[:, 3] = 42.0
    fitted = fit_range_bands(rows_of(rows), SMALL, channels=[f"c{i}" for i in range(8)])
    assert fitted.gain[3] == CONSTANT_GAIN
    assert (fitted.clip_low[3], fitted.clip_high[3]) == (-1.0, 1.0)
    assert any("c3" in warning and "constant" in warning for warning in fitted.warnings)


@pytest.mark.parametrize(("channels", "has_view"), [(1, False), (5, False), (6, True), (38, True)])
def test_residual_view_needs_six_channels(channels: int, has_view: bool) -> None:
    fitted = fit_range_bands(rows_of(normal_rows(600, channels)), SMALL)
    assert (fitted.residual is not None) is has_view
    assert fitted.parameters["residual_view"] is has_view


def test_residual_has_nothing_left_along_the_removed_components() -> None:
    fitted = fit_range_bands(rows_of(normal_rows(2000, 12)), SMALL)
    assert fitted.residual is not None
    projector = fitted.residual.projector
    np.testing.assert_allclose(projector @ projector, projector, atol=1e-9)
    assert np.trace(projector) == pytest.approx(12 - SMALL.components)


def test_missing_training_values_are_carried_forward() -> None:
    # Given rows with holes, and the same rows with the holes filled as the stream fills them
    rows = normal_rows(800, 7)
    holed = rows.copy()
    holed[100:110, 2] = np.nan
    holed[0:5, 4] = np.nan
    filled = holed.copy()
    filled[100:110, 2] = rows[99, 2]
    filled[0:5, 4] = np.nanmedian(holed[:, 4])
    # When both are fitted, then they agree
    found, expected = fit_range_bands(rows_of(holed), SMALL), fit_range_bands(rows_of(filled), SMALL)
    np.testing.assert_allclose(found.bands.scale, expected.bands.scale)
    np.testing.assert_allclose(found.minimum, expected.minimum)


def test_channel_that_was_never_measured_counts_as_constant_and_is_named() -> None:
    rows = normal_rows(600, 8)
    rows[:, 0] = np.nan
    fitted = fit_range_bands(rows_of(rows), SMALL, channels=[f"c{i}" for i in range(8)])
    assert fitted.gain[0] == CONSTANT_GAIN
    assert any("never measured" in warning and "c0" in warning for warning in fitted.warnings)


def test_runs_are_not_joined_across_a_hole_in_time() -> None:
    # Given two runs at different levels: their seam is no change that the machine ever made
    low, high = np.full((300, 1), 0.0, np.float32), np.full((300, 1), 1.0, np.float32)
    ripple = 0.01 * np.sin(np.arange(300))[:, None].astype(np.float32)
    apart = fit_range_bands(rows_of(low + ripple, high + ripple), SMALL)
    joined = fit_range_bands(rows_of(np.concatenate([low + ripple, high + ripple])), SMALL)
    # Then only the joined rows teach that a jump is usual
    assert joined.bands.change_high[0] > 5 * apart.bands.change_high[0]


def test_infinite_training_value_is_refused_with_its_channel() -> None:
    rows = normal_rows(600, 3)
    rows[7, 1] = np.inf
    with pytest.raises(InputError, match=r"channel 1 .* infinite"):
        fit_range_bands(rows_of(rows), SMALL)


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(InputError, match="47 training rows, range-bands needs at least 48"):
        training_rows([normal_rows(47, 3)], at_least=SMALL.least_rows, detector="range-bands")


@pytest.mark.parametrize(
    "wrong",
    [
        {"window": 8, "scored_rows": 8},
        {"leak": -0.1},
        {"range_quantile": 0.5},
        {"lag": 64},
        {"cap": 0.0},
        {"components": 0},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match="range-bands"):
        RangeBandSettings(**wrong)  # type: ignore[arg-type]


def test_warns_of_lasting_faults_by_the_preset() -> None:
    rows = normal_rows(600, 7)
    events = fit_range_bands(rows_of(rows), RangeBandSettings(), sampling_interval_s=60)
    everything = fit_range_bands(rows_of(rows), RangeBandSettings(leak=1.0))
    assert PRESETS == {"events": 0.1, "sustained": 0.5}
    assert any("128 rows (2.13 h)" in warning for warning in events.warnings)
    assert not any("lasts longer" in warning for warning in everything.warnings)


def test_values_can_be_taken_as_their_publisher_scaled_them() -> None:
    # Given channels that use half of the range 0 .. 1 in training, and one that never moves
    rows = (0.25 + 0.5 * np.random.default_rng(0).random((800, 4))).astype(np.float32)
    rows[:, 3] = 0.5
    given = fit_range_bands(rows_of(rows), RangeBandSettings(window=48, scored_rows=16, scale="given"))
    # Then the publisher's range is the unit, not that of training
    np.testing.assert_array_equal(given.minimum, 0)
    np.testing.assert_array_equal(given.gain, 1)
    assert given.parameters["scale"] == "given"
    # And a constant channel is still named as one
    assert any("constant in training" in warning and "channel 3" in warning for warning in given.warnings)
    graph = Graph(given.onnx_bytes(), device="cpu")
    windows = np.stack([rows[:48], rows[:48]])
    windows[1, -8:, 0] = 3.0
    score = graph.run(windows).score
    assert score[1] > 10 * score[0]
