"""The encoder: shapes, its size, and the two properties that its README states."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from wheeltapper.models.alora.config import PRESETS, AloraConfig
from wheeltapper.models.alora.model import AloraNetwork, EncoderLayer, TimeNorm
from wheeltapper.schemas.errors import InputError


def test_shapes_and_stochastic_attention(network: AloraNetwork) -> None:
    output = network(torch.randn(5, 8, 7))
    assert output.reconstruction.shape == (5, 8, 7)
    assert output.encoded.shape == (5, 8, 12)
    assert [tuple(matrix.shape) for matrix in output.attention] == [(5, 8, 8)] * 2
    for matrix in output.attention:
        torch.testing.assert_close(matrix.sum(dim=2), torch.ones(5, 8))


def test_the_paper_s_size() -> None:
    # given d = 512, C = 38, T = 20: the paper speaks of 3.2 million parameters
    pairs = np.stack(np.triu_indices(38, 1), axis=1)[:512]
    network = AloraNetwork(PRESETS["paper"], 38, pairs)
    # when / then
    assert sum(parameter.numel() for parameter in network.parameters()) == 3_173_654


def test_heads_of_unequal_division_are_floored() -> None:
    # given PSM's d = 300 with 8 heads: 37 a head, 296 inside
    layer = EncoderLayer(300, 8, 10, 0.0)
    assert (layer.attention.head_width, layer.attention.query.out_features) == (37, 296)
    assert layer(torch.randn(2, 10, 300))[0].shape == (2, 10, 300)


def test_time_norm_is_layer_norm_over_the_time_axis() -> None:
    # given gains and biases per step
    norm, reference = TimeNorm(6), nn.LayerNorm(6)
    gain, bias = torch.randn(6), torch.randn(6)
    with torch.no_grad():
        norm.weight.copy_(gain[:, None])
        norm.bias.copy_(bias[:, None])
        reference.weight.copy_(gain)
        reference.bias.copy_(bias)
    features = torch.randn(3, 6, 4)
    # when / then
    torch.testing.assert_close(
        norm(features), reference(features.transpose(1, 2)).transpose(1, 2), rtol=1e-4, atol=1e-5
    )


def test_rank_one_attention_adds_nothing_to_the_encoder() -> None:
    # given a layer whose queries are constant: every step attends alike, every head is 1p'
    layer = EncoderLayer(12, 3, 8, 0.0)
    with torch.no_grad():
        layer.attention.query.weight.zero_()
    features = torch.randn(4, 8, 12)
    # when
    encoded, weights = layer(features)
    # then attention is of rank one, and LayerNorm over time has taken its context out again
    assert int(torch.linalg.matrix_rank(weights.mean(dim=1), tol=1e-4).max()) == 1
    without = layer.after_attention(features)
    torch.testing.assert_close(encoded, layer.after_residual(without + without), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "change",
    [
        {"window": 2},
        {"heads": 0},
        {"rank_threshold": 1.5},
        {"dropout": 1.0},
        {"localization_top": -1},
        {"input_clip": 0.0},
    ],
)
def test_settings_out_of_range_are_refused(tiny: AloraConfig, change: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(change))):
        replace(tiny, **change)  # type: ignore[arg-type]
