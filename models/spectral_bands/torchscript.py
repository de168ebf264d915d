"""Spectral bands' TorchScript twin, for programs that embed libtorch; the only file here that knows torch."""

from __future__ import annotations

import numpy as np
import torch

from wheeltapper.models.sound.frontend_torch import BandLevels
from wheeltapper.models.spectral_bands.fitted import FittedSpectralBands
from wheeltapper.models.torchscript import script_bytes


def build_torchscript(fitted: FittedSpectralBands) -> bytes:
    """forward(window [N, C * S] float32) -> (score [N], contribution [N, C * bands, T], embedding [N, C * bands])."""
    return script_bytes(SpectralBandsTwin(fitted))


class SpectralBandsTwin(torch.nn.Module):
    """The formulas of `fit`, on the same constants as the graph."""

    def __init__(self, fitted: FittedSpectralBands) -> None:
        super().__init__()
        self.levels = BandLevels(fitted.frontend, fitted.window)
        self.channels: int = fitted.channels
        self.bands: int = fitted.channels * fitted.frontend.bands
        self.columns: int = fitted.time_columns
        self.top: int = fitted.settings.top
        for name, values in {
            "mean": fitted.mean,
            "inverse_spread": 1.0 / fitted.spread,
            "inverse_column_spread": 1.0 / fitted.column_spread[:, None],
            "weights": fitted.column_weights(),
        }.items():
            self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)))

    def forward(self, window: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        levels = self.levels(window.reshape(window.shape[0] * self.channels, -1))  # [N * C, frames, bands]
        profile = levels.mean(dim=1).reshape(-1, self.bands)
        standardised = (profile - self.mean) * self.inverse_spread
        top = torch.topk(standardised * standardised, self.top, dim=1)[0]
        columns = torch.matmul(levels.transpose(1, 2), self.weights).reshape(-1, self.bands, self.columns)
        away = (columns - self.mean[:, None]) * self.inverse_column_spread
        return top.mean(dim=1), away * away, standardised
