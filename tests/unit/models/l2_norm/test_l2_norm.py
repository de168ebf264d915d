"""L2 norm: its graph against a hand computation, and odd readings."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest

from tests.helpers.machines import normal_rows, rows_of, windows_of
from wheeltapper.models.l2_norm.fit import fit_l2_norm
from wheeltapper.models.l2_norm.settings import L2NormSettings
from wheeltapper.schemas.bundle.graph import Graph
from wheeltapper.schemas.errors import InputError


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_score_is_the_weighted_length_of_the_standardised_rows() -> None:
    # Given two channels, mean 1 and 10, deviation 1 and 2
    train = np.tile(np.array([[0.0, 8.0], [2.0, 12.0]], dtype=np.float32), (100, 1))
    fitted = fit_l2_norm(rows_of(train), L2NormSettings(window=2, half_life=1.0))
    # When the older row is (3, 0) and the newer (0, 4) deviations away
    window = np.array([[[4.0, 10.0], [1.0, 18.0]]], dtype=np.float32)
    found = Graph(fitted.onnx_bytes(), device="cpu").run(window)
    # Then rows weigh 1/3 and 2/3
    np.testing.assert_allclose(found.contribution, [[9 / 3, 16 * 2 / 3]], rtol=1e-6)
    np.testing.assert_allclose(found.score, [np.sqrt(3 + 32 / 3)], rtol=1e-6)
    np.testing.assert_allclose(found.expected, [[1.0, 10.0]])
    np.testing.assert_allclose(found.embedding, [[0.0, 4.0]])
    torch = pytest.importorskip("torch")
    twin = fitted.torchscript_bytes()
    assert twin is not None
    outputs = torch.jit.load(BytesIO(twin))(torch.from_numpy(window))
    np.testing.assert_allclose(outputs[0].numpy(), found.score, rtol=1e-6)


def test_one_row_is_the_plain_norm() -> None:
    train = normal_rows(500, 5, seed=2)
    windows = windows_of(train[:100], 1)
    found = Graph(fit_l2_norm(rows_of(train), L2NormSettings(window=1)).onnx_bytes(), device="cpu").run(windows)
    z = (train[:100].astype(np.float64) - train.mean(axis=0, dtype=np.float64)) / train.std(axis=0, dtype=np.float64)
    np.testing.assert_allclose(found.score, np.linalg.norm(z, axis=1), rtol=1e-4)


def test_missing_and_infinite_readings_leave_the_score_finite() -> None:
    train = normal_rows(500, 4)
    windows = windows_of(train[:34], 32)
    windows[0, :, 1] = np.nan
    windows[1, -1, 2] = np.inf
    found = Graph(fit_l2_norm(rows_of(train)).onnx_bytes(), device="cpu").run(windows)
    assert np.isfinite(found.score).all()
    assert found.contribution[1].argmax() == 2


def test_values_can_be_taken_as_they_come() -> None:
    fitted = fit_l2_norm(rows_of(normal_rows(500, 2)), L2NormSettings(window=1, scale="given"))
    found = Graph(fitted.onnx_bytes(), device="cpu").run(np.array([[[3.0, 4.0]]], dtype=np.float32))
    np.testing.assert_allclose(found.score, [5.0])


def test_wrong_settings_are_refused() -> None:
    for wrong in ({"window": 0}, {"half_life": 0.0}, {"clip": -1.0}):
        with pytest.raises(InputError, match="l2-norm"):
            L2NormSettings(**wrong)  # type: ignore[arg-type]
    assert L2NormSettings().least_rows == 64
    assert L2NormSettings(window=1).least_rows == 50
