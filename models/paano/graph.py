"""PaAno under the graph contract: raw windows in; score, contribution, expected and embedding out.

One matrix product and a top-k find the nearest remembered patches. 1 - cosine would lose most digits of a small
distance, so the nearest are gathered and the distance is half the squared difference of unit vectors, which is the same.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from wheeltapper.models.paano.config import PaanoConfig
from wheeltapper.models.paano.memory import LEAST_DISTANCE, Memory, Usual, profile_of
from wheeltapper.models.paano.network import PaanoNetwork, encoder_input, unit
from wheeltapper.models.standardised import StandardisedGraph

OUTPUTS = ("score", "contribution", "expected", "embedding")
# Added to each channel's unlikeness, which is usually 1: without any, all share the blame.
EVEN_BLAME = 1e-3


class PaanoGraph(StandardisedGraph):
    """forward(window [N, T, C] float32, raw units) -> (score [N], contribution [N, C], expected [N, C], embedding [N, D]).

    A missing value (NaN) is read as the channel's mean.

    Args:
        network: trained.
        mean, scale: [C], of the train part; `scale` above 0.
        memory: of normal patches. usual: how far others lie from it.
    """

    def __init__(
        self,
        network: PaanoNetwork,
        config: PaanoConfig,
        mean: np.ndarray,
        scale: np.ndarray,
        memory: Memory,
        usual: Usual,
    ) -> None:
        super().__init__(mean, scale, config.input_clip)
        self.blocks = network.blocks
        self.normalise = config.normalise
        self.neighbours = min(config.neighbours, len(memory.embedding))
        self.pieces = memory.profile.shape[1]
        self.input_weight = config.input_weight
        self.usual_distance = usual.distance
        self.register_buffer("bank", memory.embedding)
        self.register_buffer("profile", memory.profile)
        self.register_buffer("last", memory.last)
        self.register_buffer("usual", usual.difference)
        self.eval()

    def forward(self, window: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        rows = self.standardise(window)
        # As PaanoNetwork.forward, without the heads that only training needs.
        embedding = unit(torch.mean(self.blocks(encoder_input(rows, self.normalise)), dim=2))
        order = torch.topk(embedding @ self.bank.T, self.neighbours, dim=1).indices  # [N, k]
        nearest = order[:, 0]
        distance = self.distance(embedding, order)
        unlike = self.unlike(rows, nearest)
        score = distance / self.usual_distance + self.input_weight * torch.mean(unlike, dim=1)
        share = unlike + EVEN_BLAME
        contribution = share / torch.sum(share, dim=1, keepdim=True) * score[:, None]
        return score, contribution, self.last[nearest], embedding

    def distance(self, embedding: Tensor, order: Tensor) -> Tensor:
        """[N, D] unit vectors and [N, k] remembered patches to the mean of 1 - cosine, [N]."""
        difference = self.bank[order] - embedding[:, None]
        distance = torch.mean(torch.sum(difference * difference, dim=2), dim=1) / 2
        return torch.clamp(distance, min=LEAST_DISTANCE)

    def unlike(self, rows: Tensor, nearest: Tensor) -> Tensor:
        """[N, T, C] z-scores against the patch remembered as nearest [N]: [N, C], usually 1."""
        squared = (profile_of(rows, self.pieces) - self.profile[nearest]) ** 2
        return torch.mean(squared, dim=1) / self.usual
