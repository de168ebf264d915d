"""KMeansAD's TorchScript twin, for programs that embed libtorch; the only file here that knows torch."""

from __future__ import annotations

import numpy as np
import torch

from wheeltapper.models.kmeans_ad.fitted import LEAST_SHAPE_DEVIATION, FittedKMeans
from wheeltapper.models.torchscript import script_bytes


def build_torchscript(fitted: FittedKMeans) -> bytes:
    """forward(window [N, W, C] float32) -> (score [N], contribution [N, C], expected [N, C], embedding [N, C])."""
    return script_bytes(KMeansTwin(fitted))


class KMeansTwin(torch.nn.Module):
    """The formulas of `fit`, on the same constants as the graph."""

    def __init__(self, fitted: FittedKMeans) -> None:
        super().__init__()
        self.clip: float = fitted.settings.clip
        self.centered: bool = fitted.settings.normalise != "none"
        self.shaped: bool = fitted.settings.normalise == "shape"
        self.least_deviation: float = LEAST_SHAPE_DEVIATION
        flat = fitted.centroids.reshape(len(fitted.centroids), -1).astype(np.float64)
        for name, values in {
            "mean": fitted.scaling.mean,
            "std": fitted.scaling.std,
            "inverse_std": 1.0 / fitted.scaling.std,
            "typical": fitted.scaling.typical,
            "centroids": fitted.centroids,
            "products": -2 * flat.T,
            "squares": (flat**2).sum(axis=1),
        }.items():
            self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)))

    def forward(self, window: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        filled = torch.where(torch.isnan(window), self.typical, window)
        scaled = torch.clamp((filled - self.mean) * self.inverse_std, -self.clip, self.clip)
        level = scaled.mean(dim=1)
        vectors = scaled
        deviation = torch.ones_like(level)
        if self.centered:
            vectors = scaled - level.unsqueeze(1)
        if self.shaped:
            deviation = torch.clamp(torch.sqrt((vectors * vectors).mean(dim=1)), min=self.least_deviation)
            vectors = vectors / deviation.unsqueeze(1)
        nearest = (torch.matmul(vectors.flatten(1), self.products) + self.squares).argmin(dim=1)
        centroid = self.centroids[nearest]
        difference = vectors - centroid
        contribution = (difference * difference).sum(dim=1)
        last = centroid[:, -1] * deviation
        if self.centered:
            last = last + level
        return torch.sqrt(contribution.sum(dim=1)), contribution, self.mean + self.std * last, level
