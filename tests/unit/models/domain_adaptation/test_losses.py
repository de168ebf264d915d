"""Losses against hand-made cases."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from wheeltapper.models.domain_adaptation.losses import (
    BANDWIDTHS,
    coral_loss,
    dann_loss,
    mmd_loss,
    positive_weight,
    schedule,
)


def test_schedule_starts_at_nothing_and_ends_near_one() -> None:
    assert schedule(0.0) == 0.0
    assert abs(schedule(0.1) - 0.46211716) < 1e-6  # tanh(0.5)
    assert schedule(1.0) > 0.999


def test_mmd_is_the_unbiased_estimate_at_the_median_bandwidth() -> None:
    # given few points, so that the double sums can be written out
    random = np.random.default_rng(0)
    source, target = random.standard_normal((4, 3)), 1 + random.standard_normal((5, 3))
    joint = np.concatenate([source, target])
    squared = ((joint[:, None] - joint[None]) ** 2).sum(-1)
    off = ~np.eye(9, dtype=bool)
    # torch takes the lower of two middle values
    median = np.sort(squared[off])[(off.sum() - 1) // 2]
    kernel = sum(np.exp(-squared / (factor * median)) for factor in BANDWIDTHS)
    within_source = sum(kernel[i, j] for i in range(4) for j in range(4) if i != j) / 12
    within_target = sum(kernel[i, j] for i in range(4, 9) for j in range(4, 9) if i != j) / 20
    expected = within_source + within_target - 2 * kernel[:4, 4:].mean()
    assert abs(float(mmd_loss(torch.tensor(source), torch.tensor(target))) - expected) < 1e-8


def test_mmd_of_equal_distributions_is_nothing_on_average_whatever_their_scale() -> None:
    generator = torch.Generator().manual_seed(1)
    for scale in (1e-2, 1.0, 1e3):
        values = [float(mmd_loss(*(scale * torch.randn(2, 32, 8, generator=generator)).unbind())) for _ in range(60)]
        # biased, it would be above 0 always; with bandwidths that do not follow the data, 0 at one of the scales
        assert abs(np.mean(values)) < 0.02, scale
        assert min(values) < 0, scale
        left, right = (scale * torch.randn(2, 32, 8, generator=generator)).unbind()
        assert float(mmd_loss(left, right + scale)) > 0.3, scale


def test_coral_compares_covariances_and_means() -> None:
    source = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    assert float(coral_loss(source, source)) == 0
    # covariance 2/3 I against 8/3 I: ||2 I||^2 = 8, over 4 * 2^2
    assert abs(float(coral_loss(source, 2 * source)) - 0.5) < 1e-6
    # a shift by 3 in one of two features
    assert abs(float(coral_loss(source, source + torch.tensor([3.0, 0.0]))) - 4.5) < 1e-6


def test_lambda_reaches_the_encoder_once_and_the_discriminator_never() -> None:
    # given features and a discriminator
    torch.manual_seed(0)
    discriminator = nn.Linear(3, 1)
    features = torch.randn(4, 3), torch.randn(4, 3)

    def gradients(strength: float) -> tuple[torch.Tensor, torch.Tensor]:
        source, target = (part.clone().requires_grad_() for part in features)
        discriminator.zero_grad()
        dann_loss(discriminator, source, target, strength).backward()
        assert source.grad is not None
        assert discriminator.weight.grad is not None
        return source.grad, discriminator.weight.grad.clone()

    # when lambda is 1, a half and 0
    (full, learnt), (half, also), (none, at_start) = gradients(1.0), gradients(0.5), gradients(0.0)
    # then the encoder's gradient is proportional to it, not to its square
    torch.testing.assert_close(half, 0.5 * full)
    assert none.abs().max() == 0
    # and the discriminator learns at full weight, from the first step on
    torch.testing.assert_close(also, learnt)
    torch.testing.assert_close(at_start, learnt)
    assert learnt.abs().max() > 0


def test_rare_anomalies_weigh_as_much_as_they_are_rare_up_to_twenty() -> None:
    assert float(positive_weight(torch.tensor([0] * 9 + [1] * 3))) == 3
    assert float(positive_weight(torch.tensor([0] * 999 + [1]))) == 20
    assert float(positive_weight(torch.zeros(5))) == 1
