"""The variational autoencoder of flattened windows: linear (Gaussian) decoder, log-variance cut.

Loss of a window = D * mean((x - x')^2) + KL,  KL = -0.5 sum(1 + logvar - mu^2 - exp(logvar)),  D = W * C.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from wheeltapper.models.rl_vae.config import RlVaeConfig

LOG_VARIANCE_LIMIT = 10.0


class VaeOutput(NamedTuple):
    """mu, log_variance [N, L]; reconstruction [N, W, C], z-scores."""

    mu: Tensor
    log_variance: Tensor
    reconstruction: Tensor


class Vae(nn.Module):
    """forward(rows [N, W, C] z-scores) -> VaeOutput; samples z while in training mode, takes mu otherwise."""

    def __init__(self, config: RlVaeConfig, channels: int) -> None:
        super().__init__()
        self.window, self.channels = config.window, channels
        self.clip = float(config.network_clip)
        width, size = config.hidden, config.window * channels
        self.encoder = nn.Sequential(
            nn.Linear(size, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
        )
        self.mu = nn.Linear(width, config.latent)
        self.log_variance = nn.Linear(width, config.latent)
        self.decoder = nn.Sequential(nn.Linear(config.latent, width), nn.ReLU(), nn.Linear(width, size))

    def embed(self, rows: Tensor) -> Tensor:
        """[N, W, C] z-scores -> mu [N, L]."""
        mu: Tensor = self.mu(self._hidden(rows))
        return mu

    def _hidden(self, rows: Tensor) -> Tensor:
        hidden: Tensor = self.encoder(torch.clamp(rows, -self.clip, self.clip).flatten(1))
        return hidden

    def forward(self, rows: Tensor) -> VaeOutput:
        hidden = self._hidden(rows)
        mu = self.mu(hidden)
        log_variance = torch.clamp(self.log_variance(hidden), -LOG_VARIANCE_LIMIT, LOG_VARIANCE_LIMIT)
        latent = mu + torch.exp(0.5 * log_variance) * torch.randn_like(mu) if self.training else mu
        reconstruction = self.decoder(latent).reshape(-1, self.window, self.channels)
        return VaeOutput(mu, log_variance, reconstruction)


def vae_loss(output: VaeOutput, rows: Tensor) -> Tensor:
    """[N]: the negative evidence lower bound of each window, up to a constant."""
    squared = ((rows - output.reconstruction) ** 2).sum(dim=(1, 2))
    divergence = -0.5 * (1 + output.log_variance - output.mu**2 - torch.exp(output.log_variance)).sum(dim=1)
    return squared + divergence
