"""The autoencoder, frame vectors and the distance of a residual."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import Tensor, nn

# Keras' 0.99 and 0.001, as the baseline has them.
NORM_MOMENTUM, NORM_EPSILON = 0.01, 1e-3
HIDDEN_LAYERS = 4


def _layer(inputs: int, width: int) -> list[nn.Module]:
    return [
        nn.Linear(inputs, width),
        nn.BatchNorm1d(width, eps=NORM_EPSILON, momentum=NORM_MOMENTUM),
        nn.ReLU(),
    ]


class Autoencoder(nn.Module):
    """[M, D] -> [M, D], by way of a bottleneck: dense layers D, 4 x width, bottleneck, 4 x width, D."""

    def __init__(self, inputs: int, width: int = 128, bottleneck: int = 8) -> None:
        super().__init__()
        wide = [inputs, *[width] * HIDDEN_LAYERS]
        self.encoder = nn.Sequential(
            *(part for before, after in itertools.pairwise([*wide, bottleneck]) for part in _layer(before, after))
        )
        deep = [bottleneck, *[width] * HIDDEN_LAYERS]
        self.decoder = nn.Sequential(
            *(part for before, after in itertools.pairwise(deep) for part in _layer(before, after)),
            nn.Linear(width, inputs),
        )

    def forward(self, vectors: Tensor) -> Tensor:
        repeated: Tensor = self.decoder(self.encoder(vectors))
        return repeated


def vectors_of(frames: Tensor, side_by_side: int) -> Tensor:
    """[N, frames, B] -> [N, frames - side_by_side + 1, side_by_side * B]: each frame with those that follow it."""
    count = frames.shape[1] - side_by_side + 1
    return torch.cat([frames[:, start : start + count] for start in range(side_by_side)], dim=2)


class ReconstructionObjective:
    """[B, side_by_side, bands] of standardised levels -> mean squared error, to minimise and to watch."""

    def __call__(self, network: nn.Module, rows: Tensor) -> tuple[Tensor, Tensor]:
        vectors = rows.flatten(1)
        loss = nn.functional.mse_loss(network(vectors), vectors)
        return loss, loss.detach()


def whitening_of(residual: np.ndarray, kind: str) -> np.ndarray:
    """[n, D] residuals to [D, D]: |r whitening|^2 / D is the squared Mahalanobis distance of r from 0, usually about 1."""
    from sklearn.covariance import LedoitWolf

    residual = residual.astype(np.float64)
    width = residual.shape[1]
    if kind == "empirical":
        covariance = residual.T @ residual / len(residual)
    else:
        covariance = LedoitWolf(assume_centered=True, store_precision=False).fit(residual).covariance_
    values, vectors = np.linalg.eigh(covariance)
    # A direction that never erred is not infinitely strict: float32 has seven digits.
    return np.asarray(vectors / np.sqrt(np.maximum(values, 1e-6 * values[-1] + 1e-12) * width))
