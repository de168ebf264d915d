"""The score in the graph."""

from __future__ import annotations

import numpy as np
import torch

from wheeltapper.models.domain_adaptation.config import DomainAdaptationConfig
from wheeltapper.models.domain_adaptation.graph import DomainAdaptationGraph
from wheeltapper.models.domain_adaptation.network import DomainNetwork

CONFIG = DomainAdaptationConfig(window=16, channels=4, hidden=3, latent=8, pool=2, method="dann", label_rows=4)


def graph(error_median: float = 0.5, error_spread: float = 0.25) -> DomainAdaptationGraph:
    torch.manual_seed(0)
    network = DomainNetwork(3, CONFIG).eval()
    return DomainAdaptationGraph(
        network,
        CONFIG,
        np.array([10, 0, -5.0]),
        np.array([2, 1, 4.0]),
        error_median,
        error_spread,
        np.array([1, 1, 20.0]),
        np.array([1, 2, 1.0]),
    )


def test_score_is_the_classifier_s_share_and_the_error_beyond_the_usual() -> None:
    module = graph()
    window = torch.randn(2, 16, 3) * 3 + 10
    score, contribution, expected, embedding = module(window)
    rows = (window - torch.tensor([10, 0, -5.0])) / torch.tensor([2, 1, 4.0])
    features = module.encoder(rows)
    reconstruction = module.decoder(features)
    squared = (rows - reconstruction)[:, -4:] ** 2
    beyond = (((squared * torch.tensor([1, 1, 20.0])).mean(dim=(1, 2)) - 0.5) / 0.25).clamp(min=0)
    torch.testing.assert_close(score, 0.7 * torch.sigmoid(module.classifier(features)[:, 0]) + 0.3 * beyond)
    torch.testing.assert_close(contribution, squared.mean(dim=1) / torch.tensor([1, 2, 1.0]))
    torch.testing.assert_close(
        expected, reconstruction[:, -1] * torch.tensor([2, 1, 4.0]) + torch.tensor([10, 0, -5.0])
    )
    torch.testing.assert_close(embedding, features)


def test_score_grows_without_end() -> None:
    module, window = graph(), torch.zeros(1, 16, 3)
    scores = []
    for size in (10.0, 100.0, 1000.0):
        strange = window.clone()
        strange[0, -4:, 1] = size
        scores.append(float(module(strange)[0].detach()))
    # clipped to [0, 1], the larger two would be equal
    assert scores[2] > 50 * scores[1] > 50 * scores[0]


def test_missing_values_take_no_part_in_the_error() -> None:
    window = torch.randn(1, 16, 3)
    window[0, -4:, 2] = torch.nan
    score, contribution, _, _ = graph()(window)
    assert torch.isfinite(score).all()
    assert contribution[0, 2] == 0
    assert torch.isfinite(graph()(torch.full((1, 16, 3), torch.nan))[0]).all()


def test_discriminator_stays_at_home() -> None:
    names = {name.split(".")[0] for name in graph().state_dict()}
    assert names == {
        "mean",
        "scale",
        "encoder",
        "classifier",
        "decoder",
        "error_median",
        "error_spread",
        "channel_weight",
        "channel_error",
    }
