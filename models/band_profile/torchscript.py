"""Band profile's TorchScript twin, for programs that embed libtorch; the only file here that knows torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from wheeltapper.models.band_profile.fitted import LEAST_DISTANCE, FittedBandProfile
from wheeltapper.models.sound.frontend import DB_PER_NEPER, LARGEST
from wheeltapper.models.sound.frontend_torch import BandLevels
from wheeltapper.models.torchscript import script_bytes


def build_torchscript(fitted: FittedBandProfile[Any]) -> bytes:
    """forward(window [N, C * S] float32, attributes [N, A] or none) -> (score [N], contribution [N, F, T], embedding [N, D])."""
    return script_bytes(BandProfileTwin(fitted))


class BandProfileTwin(torch.nn.Module):
    """The formulas of `fitted`, on the same constants as the graph; without order bands."""

    def __init__(self, fitted: FittedBandProfile[Any]) -> None:
        super().__init__()
        around = fitted.around
        self.channels, self.samples = fitted.channels, fitted.window
        self.front = BandLevels(fitted.frontend, fitted.window)
        self.frames, self.bands = fitted.frames, fitted.frontend.bands
        self.floor, self.scale = fitted.frontend.floor, DB_PER_NEPER
        self.largest, self.least = LARGEST, LEAST_DISTANCE
        self.count, self.centre, self.spread = around.count, fitted.centre, fitted.spread
        self.conditioned = fitted.effect is not None
        width = len(around.mean)
        columns = fitted.frontend.columns(fitted.window, fitted.time_columns)
        membership = np.eye(fitted.time_columns)[columns] / len(columns)
        effect = fitted.effect
        for name, values in {
            "typical": 10.0 ** (-around.mean.reshape(fitted.channels, 1, -1) / 10),
            "inverse_scale": 1 / around.scale,
            "transform": around.transform,
            "references": around.references,
            "beside": around.references @ around.inverse,
            "radius": around.radius,
            "membership": membership,
            "share": membership.sum(axis=0),
            "effect": effect.effect if effect is not None else np.zeros((1, width)),
            "effect_centre": effect.centre if effect is not None else np.zeros(1),
            "effect_scale": effect.scale if effect is not None else np.ones(1),
            "effect_known": effect.known if effect is not None else np.zeros((1, 1)),
            "effect_number": effect.number if effect is not None else np.zeros(1),
        }.items():
            self.register_buffer(
                name, torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)), persistent=True
            )

    def forward(
        self, window: torch.Tensor, attributes: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        signals = torch.clamp(window.reshape(-1, self.samples), -self.largest, self.largest)
        signals = signals - signals.mean(dim=1, keepdim=True)
        signals = signals - signals.mean(dim=1, keepdim=True)
        energies = (self.front.energies(signals) + self.floor).reshape(-1, self.channels, self.frames, self.bands)
        away_levels = torch.log(energies * self.typical) * self.scale
        if self.conditioned:
            assert attributes is not None
            missing = torch.isnan(attributes)
            filled = torch.where(missing, torch.zeros_like(attributes), attributes)
            chosen = torch.matmul(filled, self.effect_known) > 0.5
            known = torch.where(self.effect_number > 0.5, torch.logical_not(missing), chosen)
            scaled = (filled - self.effect_centre) / self.effect_scale
            effect = torch.matmul(torch.where(known, scaled, torch.zeros_like(scaled)), self.effect)
            away_levels = away_levels - effect.reshape(-1, self.channels, 1, self.bands)
        patches = torch.matmul(away_levels.transpose(2, 3), self.membership).flatten(1, 2)
        away = patches.sum(dim=2)
        whitened = torch.matmul(away, self.transform)
        between = whitened.unsqueeze(1) - self.references
        relative = torch.sqrt((between * between).sum(dim=2)) / self.radius
        nearest, index = torch.topk(relative, self.count, dim=1, largest=False, sorted=True)
        logarithm = torch.log(torch.clamp(nearest.mean(dim=1), min=self.least))
        first = index[:, 0]
        slope = torch.matmul(whitened - self.references[first], self.transform.t())
        parts = (patches - self.beside[first].unsqueeze(2) * self.share) * slope.unsqueeze(2)
        return (logarithm - self.centre) / self.spread, torch.relu(parts), away * self.inverse_scale
