"""Domain adaptation under the graph contract: raw windows of the target in; score, contribution, expected, embedding out."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from wheeltapper.models.domain_adaptation.config import DomainAdaptationConfig
from wheeltapper.models.domain_adaptation.network import DomainNetwork
from wheeltapper.models.standardised import StandardisedGraph

OUTPUTS = ("score", "contribution", "expected", "embedding")


class DomainAdaptationGraph(StandardisedGraph):
    """forward(window [N, W, F] float32, raw units) -> (score [N], contribution [N, F], expected [N, F], embedding [N, D]).

    score = alpha sigmoid(logit) + (1 - alpha) max(e - m, 0) / s, e = mean squared reconstruction error of the last k
    rows, a channel that was constant in training counted 20 times; m its median and s its 99th percentile less the median over the target's presumed normal windows. The second
    part has no upper end: a window far outside of everything keeps counting where the first part is saturated.
    contribution = the squared error by channel over what is usual of that channel. A missing value (NaN) is read as the
    channel's mean and takes no part in the error.

    Args:
        network: trained; its discriminator, if any, is not part of the graph.
        mean, scale: [F], of the target.
        error_median, error_spread: m and s.
        channel_weight: [F], what the squared error of each channel counts for.
        channel_error: [F], usual squared error by channel, above 0.
    """

    def __init__(
        self,
        network: DomainNetwork,
        config: DomainAdaptationConfig,
        mean: np.ndarray,
        scale: np.ndarray,
        error_median: float,
        error_spread: float,
        channel_weight: np.ndarray,
        channel_error: np.ndarray,
    ) -> None:
        super().__init__(mean, scale)
        self.encoder, self.classifier, self.decoder = network.encoder, network.classifier, network.decoder
        self.alpha = config.alpha
        self.rows = min(config.label_rows, config.window)
        self.register_buffer("error_median", torch.tensor(error_median, dtype=torch.float32))
        self.register_buffer("error_spread", torch.tensor(error_spread, dtype=torch.float32))
        self.register_buffer("channel_weight", torch.as_tensor(channel_weight, dtype=torch.float32))
        self.register_buffer("channel_error", torch.as_tensor(channel_error, dtype=torch.float32))
        self.eval()

    def forward(self, window: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        rows = self.standardise(window)
        features = self.encoder(rows)
        logit = self.classifier(features)[:, 0]
        reconstruction = self.decoder(features)
        last, measured = rows[:, -self.rows :], (~torch.isnan(window[:, -self.rows :])).float()
        squared = (last - reconstruction[:, -self.rows :]) ** 2 * measured
        seen = measured.sum(dim=1)  # [N, F]
        by_channel = squared.sum(dim=1)
        error = (by_channel * self.get_buffer("channel_weight")).sum(dim=1) / seen.sum(dim=1).clamp(min=1.0)
        beyond = torch.relu(error - self.get_buffer("error_median")) / self.get_buffer("error_spread")
        score = self.alpha * torch.sigmoid(logit) + (1 - self.alpha) * beyond
        contribution = by_channel / seen.clamp(min=1.0) / self.get_buffer("channel_error")
        return score, contribution, self.to_raw(reconstruction[:, -1]), features
