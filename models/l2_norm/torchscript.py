"""L2 norm's TorchScript twin, for programs that embed libtorch; the only file here that knows torch."""

from __future__ import annotations

import numpy as np
import torch

from wheeltapper.models.l2_norm.fitted import FittedL2Norm
from wheeltapper.models.torchscript import script_bytes


def build_torchscript(fitted: FittedL2Norm) -> bytes:
    """forward(window [N, W, C] float32) -> (score [N], contribution [N, C], expected [N, C], embedding [N, C])."""
    return script_bytes(L2NormTwin(fitted))


class L2NormTwin(torch.nn.Module):
    """The formulas of `fit`, on the same constants as the graph."""

    def __init__(self, fitted: FittedL2Norm) -> None:
        super().__init__()
        self.clip: float = fitted.settings.clip
        for name, values in {
            "mean": fitted.scaling.mean,
            "inverse_std": 1.0 / fitted.scaling.std,
            "typical": fitted.scaling.typical,
            "weights": fitted.settings.row_weights(),
        }.items():
            self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)))

    def forward(self, window: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        filled = torch.where(torch.isnan(window), self.typical, window)
        scaled = torch.clamp((filled - self.mean) * self.inverse_std, -self.clip, self.clip)
        contribution = torch.einsum("i,nic->nc", self.weights, scaled * scaled)
        last = scaled[:, -1]
        return torch.sqrt(contribution.sum(dim=1)), contribution, self.mean + 0.0 * last, last
