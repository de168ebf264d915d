"""Losses of domain adaptation: DANN, MMD, CORAL, and their schedule."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from wheeltapper.models.domain_adaptation.network import GradientReversal

BANDWIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
POSITIVE_WEIGHT_LIMIT = 20.0


def schedule(progress: float) -> float:
    """lambda(p) = 2 / (1 + exp(-10 p)) - 1, p in [0, 1]: 0 at the start, near 1 from the middle on (Ganin et al., 2016)."""
    return 2 / (1 + math.exp(-10 * progress)) - 1


def positive_weight(labels: Tensor) -> Tensor:
    """min(negatives / positives, 20) of [n] labels 0 or 1: what an anomalous window counts for."""
    positives = float((labels == 1).sum())
    negatives = float((labels == 0).sum())
    ratio = negatives / positives if positives else 1.0
    return torch.tensor(min(max(ratio, 1 / POSITIVE_WEIGHT_LIMIT), POSITIVE_WEIGHT_LIMIT))


def squared_distances(left: Tensor, right: Tensor) -> Tensor:
    """[n, D], [m, D] -> [n, m]."""
    squares = (left**2).sum(1)[:, None] + (right**2).sum(1)[None, :]
    return (squares - 2 * left @ right.T).clamp(min=0)


def mmd_loss(source: Tensor, target: Tensor) -> Tensor:
    """Unbiased squared maximum mean discrepancy of [n, D] and [m, D], n, m >= 2 (Gretton et al., 2012, eq. 3).

    Sum of five Gaussian kernels exp(-d^2 / (f m)), m = median of the squared distances of the joint batch (the
    median heuristic, which takes no gradient), f = 1/4 .. 4. Diagonals are left out, so that equal
    distributions give 0 on average, at times a little below.
    """
    distances = squared_distances(joint := torch.cat([source, target]), joint)
    n, m = len(source), len(target)
    off_diagonal = ~torch.eye(n + m, dtype=torch.bool, device=distances.device)
    median = distances.detach()[off_diagonal].median().clamp(min=1e-12)
    kernel = torch.stack([torch.exp(-distances / (factor * median)) for factor in BANDWIDTHS]).sum(0)
    kernel = kernel * off_diagonal
    within = kernel[:n, :n].sum() / (n * (n - 1)) + kernel[n:, n:].sum() / (m * (m - 1))
    return within - 2 * kernel[:n, n:].mean()


def coral_loss(source: Tensor, target: Tensor) -> Tensor:
    """||Cov_s - Cov_t||_F^2 / (4 D^2) of [n, D] and [m, D], plus the squared distance of means / D.

    Sun & Saenko, 2016, align covariances alone and leave means to the normalisation of inputs; means are added here,
    since features of a network are not centred.
    """
    width = source.shape[1]
    covariance = ((torch.cov(source.T) - torch.cov(target.T)) ** 2).sum() / (4 * width**2)
    means = ((source.mean(0) - target.mean(0)) ** 2).sum() / width
    return covariance + means


def alignment_loss(
    method: str, source: Tensor, target: Tensor, strength: float, discriminator: nn.Module | None = None
) -> Tensor:
    """What pulls [n, D] and [m, D] together, by 'dann', 'mmd' or 'coral'; 0 where either has fewer than two.

    Args:
        strength: of the pull on the features.
        discriminator: of DANN.
    """
    if min(len(source), len(target)) < 2:
        return target.sum() * 0
    if method == "dann":
        assert discriminator is not None
        return dann_loss(discriminator, source, target, strength)
    distance = mmd_loss if method == "mmd" else coral_loss
    return strength * distance(source, target)


def dann_loss(discriminator: nn.Module, source: Tensor, target: Tensor, strength: float) -> Tensor:
    """Cross entropy of telling source (0) from target (1), each half of the weight.

    The discriminator learns at full weight always; `strength` scales what goes back, reversed, into the features
    and nothing else. Used as the loss's weight too, it would count twice there and starve the discriminator.
    """
    reversed_features = GradientReversal.apply(torch.cat([source, target]), strength)
    logits = discriminator(reversed_features)[:, 0]
    loss = nn.functional.binary_cross_entropy_with_logits
    n = len(source)
    return (loss(logits[:n], torch.zeros_like(logits[:n])) + loss(logits[n:], torch.ones_like(logits[n:]))) / 2
