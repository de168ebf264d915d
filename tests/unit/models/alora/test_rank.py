"""The rank without an SVD agrees with numpy's, and its threshold follows the rule."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from wheeltapper.models.alora.model import AloraNetwork
from wheeltapper.models.alora.rank import choose_threshold, hard_levels, positive_pivots, rank_above, smooth_levels


def _attention(count: int, size: int, seed: int = 0) -> torch.Tensor:
    """Row-stochastic matrices from nearly uniform to nearly one-hot."""
    random = np.random.default_rng(seed)
    logits = random.standard_normal((count, size, size)) * 10 ** random.uniform(-3, 1.5, (count, 1, 1))
    return torch.softmax(torch.as_tensor(logits, dtype=torch.float32), dim=2)


@pytest.mark.parametrize("size", [3, 20, 60])
@pytest.mark.parametrize("threshold", [0.2, 0.01, 0.001])
def test_rank_is_that_of_numpy_s_svd(size: int, threshold: float) -> None:
    # given
    attention = _attention(400, size)
    truth = (np.linalg.svd(attention.double().numpy(), compute_uv=False) > threshold).sum(axis=1)
    # when
    rank = rank_above(attention, hard_levels(threshold))
    # then every window agrees, over ranks from one to many
    assert rank.shape == (400, 1)
    np.testing.assert_array_equal(rank[:, 0].numpy(), truth)
    assert truth.min() == 1
    assert truth.max() > size / 2


def test_rank_of_a_network_s_own_attention(network: AloraNetwork) -> None:
    with torch.no_grad():
        attention = network(torch.randn(200, 8, 7) * 5).attention[-1]
    values = np.linalg.svd(attention.double().numpy(), compute_uv=False)
    for threshold in np.quantile(values[:, 1:], [0.2, 0.5, 0.9]):
        rank = rank_above(attention, hard_levels(float(threshold)))[:, 0]
        np.testing.assert_array_equal(rank.numpy(), (values > threshold).sum(axis=1))


@pytest.mark.parametrize(
    ("matrix", "rank"),
    [(torch.full((6, 6), 1 / 6), 1), (torch.eye(6), 6), (torch.eye(6)[[0, 0, 1, 1, 1, 5]], 3)],
    ids=["uniform", "identity", "one-hot rows"],
)
def test_rank_of_matrices_with_exact_zeros(matrix: torch.Tensor, rank: int) -> None:
    assert float(rank_above(matrix[None], hard_levels(0.01))) == rank


def test_pivots_count_positive_eigenvalues_of_indefinite_matrices() -> None:
    random = np.random.default_rng(2)
    half = random.standard_normal((50, 9, 9))
    symmetric = half + half.transpose(0, 2, 1)
    counted = positive_pivots(torch.as_tensor(symmetric).permute(1, 2, 0))
    np.testing.assert_array_equal(counted.numpy(), (np.linalg.eigvalsh(symmetric) > 0).sum(axis=1))


def test_smooth_rank_follows_its_formula() -> None:
    # given
    attention = _attention(300, 12)
    values = np.linalg.svd(attention.double().numpy(), compute_uv=False)
    wanted = (1 / (1 + np.exp(-(np.log(values) - np.log(0.05)) / 0.25))).sum(axis=1)
    # when
    smooth = rank_above(attention, smooth_levels(0.05)).mean(dim=1).numpy()
    # then to 1/32 a singular value, and several lie near the threshold
    near = (np.abs(np.log(values / 0.05)) < 2).sum(axis=1)
    assert (np.abs(smooth - wanted) <= near / 32 + 0.01).all()
    assert np.corrcoef(smooth, wanted)[0, 1] > 0.999


def _spectra(second: np.ndarray) -> np.ndarray:
    return np.stack([np.ones_like(second), second, second / 10], axis=1)


def test_threshold_gives_rank_one_to_99_5_percent_of_normal_windows() -> None:
    # given
    second = np.random.default_rng(0).uniform(0.01, 0.02, 2000)
    # when
    chosen = choose_threshold(_spectra(second))
    # then
    assert chosen.method == "second-singular-value"
    assert chosen.histogram[1] == pytest.approx(1990, abs=5)
    assert set(chosen.histogram) == {1, 2}
    # and it lies between two values, away from both
    assert np.abs(second / chosen.value - 1).min() > 1e-5


def test_threshold_of_a_wide_spread_is_the_spectrum_s_largest_gap() -> None:
    second = 10 ** np.random.default_rng(0).uniform(-4, -0.5, 2000)
    chosen = choose_threshold(_spectra(second))
    assert chosen.method == "spectrum-gap"
    assert second.mean() / 10 < chosen.value < 1


@pytest.mark.parametrize("level", [1e-9, 0.3, 1.0])
def test_threshold_of_identical_windows_stays_in_its_bounds(level: float) -> None:
    chosen = choose_threshold(_spectra(np.full(100, level)))
    assert 1e-4 <= chosen.value < 1
    assert sum(chosen.histogram.values()) == 100


def test_given_threshold_is_kept_and_its_ranks_are_counted() -> None:
    chosen = choose_threshold(_spectra(np.full(10, 0.3)), given=0.02)
    assert (chosen.value, chosen.method, chosen.histogram) == (0.02, "given", {3: 10})
