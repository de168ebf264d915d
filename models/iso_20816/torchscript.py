"""The zones' TorchScript twin, for programs that embed libtorch; the only file here that knows torch."""

from __future__ import annotations

import numpy as np
import torch

from wheeltapper.models.iso_20816.fitted import FittedVelocityZones
from wheeltapper.models.sound.frontend import LARGEST
from wheeltapper.models.sound.frontend_torch import BandLevels
from wheeltapper.models.torchscript import script_bytes


def build_torchscript(fitted: FittedVelocityZones) -> bytes:
    """forward(window [N, C * S] float32) -> (score [N], contribution [N, F, T], embedding [N, F])."""
    return script_bytes(VelocityZonesTwin(fitted))


class VelocityZonesTwin(torch.nn.Module):
    """The formulas of `fitted`, on the same constants as the graph."""

    def __init__(self, fitted: FittedVelocityZones) -> None:
        super().__init__()
        self.samples, self.channels, self.bands = fitted.window, fitted.channels, fitted.frontend.bands
        self.front = BandLevels(fitted.frontend, fitted.window)
        self.largest, self.limit = LARGEST, fitted.limit
        self.register_buffer("membership", torch.from_numpy(np.ascontiguousarray(fitted.membership, dtype=np.float32)))

    def forward(self, window: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        signals = torch.clamp(window.reshape(-1, self.samples), -self.largest, self.largest)
        signals = signals - signals.mean(dim=1, keepdim=True)
        signals = signals - signals.mean(dim=1, keepdim=True)
        by_column = torch.matmul(self.front.energies(signals).transpose(1, 2), self.membership)
        by_column = by_column.reshape(-1, self.channels * self.bands, by_column.shape[2])
        by_band = by_column.sum(dim=2)
        rms = torch.sqrt(by_band.reshape(-1, self.channels, self.bands).sum(dim=2))
        return rms.amax(dim=1) / self.limit, by_column / (self.limit * self.limit), torch.sqrt(by_band)
