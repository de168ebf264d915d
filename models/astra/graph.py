"""ASTRA under the graph contract of sound: raw samples in; score, time-frequency contribution and embedding out.

A patch is blamed by how far it is from what patches of its row (its frequencies) usually are, times the attention that it got.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from wheeltapper.models.astra.backend import LEAST_VARIANCE, USUAL, Domain, estimate_covariance
from wheeltapper.models.astra.network import AstraNetwork
from wheeltapper.models.astra.trunk import folded
from wheeltapper.models.sound.frontend import LARGEST
from wheeltapper.models.sound.frontend_torch import BandLevels

OUTPUTS = ("score", "contribution", "embedding")
# Patches of a row that its statistics are taken of at most, evenly spaced.
PATCHES_PER_ROW = 4000
# No direction of a row's patches varies less than that share of the largest variance: patches are of no unit, and the convolutions
# of float32 before them are not exact.
LEAST_SHARE = 1e-2


@dataclass(frozen=True)
class PatchStatistics:
    """What the patches of a row usually are, row by row and channel after channel: Q = C * rows.

    Attributes:
        mean: [Q, D]. whitening: [Q, D, D]: the squared distance is |(p - mean) whitening|^2.
        usual: [Q], that distance's mean over normal patches.
    """

    mean: np.ndarray
    whitening: np.ndarray
    usual: np.ndarray

    @classmethod
    def of(cls, patches: np.ndarray, channels: int, grid: tuple[int, int]) -> PatchStatistics:
        """Args: patches: [n, C * rows * columns, D] of normal windows."""
        rows, columns = grid
        width = patches.shape[2]
        by_row = patches.reshape(-1, channels * rows, columns, width).transpose(1, 0, 2, 3)
        means, whitenings, usual = [], [], []
        for values in by_row.reshape(channels * rows, -1, width).astype(np.float64):
            chosen = values[np.linspace(0, len(values) - 1, min(len(values), PATCHES_PER_ROW)).astype(int)]
            mean = chosen.mean(axis=0)
            covariance = estimate_covariance(chosen - mean, "ledoit-wolf")
            eigenvalues, vectors = np.linalg.eigh(covariance)
            least = max(LEAST_VARIANCE, LEAST_SHARE * float(eigenvalues[-1]))
            whitening = vectors / np.sqrt(np.maximum(eigenvalues, least))
            means.append(mean)
            whitenings.append(whitening)
            usual.append(max(float(np.square((chosen - mean) @ whitening).sum(axis=1).mean()), 1e-6))
        return cls(np.stack(means), np.stack(whitenings), np.array(usual))


class AstraGraph(nn.Module):
    """forward(window [N, C * S] float32[, attributes [N, A]]) -> (score [N], contribution [N, F, T], embedding [N, E]).

    Args:
        network: trained. levels: the front end, for windows of S samples.
        domains: the back ends. statistics: of normal patches.

    Attributes:
        cells: (rows, columns) of a channel's contribution.
    """

    patch_mean: Tensor
    patch_whitening: Tensor
    patch_usual: Tensor

    def __init__(
        self, network: AstraNetwork, levels: BandLevels, domains: Sequence[Domain], statistics: PatchStatistics
    ) -> None:
        super().__init__()
        self.levels = levels
        self.network = copy.deepcopy(network)
        self.network.trunk = folded(network.trunk)
        self.samples, self.channels, self.grid = levels.samples, network.channels, network.grid
        self.domains = nn.ModuleList(_DomainScore(domain) for domain in domains)
        self.overlapping = not network.dense
        extra = int(self.overlapping)
        self.cells = (self.grid[0] + extra, self.grid[1] + extra)
        for name, values in (
            ("patch_mean", statistics.mean[:, None]),
            ("patch_whitening", statistics.whitening),
            ("patch_usual", statistics.usual.reshape(1, self.channels, self.grid[0], 1)),
        ):
            self.register_buffer(name, torch.as_tensor(values, dtype=torch.float32))
        self.eval()

    def forward(self, window: Tensor, attributes: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        levels = self.levels(torch.clamp(window, -LARGEST, LARGEST).reshape(-1, self.samples))
        patches = self.network.patches(self.network.picture(levels))
        columns = window.new_zeros((1, 0)) if attributes is None else attributes
        embedding, _, weights = self.network.embed(patches, columns)
        unit = embedding / torch.sqrt(torch.sum(embedding * embedding, dim=1, keepdim=True) + 1e-12)
        scores = torch.stack([domain(unit) for domain in self.domains])
        return USUAL + torch.amin(scores, dim=0), self._contribution(patches, weights), unit

    def _contribution(self, patches: Tensor, weights: Tensor) -> Tensor:
        """[N, C * P, D] and attention [N, C * P] -> [N, C * rows, columns]."""
        rows, columns = self.grid
        width = patches.shape[2]
        by_row = patches.reshape(-1, self.channels * rows, columns, width).transpose(0, 1)
        apart = (by_row.reshape(self.channels * rows, -1, width) - self.patch_mean) @ self.patch_whitening
        squared = torch.sum(apart * apart, dim=2).reshape(self.channels * rows, -1, columns).transpose(0, 1)
        strange = squared.reshape(-1, self.channels, rows, columns) / self.patch_usual
        # Squared, a strange patch stands out; to subtract what is usual would leave rounding.
        strange = strange * strange
        blame = strange * weights.reshape(-1, self.channels, rows, columns)
        if self.overlapping:
            # Each patch's blame goes in equal parts to the four squares that it covers.
            blame = nn.functional.pad(blame, [1, 1, 1, 1]) / 4
            blame = blame[:, :, :-1] + blame[:, :, 1:]
            blame = blame[..., :-1] + blame[..., 1:]
        return blame.reshape(-1, self.channels * self.cells[0], self.cells[1])


class _DomainScore(nn.Module):
    """`backend.Domain.score` in torch."""

    offset: Tensor
    axes: Tensor
    centroids: Tensor
    whitening: Tensor
    directions: Tensor

    def __init__(self, domain: Domain) -> None:
        super().__init__()
        for name, values in (
            ("offset", domain.offset),
            ("axes", domain.axes.T),
            ("centroids", domain.centroids[:, None]),
            ("whitening", domain.whitening),
            ("directions", domain.directions),
        ):
            self.register_buffer(name, torch.as_tensor(values, dtype=torch.float32))
        self.center, self.scale = domain.center, domain.scale
        self.weight = domain.weight

    def forward(self, unit: Tensor) -> Tensor:
        """[N, D] -> [N]."""
        reduced = torch.matmul(unit - self.offset, self.axes)
        apart = torch.matmul(reduced[None] - self.centroids, self.whitening)
        squared = torch.amin(torch.sum(apart * apart, dim=2), dim=0)
        # 1 - cosine would lose most digits of a small distance; half the squared difference of unit vectors is the same.
        difference = unit[:, None] - self.directions
        cosine = torch.amin(torch.sum(difference * difference, dim=2), dim=1) / 2
        first = (squared - self.center[0]) / self.scale[0]
        second = (cosine - self.center[1]) / self.scale[1]
        return self.weight * first + (1.0 - self.weight) * second
