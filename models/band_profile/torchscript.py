"""Band profile's TorchScript twin, for programs that embed libtorch; the only file here that knows torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from wheeltapper.models.band_profile.fitted import LEAST_DISTANCE, FittedBandProfile
from wheeltapper.models.sound.frontend import DB_PER_NEPER, LARGEST
from wheeltapper.models.sound.frontend_torch import BandLevels
from wheeltapper.models.sound.orders import OrderBands
from wheeltapper.models.sound.orders_torch import OrderWeights
from wheeltapper.models.torchscript import script_bytes


def build_torchscript(fitted: FittedBandProfile[Any]) -> bytes:
    """forward(window [N, C * S] float32, attributes [N, A] or none) -> (score [N], contribution [N, F, T], embedding [N, D])."""
    return script_bytes(BandProfileTwin(fitted))


class BandProfileTwin(torch.nn.Module):
    """The formulas of `fitted`, on the same constants as the graph."""

    def __init__(self, fitted: FittedBandProfile[Any]) -> None:
        super().__init__()
        around = fitted.around
        self.channels, self.samples = fitted.channels, fitted.window
        self.front = BandLevels(fitted.frontend, fitted.window)
        self.frames, self.bands = fitted.frames, fitted.frontend.bands
        self.floor, self.scale = fitted.frontend.floor, DB_PER_NEPER
        self.largest, self.least = LARGEST, LEAST_DISTANCE
        self.count, self.centre, self.spread = around.count, fitted.centre, fitted.spread
        self.conditioned, self.ordered = fitted.effect is not None, fitted.order_bands is not None
        self.speed_column = fitted.speed_column
        # TorchScript wants a module there, used or not.
        orders = fitted.order_bands or OrderBands.up_to(fitted.frontend, 1, 1.0)
        self.order_weights, self.orders = OrderWeights(orders), orders.bands
        self.split = fitted.channels * fitted.frontend.bands
        width, membership, effect = len(around.mean), fitted.membership, fitted.effect
        for name, values in {
            "typical": 10.0 ** (-around.mean[: self.split].reshape(fitted.channels, 1, -1) / 10),
            "typical_orders": 10.0 ** (-around.mean[self.split :].reshape(fitted.channels, 1, -1) / 10),
            "owner": fitted.owner / 2,
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
        power = self.front.power(signals)
        columns = power.shape[2]
        energies = torch.matmul(power, self.front.weights).reshape(-1, self.channels, self.frames, self.bands)
        patches = self.by_column(torch.log((energies + self.floor) * self.typical) * self.scale)
        weights, there = torch.zeros(0), torch.zeros(0)
        if self.ordered:
            assert attributes is not None
            weights, there = self.order_weights(attributes[:, self.speed_column])
            ordered = torch.bmm(power.reshape(-1, self.channels * self.frames, columns), weights)
            ordered = ordered.reshape(-1, self.channels, self.frames, self.orders)
            levels = torch.log((ordered + self.floor) * self.typical_orders) * self.scale
            patches = torch.cat([patches, self.by_column(levels)], dim=1)
        if self.conditioned:
            assert attributes is not None
            patches = patches - self.effect_of(attributes).unsqueeze(2) * self.share
        if self.ordered:
            # An unknown band lies at the mean.
            mask = torch.cat([torch.ones(there.shape[0], self.split), there.repeat(1, self.channels)], dim=1)
            patches = patches * mask.unsqueeze(2)
        away = patches.sum(dim=2)
        whitened = torch.matmul(away, self.transform)
        between = whitened.unsqueeze(1) - self.references
        relative = torch.sqrt((between * between).sum(dim=2)) / self.radius
        nearest, index = torch.topk(relative, self.count, dim=1, largest=False, sorted=True)
        logarithm = torch.log(torch.clamp(nearest.mean(dim=1), min=self.least))
        first = index[:, 0]
        slope = torch.matmul(whitened - self.references[first], self.transform.t())
        parts = (patches - self.beside[first].unsqueeze(2) * self.share) * slope.unsqueeze(2)
        if self.ordered:
            spread = torch.matmul(self.owner, weights).unsqueeze(1)
            laid = torch.matmul(spread, parts[:, self.split :].reshape(-1, self.channels, self.orders, parts.shape[2]))
            parts = parts[:, : self.split] + laid.flatten(1, 2)
        return (logarithm - self.centre) / self.spread, torch.relu(parts), away * self.inverse_scale

    def by_column(self, levels: torch.Tensor) -> torch.Tensor:
        """[N, C, frames, B] to [N, C * B, columns]."""
        return torch.matmul(levels.transpose(2, 3), self.membership).flatten(1, 2)

    def effect_of(self, attributes: torch.Tensor) -> torch.Tensor:
        """u B, [N, D]."""
        missing = torch.isnan(attributes)
        filled = torch.where(missing, torch.zeros_like(attributes), attributes)
        chosen = torch.matmul(filled, self.effect_known) > 0.5
        known = torch.where(self.effect_number > 0.5, torch.logical_not(missing), chosen)
        scaled = (filled - self.effect_centre) / self.effect_scale
        return torch.matmul(torch.where(known, scaled, torch.zeros_like(scaled)), self.effect)
