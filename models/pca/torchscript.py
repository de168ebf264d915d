"""PCA error's TorchScript twin, for programs that embed libtorch; the only file here that knows torch."""

from __future__ import annotations

import numpy as np
import torch

from wheeltapper.models.pca.fitted import FittedPca
from wheeltapper.models.torchscript import script_bytes


def build_torchscript(fitted: FittedPca) -> bytes:
    """forward(window [N, W, C] float32) -> (score [N], contribution [N, C], expected [N, C], embedding [N, D])."""
    return script_bytes(PcaTwin(fitted))


class PcaTwin(torch.nn.Module):
    """The formulas of `fit`, on the same constants as the graph."""

    def __init__(self, fitted: FittedPca) -> None:
        super().__init__()
        self.clip: float = fitted.settings.clip
        self.single: bool = fitted.channels == 1
        self.has_components: bool = fitted.vectors.shape[1] > 0
        for name, values in {
            "mean": fitted.mean,
            "std": fitted.std,
            "inverse_std": 1.0 / fitted.std,
            "typical": fitted.scaling.typical,
            "center": fitted.center,
            "vectors": fitted.vectors,
            "weights": fitted.settings.row_weights(),
        }.items():
            self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)))

    def forward(self, window: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        filled = torch.where(torch.isnan(window), self.typical, window)
        scaled = torch.clamp((filled - self.mean) * self.inverse_std, -self.clip, self.clip)
        vectors = (scaled.transpose(1, 2) if self.single else scaled) - self.center
        parts = vectors
        modelled = torch.zeros_like(vectors)
        if self.has_components:
            parts = torch.matmul(vectors, self.vectors)
            modelled = torch.matmul(parts, self.vectors.transpose(0, 1))
        residual = vectors - modelled
        modelled = modelled + self.center
        if self.single:
            residual, modelled = residual.transpose(1, 2), modelled.transpose(1, 2)
        contribution = torch.einsum("i,nic->nc", self.weights, residual * residual)
        expected = self.mean + self.std * modelled[:, -1]
        return contribution.sum(dim=1), contribution, expected, parts[:, -1]
