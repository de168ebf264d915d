"""The patch encoder and the two heads that it is trained by; the heads are not part of the detector."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from wheeltapper.models.paano.config import PaanoConfig

KERNELS = (7, 5, 3, 3)
# Share of a channel's deviation in training below which a patch counts as still: noise is not blown up to unit size.
STILL = 0.05
# Levels beyond that many deviations are told apart by their logarithm only.
SOFT = 3.0


class PaanoNetwork(nn.Module):
    """Four convolutions over time, averaged over the patch: [N, T, C] standardised rows -> embedding [N, D].

    Batch normalisation follows each convolution; its statistics are the train part's once the network is trained.
    """

    steps: Tensor

    def __init__(self, config: PaanoConfig, channels: int) -> None:
        super().__init__()
        self.normalise = config.normalise
        self.window = config.window
        width = config.width
        widths = (channels * (2 if config.normalise == "both" else 1), width, 2 * width, width, max(width // 2, 2))
        self.blocks = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Conv1d(widths[i], widths[i + 1], kernel, padding=kernel // 2, bias=False),
                    nn.BatchNorm1d(widths[i + 1]),
                    nn.ReLU(),
                )
                for i, kernel in enumerate(KERNELS)
            )
        )
        self.projection = nn.Sequential(nn.Linear(widths[-1], 2 * width), nn.ReLU(), nn.Linear(2 * width, 2 * width))
        self.follows = nn.Linear(2 * widths[-1], 1)
        # Training steps done: the pretext loss fades with them, in a resumed run too.
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self, rows: Tensor) -> Tensor:
        """[N, T, C] z-scores -> h [N, D]."""
        return torch.mean(self.blocks(encoder_input(rows, self.normalise)), dim=2)

    def embed(self, rows: Tensor) -> Tensor:
        """[N, n, C] z-scores, n >= T -> h of the last T rows, [N, D]."""
        embedding: Tensor = self(rows[:, -self.window :])
        return embedding


def encoder_input(rows: Tensor, normalise: str) -> Tensor:
    """[N, T, C] z-scores -> [N, C or 2 C, T]: what the first convolution sees."""
    patch = rows.transpose(1, 2)
    level = torch.sign(patch) * SOFT * torch.log1p(torch.abs(patch) / SOFT)
    if normalise == "train":
        return level
    centered = patch - patch.mean(dim=2, keepdim=True)
    deviation = torch.sqrt(torch.mean(centered * centered, dim=2, keepdim=True) + STILL**2)
    shape = centered / deviation
    return shape if normalise == "patch" else torch.cat([shape, level], dim=1)


def unit(embedding: Tensor) -> Tensor:
    """[N, D] to unit length."""
    return embedding / torch.sqrt(torch.sum(embedding * embedding, dim=1, keepdim=True) + 1e-12)
