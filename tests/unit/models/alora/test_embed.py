"""LightMTS-Embed: which pairs, what smoothing, what positions."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch

from wheeltapper.models.alora.embed import (
    MINIMUM_WIDTH,
    LightEmbedding,
    average_ranks,
    choose_pairs,
    moving_average,
    sinusoidal_table,
    spearman,
)


def test_ranks_and_correlations_are_those_of_scipy() -> None:
    # given values with many ties
    values = np.random.default_rng(1).integers(0, 9, (300, 5)).astype(np.float32)
    # when / then
    np.testing.assert_array_equal(average_ranks(values[:, 0]), scipy.stats.rankdata(values[:, 0]))
    np.testing.assert_allclose(spearman(values), scipy.stats.spearmanr(values).statistic, atol=1e-12)


def test_a_constant_channel_has_no_nan_correlation_and_joins_no_pair(rows: np.ndarray) -> None:
    # given a channel that never moves (the last), when
    correlation = spearman(rows)
    pairs = choose_pairs(rows, 512)
    # then
    assert np.isfinite(correlation).all()
    assert (correlation[6, :6] == 0).all()
    assert 6 not in pairs


def test_a_few_missing_values_hardly_move_a_correlation(rows: np.ndarray) -> None:
    holes = rows.copy()
    holes[::40, 1] = np.nan
    assert np.isfinite(spearman(holes)).all()
    np.testing.assert_allclose(spearman(holes), spearman(rows), atol=0.05)


def test_all_pairs_in_lexicographic_order_where_they_fit() -> None:
    rows = np.random.default_rng(0).standard_normal((50, 7))
    pairs = choose_pairs(rows, 512)
    np.testing.assert_array_equal(pairs, np.stack(np.triu_indices(7, 1), axis=1))


def test_beyond_the_limit_the_most_correlated_pairs_come_first() -> None:
    # given 40 channels (780 pairs) of which 3 and 17 are the same up to a monotone map
    values = np.random.default_rng(0).standard_normal((200, 40))
    values[:, 17] = np.exp(values[:, 3])
    # when
    pairs = choose_pairs(values, 4096, cover_channels=False)
    # then the cap holds, and rank correlation sees the pair that a linear one would rate lower
    assert len(pairs) == 512
    assert pairs[0].tolist() == [3, 17]
    strength = np.abs(spearman(values)[pairs[:, 0], pairs[:, 1]])
    assert (np.diff(strength) <= 1e-12).all()


def test_every_moving_channel_is_covered_unless_the_paper_s_choice_is_asked_for() -> None:
    # given 9 channels that follow each other, and one (the first) that follows nobody
    random = np.random.default_rng(3)
    source = random.standard_normal((500, 1))
    values = np.concatenate([random.standard_normal((500, 1)), source + 0.1 * random.standard_normal((500, 9))], axis=1)
    # when / then
    assert 0 not in choose_pairs(values, 20, cover_channels=False)
    covered = choose_pairs(values, 20)
    assert len(covered) == 20
    assert set(np.unique(covered)) == set(range(10))


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_few_channels_use_their_pairs_several_times(channels: int) -> None:
    rows = np.random.default_rng(0).standard_normal((60, channels))
    pairs = choose_pairs(rows, 512)
    assert len(pairs) >= MINIMUM_WIDTH
    assert set(np.unique(pairs)) == set(range(channels))


def test_all_channels_constant_is_refused() -> None:
    with pytest.raises(ValueError, match="constant"):
        choose_pairs(np.ones((20, 3)), 512)


@pytest.mark.parametrize("width", [7, 8, 1])
def test_positions_exist_for_odd_widths_too(width: int) -> None:
    table = sinusoidal_table(5, width)
    assert table.shape == (5, width)
    torch.testing.assert_close(table[:, 0], torch.sin(torch.arange(5.0)))
    if width > 1:
        torch.testing.assert_close(table[:, 1], torch.cos(torch.arange(5.0)))


@pytest.mark.parametrize("padding", ["replicate", "causal", "circular"])
def test_smoothing_is_the_mean_of_three_rows_inside_the_window(padding: str) -> None:
    rows = torch.randn(2, 9, 3)
    smooth = moving_average(rows, padding)  # type: ignore[arg-type]
    shift = 1 if padding == "causal" else 0
    wanted = (rows[:, 0:-2] + rows[:, 1:-1] + rows[:, 2:]) / 3  # centred on rows 1..7
    torch.testing.assert_close(smooth[:, 1 + shift : 8 + shift], wanted)


@pytest.mark.parametrize(("padding", "depends"), [("replicate", False), ("causal", False), ("circular", True)])
def test_the_scored_step_is_smoothed_with_the_oldest_one_only_when_circular(padding: str, depends: bool) -> None:
    # given two windows that differ in their oldest row only
    rows = torch.randn(1, 9, 3)
    other = rows.clone()
    other[:, 0] += 100
    # when
    embedding = LightEmbedding(3, 9, [(0, 1), (1, 2)], padding=padding)  # type: ignore[arg-type]
    last, last_of_other = embedding(rows)[0, -1], embedding(other)[0, -1]
    # then
    assert bool((last != last_of_other).any()) is depends


def test_a_feature_is_two_scaled_channels_plus_its_position() -> None:
    # given
    rows = torch.randn(2, 6, 4)
    embedding = LightEmbedding(4, 6, [(0, 3), (2, 2)])
    smooth = moving_average(rows, "replicate")
    w = embedding.scalars
    # when / then
    wanted = torch.stack(
        [w[0, 0] * smooth[..., 0] + w[0, 1] * smooth[..., 3], (w[1, 0] + w[1, 1]) * smooth[..., 2]], dim=2
    )
    torch.testing.assert_close(embedding(rows), wanted + sinusoidal_table(6, 2))
