"""The VAE's loss: negative evidence lower bound of a Gaussian likelihood with a fixed deviation.

    D/2 log(2 pi sigma^2) + w ||x - x'||^2 + KL(N(mu, s) || N(0, 1)),   D = l_win * C,   sigma = 0.1

With w = 1 / (2 sigma^2) = 50 this is the bound itself; `recon_weight` is w.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

SIGMA = 0.1


def negative_elbo(rows: Tensor, reconstruction: Tensor, mu: Tensor, sigma: Tensor, recon_weight: float) -> Tensor:
    """[B]: loss of each window.

    Args:
        rows, reconstruction: [B, l_win, C]. mu, sigma: [B, code]. recon_weight: w above.
    """
    size = rows.shape[1] * rows.shape[2]
    constant = 0.5 * size * math.log(2 * math.pi * SIGMA**2)
    error = ((rows - reconstruction) ** 2).sum(dim=(1, 2))
    return constant + recon_weight * error + kl_divergence(mu, sigma)


def kl_divergence(mu: Tensor, sigma: Tensor) -> Tensor:
    """[B]: of N(mu, sigma) from N(0, 1), summed over the code."""
    squares = sigma**2
    return 0.5 * (mu**2 + squares - torch.log(squares) - 1).sum(dim=1)
