"""RL-VAE's networks and graph: linear decoder, one scaler, all channels, no flag needed, and no way to hide a gross window."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from wheeltapper.models.rl_vae.config import RlVaeConfig
from wheeltapper.models.rl_vae.graph import RlVaeGraph, Standards, state_features, states, window_error
from wheeltapper.models.rl_vae.qnetwork import QNetwork
from wheeltapper.models.rl_vae.vae import LOG_VARIANCE_LIMIT, Vae, VaeOutput, vae_loss
from wheeltapper.schemas.errors import InputError

CONFIG = RlVaeConfig(window=8, hidden=16, latent=3, q_hidden=4, beta=3.0)
CHANNELS = 5


def made_graph(config: RlVaeConfig = CONFIG, **standards: Any) -> RlVaeGraph:
    torch.manual_seed(0)
    vae, q_network = Vae(config, CHANNELS), QNetwork(config, state_features(CHANNELS))
    mean, scale = np.arange(CHANNELS, dtype=np.float32), np.full(CHANNELS, 2.0, np.float32)
    return RlVaeGraph(vae, q_network, config, mean, scale, Standards(**standards))


def normal_windows(count: int = 6) -> torch.Tensor:
    return torch.randn(count, 8, CHANNELS, generator=torch.Generator().manual_seed(1)) * 2 + torch.arange(5.0)


def test_decoder_is_linear_so_that_negative_z_scores_can_be_reconstructed() -> None:
    # Bug 3: a sigmoid cannot give what a standardised window holds.
    vae = Vae(CONFIG, CHANNELS).eval()
    with torch.no_grad():
        last = vae.decoder[-1]
        assert isinstance(last, torch.nn.Linear)
        last.bias[:] = -7.0
        assert float(vae(torch.zeros(1, 8, CHANNELS)).reconstruction.mean()) < -5


def test_loss_is_d_times_mean_squared_error_plus_divergence() -> None:
    rows = torch.zeros(2, 8, CHANNELS)
    output = VaeOutput(torch.tensor([[1.0, 0, 0], [0, 0, 0]]), torch.zeros(2, 3), torch.full((2, 8, CHANNELS), 0.5))
    # D * 0.25 = 40 * 0.25; KL of mu = 1 with unit variance is 0.5
    assert vae_loss(output, rows).tolist() == pytest.approx([10.5, 10.0])


def test_log_variance_is_cut_and_extreme_rows_stay_finite() -> None:
    vae = Vae(CONFIG, CHANNELS)
    output = vae(torch.full((2, 8, CHANNELS), 1e6))
    assert output.log_variance.abs().max() <= LOG_VARIANCE_LIMIT
    assert torch.isfinite(vae_loss(output, torch.zeros(2, 8, CHANNELS))).all()


def test_sampling_is_for_training_only() -> None:
    vae, rows = Vae(CONFIG, CHANNELS), torch.randn(2, 8, CHANNELS)
    assert not torch.equal(vae(rows).reconstruction, vae(rows).reconstruction)
    assert torch.equal(vae.eval()(rows).reconstruction, vae(rows).reconstruction)


def test_one_scaler_serves_both_networks() -> None:
    # Bug 3: given the same machine in other units
    graph = made_graph()
    other = made_graph()
    other.mean, other.scale = graph.mean * 100, graph.scale * 100
    # when the same window is scored in these units, then nothing changes but the units
    windows = normal_windows()
    first, second = graph(windows), other(windows * 100)
    for index in (0, 1, 3):
        torch.testing.assert_close(first[index], second[index], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(first[2] * 100, second[2], rtol=1e-4, atol=1e-2)


def test_every_channel_reaches_score_and_contribution() -> None:
    # Bug 4: the authors keep channel 0.
    graph, window = made_graph(), normal_windows(1)
    for channel in range(CHANNELS):
        moved = window.clone()
        moved[0, -1, channel] += 40
        assert graph(moved)[0] > 2 * graph(window)[0]
        assert int(graph(moved)[1].argmax()) == channel


def test_a_wild_q_network_cannot_hide_a_gross_window() -> None:
    # Given a Q-network that is as sure as can be that the gross window is normal and the normal one is not
    graph = made_graph(advantage_mean=0.0, advantage_spread=1e-6)
    normal, gross = normal_windows(1), normal_windows(1) + 500
    advantage = {}

    def opposite(state: torch.Tensor) -> torch.Tensor:
        wild = torch.where(state.mean(dim=(1, 2)) > 0.1, -1.0, 1.0)
        advantage["last"] = wild
        return torch.stack([torch.zeros_like(wild), wild], dim=1)

    graph.q_network.forward = opposite  # type: ignore[method-assign,assignment]
    low = graph(gross)[0]
    assert float(advantage["last"]) == -1.0
    high = graph(normal)[0]
    assert float(advantage["last"]) == 1.0
    # then the gross one still scores higher by far
    assert low > 3 * high


def test_ablations_are_the_factors_of_the_score() -> None:
    graph = made_graph()
    scores = {}
    for kind in ("both", "vae", "q"):
        graph.kind = kind  # type: ignore[assignment]
        scores[kind] = graph(normal_windows())[0]
    torch.testing.assert_close(scores["both"], scores["vae"] * scores["q"])


def test_missing_values_take_no_part_in_error_and_contribution() -> None:
    graph, windows = made_graph(), normal_windows(2)
    windows[0, :, 2] = float("nan")
    windows[1] = float("nan")
    score, contribution, expected, embedding = graph(windows)
    assert contribution[0, 2] == 0
    assert contribution[1].tolist() == [0.0] * CHANNELS
    for values in (score, contribution, expected, embedding):
        assert torch.isfinite(values).all()


def test_error_is_the_geometric_mean_of_window_and_last_row() -> None:
    residual = torch.zeros(1, 4, 2)
    residual[0, -1] = 4.0
    # mean squares: window 4, last row 16; (4 * 16) ** (1/4)
    measured, alike = torch.ones_like(residual), torch.ones(2)
    assert float(window_error(residual, measured, alike)) == pytest.approx(64**0.25, rel=1e-4)
    # trusting one of the two channels half: window 3, last row 12
    assert float(window_error(residual, measured, torch.tensor([1.0, 0.5]))) == pytest.approx(36**0.25, rel=1e-4)


@torch.no_grad()
def test_a_channel_without_trust_moves_neither_score_nor_contribution() -> None:
    # given a graph that trusts all channels but the second, and one that trusts all
    doubtful = made_graph(trust=np.array([1, 1e-9, 1, 1, 1], np.float32), weight=0.0)
    trusting = made_graph(weight=0.0)
    # when that channel's last value is far off
    usual = normal_windows(1)
    moved = usual.clone()
    moved[0, -1, 1] += 500
    # then the one says nothing and the other does; the VAE alone knows no labels, so no trust
    assert float(doubtful(moved)[0]) < 1.5 * float(doubtful(usual)[0])
    assert float(trusting(moved)[0]) > 5 * float(trusting(usual)[0])
    assert int(trusting(moved)[1].argmax()) == 1 != int(doubtful(moved)[1].argmax())
    doubtful.kind = "vae"
    assert float(doubtful(moved)[0]) > 5 * float(doubtful(usual)[0])


def test_state_holds_residuals_not_values_and_flags_in_the_last_column() -> None:
    residual = torch.randn(2, 8, CHANNELS)
    flags = torch.ones(2, 8)
    assert states(residual).shape == (2, 8, state_features(CHANNELS))
    assert states(residual)[:, :, -1].abs().max() == 0
    assert states(residual, flags)[:, :, -1].min() == 1
    # the sign of a residual is no part of it
    torch.testing.assert_close(states(residual), states(-residual))


@pytest.mark.parametrize(
    ("setting", "value"),
    [("window", 1), ("gamma", 1.0), ("beta", 0.0), ("label_budget", 1), ("epsilon_end", 2.0), ("lambda_start", 9.0)],
)
def test_settings_out_of_range_are_refused_by_name(setting: str, value: float) -> None:
    with pytest.raises(InputError, match=setting.split("_")[0]):
        RlVaeConfig(**{setting: value})  # type: ignore[arg-type]
