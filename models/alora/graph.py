"""ALoRa under the graph contract: raw windows in; score, contribution, expected and embedding out.

Everything the score needs is inside: scaling, network, rank, localization. See `wheeltapper.schemas.bundle.graph` for the contract.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from wheeltapper.models.alora.config import AloraConfig
from wheeltapper.models.alora.localization import blame_matrix, contribution_matrix
from wheeltapper.models.alora.model import AloraNetwork
from wheeltapper.models.alora.rank import hard_levels, rank_above, smooth_levels
from wheeltapper.models.standardised import StandardisedGraph

OUTPUTS = ("score", "contribution", "expected", "embedding")
# Half of the embedding is what the encoder makes of the last row, half is the window's mean: LayerNorm over time
# takes a level out of the encoder's features, and a drift test must be able to see a level move.
EMBEDDING_HALF = 32
_PROJECTION_SEED = 52


class AloraGraph(StandardisedGraph):
    """forward(window [N, T, C] float32, raw units) -> (score [N], contribution [N, C], expected [N, C], embedding [N, D]).

    A missing value (NaN) is read as the channel's mean and takes no part in the error.

    Args:
        network: trained.
        config: its settings; `score`, `rank` and `localization` are applied here, not in training.
        mean, scale: [C], of the train part; `scale` above 0.
        rank_threshold: h1.
    """

    def __init__(
        self, network: AloraNetwork, config: AloraConfig, mean: np.ndarray, scale: np.ndarray, rank_threshold: float
    ) -> None:
        super().__init__(mean, scale, config.input_clip)
        self.network = network
        self.score_kind = config.score
        levels = hard_levels(rank_threshold) if config.rank == "hard" else smooth_levels(rank_threshold)
        self.register_buffer("levels", levels)  # [K] float64
        blame = blame_matrix(contribution_matrix(network), config.localization, config.localization_top)
        self.register_buffer("blame", torch.as_tensor(blame, dtype=torch.float32))  # [C, C]
        random = np.random.default_rng(_PROJECTION_SEED)
        self.register_buffer("project_encoded", _projection(network.norm.normalized_shape[0], random))
        self.register_buffer("project_level", _projection(len(mean), random))
        self.eval()

    def forward(self, window: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        rows = self.standardise(window)
        output = self.network(rows)
        reconstruction = output.reconstruction[:, -1]  # [N, C]
        measured = (~torch.isnan(window[:, -1])).float()
        squared = (rows[:, -1] - reconstruction) ** 2 * measured  # q
        error = squared.sum(dim=1) / torch.clamp(measured.sum(dim=1), min=1.0)
        if self.score_kind == "error":
            score = error
        else:
            rank = rank_above(output.attention[-1], self.levels).mean(dim=1)
            score = rank if self.score_kind == "rank" else error * rank
        embedding = torch.cat(
            [output.encoded[:, -1] @ self.project_encoded, rows.mean(dim=1) @ self.project_level], dim=1
        )
        return score, squared @ self.blame, self.to_raw(reconstruction), embedding


def _projection(width: int, random: np.random.Generator) -> Tensor:
    """[width, min(width, 32)]: the identity where it fits, else a random projection that keeps distances."""
    if width <= EMBEDDING_HALF:
        return torch.eye(width)
    matrix = random.standard_normal((width, EMBEDDING_HALF)) / np.sqrt(EMBEDDING_HALF)
    return torch.as_tensor(matrix, dtype=torch.float32)


def spectra_of(network: AloraNetwork, batches: Iterable[Tensor]) -> np.ndarray:
    """[n, T] float64, descending: singular values of the last layer's head-averaged attention.

    Args:
        batches: [B, T, C] standardised windows each.
    """
    parts = []
    with torch.no_grad():
        for rows in batches:
            attention = network(rows).attention[-1]
            parts.append(torch.linalg.svdvals(attention.double()).cpu().numpy())
    return np.concatenate(parts)
