"""The autoencoder baseline under the graph contract of sound."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from wheeltapper.models.dcase_ae.config import DcaseAeConfig
from wheeltapper.models.dcase_ae.network import Autoencoder, vectors_of
from wheeltapper.models.sound.frontend import LARGEST
from wheeltapper.models.sound.frontend_torch import BandLevels


class DcaseAeGraph(nn.Module):
    """forward(window [N, C * S] float32) -> (score [N], contribution [N, C * bands, T], embedding [N, bottleneck]).

    Args:
        network: trained. levels: the front end, for windows of S samples.
        mean, scale: [C * bands], of the levels.
        whitenings: [D, D] of each domain's residuals, for score=mahalanobis.
        columns: [frames] in which of the window's equal parts each frame lies.
    """

    mean: Tensor
    scale: Tensor
    whitenings: Tensor
    averaging: Tensor

    def __init__(
        self,
        network: Autoencoder,
        config: DcaseAeConfig,
        levels: BandLevels,
        channels: int,
        mean: np.ndarray,
        scale: np.ndarray,
        whitenings: Sequence[np.ndarray],
        columns: np.ndarray,
    ) -> None:
        super().__init__()
        self.network, self.levels, self.channels = network, levels, channels
        self.samples, self.side_by_side = levels.samples, config.frames
        self.mahalanobis = config.score == "mahalanobis"
        # A vector is blamed where its middle frame lies.
        middle = columns[config.frames // 2 : config.frames // 2 + levels.frames - config.frames + 1]
        inside = (middle[None, :] == np.arange(config.time_columns)[:, None]).astype(np.float64)
        averaging = inside / np.maximum(inside.sum(axis=1, keepdims=True), 1)
        for name, values in (
            ("mean", mean),
            ("scale", scale),
            ("whitenings", np.stack(whitenings)[:, None]),
            ("averaging", averaging),
        ):
            self.register_buffer(name, torch.as_tensor(values, dtype=torch.float32))
        self.eval()

    def forward(self, window: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        levels = self.levels(torch.clamp(window, -LARGEST, LARGEST).reshape(-1, self.samples))
        score, squared, code = self.score(self.rows(levels))
        by_band = torch.mean(squared.reshape(-1, squared.shape[1], self.side_by_side, self.mean.shape[0]), dim=2)
        return score, torch.matmul(self.averaging, by_band).transpose(1, 2), code

    def rows(self, levels: Tensor) -> Tensor:
        """[N * C, frames, bands] dB -> [N, frames, C * bands], standardised; channels side by side."""
        bands = levels.shape[2]
        by_window = levels.reshape(-1, self.channels, self.levels.frames, bands).transpose(1, 2)
        return (by_window.reshape(-1, self.levels.frames, self.channels * bands) - self.mean) / self.scale

    def score(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[N, frames, C * bands] -> score [N], squared residual [N, vectors, D], mean code [N, bottleneck]."""
        residual, code = self.residual(rows)
        squared = residual * residual
        if not self.mahalanobis:
            return torch.mean(squared, dim=(1, 2)), squared, code
        apart = torch.matmul(residual[None], self.whitenings)
        distance = torch.mean(torch.sum(apart * apart, dim=3), dim=2)
        return torch.amin(distance, dim=0), squared, code

    def residual(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """[N, frames, C * bands] -> [N, vectors, D] and the mean code [N, bottleneck]."""
        vectors = vectors_of(rows, self.side_by_side)
        flat = vectors.reshape(-1, vectors.shape[2])
        code = self.network.encoder(flat)
        residual = flat - self.network.decoder(code)
        count = vectors.shape[1]
        return residual.reshape(-1, count, vectors.shape[2]), torch.mean(code.reshape(-1, count, code.shape[1]), dim=1)
