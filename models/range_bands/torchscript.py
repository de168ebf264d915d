"""Range bands' TorchScript twin, for programs that embed libtorch; the only file here that knows torch."""

from __future__ import annotations

import numpy as np
import torch

from wheeltapper.models.range_bands.constants import ViewConstants, graph_constants
from wheeltapper.models.range_bands.fitted import FittedBands
from wheeltapper.models.torchscript import script_bytes


def build_torchscript(fitted: FittedBands) -> bytes:
    """forward(window [N, W, C] float32) -> (score [N], contribution [N, C], expected [N, C], embedding [N, 3 C])."""
    return script_bytes(RangeBandsTwin(fitted))


class RangeBandsTwin(torch.nn.Module):
    """The formulas of `graph`, on the same constants."""

    def __init__(self, fitted: FittedBands) -> None:
        super().__init__()
        settings, constants = fitted.settings, graph_constants(fitted)
        second = constants.second
        self.kept: int = settings.scored_rows
        self.place: int = settings.scored_rows - 1 - settings.lag
        self.scored: int = settings.window - 1 - settings.lag
        self.leak: float = settings.leak
        self.down: float = settings.down
        self.inside: float = constants.inside
        self.clip: float = settings.clip
        self.cap: float = settings.cap
        self.residual_weight: float = settings.residual_weight
        self.has_residual: bool = second is not None
        for name in ("anchor", "gain", "offset", "typical", "clip_low", "clip_high", "low_raw", "high_raw"):
            self.register_buffer(name, torch.from_numpy(getattr(constants, name)))
        self.register_buffer("change", torch.from_numpy(constants.change))
        self.register_buffer("weights", torch.from_numpy(constants.weights))
        self.register_buffer("first", torch.from_numpy(_rows(constants.first)))
        self.register_buffer("inverse_scale", torch.from_numpy((1.0 / fitted.bands.scale).astype(np.float32)))
        # Without a residual view these are empty and never read; TorchScript wants them to exist.
        nothing = np.zeros((0, fitted.channels), dtype=np.float32)
        self.register_buffer("z_low", torch.from_numpy(second.z_low if second else nothing))
        self.register_buffer("z_high", torch.from_numpy(second.z_high if second else nothing))
        self.register_buffer("matrix", torch.from_numpy(second.matrix if second else nothing))
        self.register_buffer("second", torch.from_numpy(_rows(second.view) if second else nothing))

    def view(
        self, values: torch.Tensor, changes: torch.Tensor, bands: torch.Tensor, inverse_scale: torch.Tensor
    ) -> torch.Tensor:
        outside = torch.relu(torch.abs(values - bands[0]) - bands[1])
        unusual = torch.relu(torch.abs(changes - bands[2]) - bands[3])
        excess = torch.minimum(outside, unusual) + self.leak * outside
        excess = torch.where(values < bands[0] - bands[1], excess * self.down, excess) * inverse_scale
        saturated = self.cap * excess / (self.cap + excess)
        return torch.einsum("k,nkc->nc", self.weights, saturated * saturated)

    def forward(self, window: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        filled = torch.where(torch.isnan(window), self.typical, window)
        relative = (filled - self.anchor) * self.gain
        first = torch.minimum(torch.maximum(relative, self.clip_low), self.clip_high)
        values = first[:, -self.kept :]
        changes = torch.matmul(self.change, first)
        contribution = self.view(values, changes, self.first, self.inverse_scale)
        if self.has_residual:
            clipped = torch.minimum(torch.maximum(relative, self.z_low), self.z_high)
            residual = torch.matmul(clipped[:, -self.kept :], self.matrix)
            residual_changes = torch.matmul(torch.matmul(self.change, clipped), self.matrix)
            part = self.view(residual, residual_changes, self.second, torch.ones_like(self.inverse_scale))
            contribution = contribution + self.residual_weight * part
        distance = torch.clamp((filled[:, self.scored] - self.typical) * self.gain, -self.clip, self.clip)
        contribution = contribution + self.inside * distance * distance
        expected = torch.minimum(torch.maximum(filled[:, self.scored], self.low_raw), self.high_raw)
        embedding = torch.cat(
            [values[:, self.place] + self.offset, changes[:, self.place], torch.log1p(contribution)], dim=1
        )
        return contribution.sum(dim=1), contribution, expected, embedding


def _rows(view: ViewConstants) -> np.ndarray:
    """[4, C]: the bands as one buffer."""
    return np.stack([view.middle, view.half_width, view.change_middle, view.change_half_width])
