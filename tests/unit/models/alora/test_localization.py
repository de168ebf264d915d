"""ALoRa-Loc against cases small enough for paper and pencil."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from wheeltapper.models.alora.config import AloraConfig
from wheeltapper.models.alora.localization import blame_matrix, contribution_matrix
from wheeltapper.models.alora.model import AloraNetwork

K = np.array([[4.0, -1.0, 0.5], [0.0, 2.0, -6.0], [0.0, 0.0, 0.0]])


def test_paper_keeps_the_two_largest_of_each_row_and_normalises() -> None:
    wanted = [[4 / 5, 1 / 5, 0], [0, 2 / 8, 6 / 8], [0, 0, 1]]  # the third channel is in no pair: it keeps its error
    np.testing.assert_allclose(blame_matrix(K, "paper", 2), wanted)


def test_backward_carries_an_output_s_error_to_the_inputs_that_feed_it() -> None:
    wanted = [[1, 0, 0], [1 / 3, 2 / 3, 0], [0.5 / 6.5, 6 / 6.5, 0]]
    np.testing.assert_allclose(blame_matrix(K, "backward", 2), wanted)


def test_all_entries_and_none() -> None:
    np.testing.assert_allclose(blame_matrix(K, "paper", 0)[0], [4 / 5.5, 1 / 5.5, 0.5 / 5.5])
    np.testing.assert_array_equal(blame_matrix(K, "error"), np.eye(3))


@pytest.mark.parametrize("direction", ["paper", "backward", "error"])
def test_blame_is_non_negative_finite_and_loses_nothing(direction: str) -> None:
    blame = blame_matrix(np.zeros((4, 4)), direction, 2)  # type: ignore[arg-type]
    np.testing.assert_array_equal(blame, np.eye(4))
    blame = blame_matrix(np.random.default_rng(0).standard_normal((9, 9)), direction, 3)  # type: ignore[arg-type]
    assert (blame >= 0).all()
    np.testing.assert_allclose(blame.sum(axis=1), 1)


def test_contributions_of_a_network_by_hand() -> None:
    # given two channels, one pair used by both features, one layer with one head
    config = AloraConfig(window=4, width=2, layers=1, heads=1)
    network = AloraNetwork(config, 3, np.array([[0, 1], [0, 1]]))
    attention = network.layers[0].attention
    w = np.array([[1.0, 2.0], [3.0, -1.0]])  # feature by (first, second) channel
    value, out = np.array([[1.0, 2.0], [0.0, 1.0]]), np.array([[0.5, 0.0], [1.0, 1.0]])  # row-vector convention
    decode = np.array([[1.0, 0.0, 2.0], [0.0, 1.0, -1.0]])
    with torch.no_grad():
        network.embedding.scalars.copy_(torch.as_tensor(w))
        attention.value.weight.copy_(torch.as_tensor(value.T))
        attention.out.weight.copy_(torch.as_tensor(out.T))
        network.decoder.weight.copy_(torch.as_tensor(decode.T))
    # when
    contributions = contribution_matrix(network)
    # then K = W' (I + W_V W_O) W_dec; channel 2 is in no pair
    embed = np.array([[1.0, 3.0], [2.0, -1.0], [0.0, 0.0]])
    np.testing.assert_allclose(contributions, embed @ (np.eye(2) + value @ out) @ decode, rtol=1e-6)
    assert (contributions[2] == 0).all()


def test_contributions_are_the_network_s_derivative_where_norms_are_left_out(network: AloraNetwork) -> None:
    # given a network without its norms and with uniform attention, a constant window
    class Identity(torch.nn.Module):
        def forward(self, features: torch.Tensor) -> torch.Tensor:
            return features

    network.norm = Identity()  # type: ignore[assignment]
    for layer in network.layers:
        layer.after_attention = Identity()
        layer.after_residual = torch.nn.Module()
        layer.after_residual.forward = lambda features: features / 2  # type: ignore[method-assign]
        with torch.no_grad():
            layer.attention.query.weight.zero_()
            layer.attention.query.bias.zero_()
    # when one channel is raised by 1 over the whole window
    base = torch.zeros(1, 8, 7)
    moved = base.clone()
    moved[:, :, 2] = 1
    with torch.no_grad():
        change = (network(moved).reconstruction - network(base).reconstruction)[0, -1]
    # then each output changes by K[2]
    np.testing.assert_allclose(change.numpy(), contribution_matrix(network)[2], rtol=1e-3, atol=1e-4)
