"""Encoder, normalisation by domain, gradient reversal."""

from __future__ import annotations

import pytest
import torch

from wheeltapper.models.domain_adaptation.config import PRESETS, DomainAdaptationConfig, Norm
from wheeltapper.models.domain_adaptation.network import (
    SOURCE,
    TARGET,
    DomainBatchNorm,
    DomainNetwork,
    Encoder,
    GradientReversal,
)
from wheeltapper.schemas.errors import InputError

TINY = DomainAdaptationConfig(window=16, channels=4, hidden=3, latent=8, pool=2, dropout=0.5)


@pytest.mark.parametrize(("pool", "norm"), [(1, "domain"), (2, "group"), (4, "domain")])
def test_outputs_have_the_stated_shapes(pool: int, norm: Norm) -> None:
    network = DomainNetwork(
        5, DomainAdaptationConfig(window=16, channels=4, hidden=3, layers=2, latent=8, pool=pool, norm=norm)
    ).eval()
    features, logit, reconstruction = network(torch.randn(3, 16, 5))
    assert features.shape == (3, 8)
    assert logit.shape == (3,)
    assert reconstruction.shape == (3, 16, 5)


def test_both_directions_of_the_bilstm_have_seen_the_whole_window() -> None:
    # given an encoder whose convolutions are skipped
    encoder = Encoder(5, TINY).eval()
    steps = torch.randn(1, 8, 16)
    read = encoder.read_out(steps)[0].detach()
    # when only the first, or only the last step changes
    for changed in (0, -1):
        other = steps.clone()
        other[:, changed] += 3
        moved = (encoder.read_out(other)[0].detach() - read).abs()
        # then both halves of what is read out move; read after the last step alone, the backward half would not
        assert moved[:3].max() > 1e-4, changed
        assert moved[3:].max() > 1e-4, changed


def test_reversal_leaves_values_and_turns_gradients() -> None:
    values = torch.tensor([1.0, -2.0], requires_grad=True)
    reached = GradientReversal.apply(values, 0.5)
    assert torch.equal(reached, values)
    (3 * reached).sum().backward()
    assert values.grad is not None
    assert values.grad.tolist() == [-1.5, -1.5]


def test_each_domain_is_normalised_by_its_own_statistics() -> None:
    # given two domains of another level and spread
    norm = DomainBatchNorm(2)
    source, target = torch.randn(64, 2, 10), 5 + 3 * torch.randn(64, 2, 10)
    norm.train()
    for _ in range(60):
        norm.domain = SOURCE
        norm(source)
        norm.domain = TARGET
        norm(target)
    # when each is normalised in evaluation
    norm.eval()
    for domain, values in ((SOURCE, source), (TARGET, target)):
        norm.domain = domain
        out = norm(values)
        # then both are standardised, which statistics of the mixture would not do to either
        assert out.mean().abs() < 0.05
        assert abs(float(out.detach().std()) - 1) < 0.05


def test_anomalous_windows_do_not_move_a_domain_s_statistics() -> None:
    norm = DomainBatchNorm(1).train()
    windows = torch.randn(32, 1, 50)
    windows[20:] += 100
    norm.reference = torch.arange(32) < 20
    out = norm(windows)
    assert out[:20].mean().abs() < 1e-3
    assert out[20:].mean() > 50


def test_estimated_statistics_standardise_what_they_were_estimated_on() -> None:
    torch.manual_seed(0)
    network = DomainNetwork(3, TINY)
    rows = 4 + 2 * torch.randn(40, 16, 3)
    network.estimate_statistics(rows, TARGET)
    network.eval()
    out = network.encoder.convolutions[:2](rows.transpose(1, 2))
    torch.testing.assert_close(out.mean(dim=(0, 2)), torch.zeros(4), atol=1e-3, rtol=0)
    torch.testing.assert_close(out.std(dim=(0, 2)), torch.ones(4), atol=1e-2, rtol=0)


def test_aligned_features_carry_no_dropout_of_their_own() -> None:
    # given dropout of a half in every head
    network = DomainNetwork(3, TINY)
    heads = [module for module in network.encoder.modules() if isinstance(module, torch.nn.Dropout)]
    for module in heads:
        module.p = 0.0
    for norm in network.encoder.convolutions:
        if isinstance(norm, DomainBatchNorm):
            norm.eval()
    network.train(False)
    network.classifier.train()
    rows = torch.randn(4, 16, 3)
    # when the same windows pass twice
    (first, logit, _), (second, other, _) = network(rows), network(rows)
    # then what is aligned is the same and has negative values: it comes before ReLU and dropout, which the heads begin with
    assert torch.equal(first, second)
    assert not torch.equal(logit, other)
    assert (first < 0).any()


def test_only_dann_has_a_discriminator() -> None:
    for method, expected in (("dann", True), ("mmd", False), ("coral", False), ("source-only", False)):
        network = DomainNetwork(2, DomainAdaptationConfig(window=16, channels=4, method=method))  # type: ignore[arg-type]
        assert (network.discriminator is not None) == expected


def test_paper_preset_has_the_paper_s_sizes() -> None:
    paper = PRESETS["paper"]
    assert (paper.channels, paper.hidden, paper.layers, paper.latent, paper.pool) == (32, 128, 2, 128, 1)


@pytest.mark.parametrize("changes", [{"pool": 3}, {"window": 18, "pool": 4}, {"channels": 6}, {"alpha": 1.5}])
def test_settings_out_of_range_are_refused(changes: dict[str, int]) -> None:
    with pytest.raises(InputError, match="domain-adaptation: "):
        DomainAdaptationConfig(**changes)  # type: ignore[arg-type]
