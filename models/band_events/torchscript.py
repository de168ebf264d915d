"""Band events' TorchScript twin, for programs that embed libtorch; the only file here that knows torch."""

from __future__ import annotations

import numpy as np
import torch

from wheeltapper.models.band_events.fitted import FADING, LEAST_DISTANCE, FittedBandEvents
from wheeltapper.models.sound.frontend import LARGEST
from wheeltapper.models.sound.frontend_torch import BandLevels
from wheeltapper.models.torchscript import script_bytes


def build_torchscript(fitted: FittedBandEvents) -> bytes:
    """forward(window [N, C * S] float32) -> (score [N], contribution [N, F, T], embedding [N, D])."""
    return script_bytes(BandEventsTwin(fitted))


class BandEventsTwin(torch.nn.Module):
    """The formulas of `fitted`, on the same constants as the graph."""

    def __init__(self, fitted: FittedBandEvents) -> None:
        super().__init__()
        self.samples, self.width, self.frames = fitted.window, len(fitted.shape.mean), fitted.frames
        self.front = BandLevels(fitted.frontend, fitted.window)
        self.largest, self.least, self.fading = LARGEST, LEAST_DISTANCE, float(FADING)
        self.centre, self.spread = fitted.centre, fitted.spread
        for name, values in {
            "mean": fitted.shape.mean,
            "inverse_scale": 1 / fitted.shape.scale,
            "transform": fitted.shape.transform,
            "averaging": fitted.averaging,
            "membership": fitted.membership,
        }.items():
            self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)))

    def forward(self, window: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        signals = torch.clamp(window.reshape(-1, self.samples), -self.largest, self.largest)
        signals = signals - signals.mean(dim=1, keepdim=True)
        signals = signals - signals.mean(dim=1, keepdim=True)
        levels = self.front(signals).transpose(1, 2).reshape(-1, self.width, self.frames)
        ordered = torch.sort(levels, dim=2)[0]
        median = (ordered[:, :, (self.frames - 1) // 2] + ordered[:, :, self.frames // 2]) / 2
        events = torch.matmul(levels - median.unsqueeze(2), self.averaging).transpose(1, 2)
        away = events - self.mean
        whitened = torch.matmul(away, self.transform)
        distance = torch.sqrt((whitened * whitened).sum(dim=2, keepdim=True))
        largest = torch.clamp(distance.amax(dim=1, keepdim=True), min=self.least)
        parts = torch.relu(away * torch.matmul(whitened, self.transform.t()))
        blamed = (parts * torch.pow(distance / largest, self.fading)).transpose(1, 2)
        standard = away * self.inverse_scale
        score = (torch.log(largest).reshape(-1) - self.centre) / self.spread
        return score, torch.matmul(blamed, self.membership), torch.sqrt((standard * standard).mean(dim=1))
