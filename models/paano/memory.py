"""The memory bank: a few patches of normal operation that stand for all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.paano.network import PaanoNetwork, encoder_input, unit

# Pieces of equal length that a patch is averaged over for blame, at most, and float32 values that these may take.
SEGMENTS = 8
PROFILE_VALUES = 4_000_000
# Least usual difference of a channel, as a share of the mean over channels, and in itself.
LEAST_USUAL_SHARE, LEAST_USUAL = 0.05, 1e-3
_BATCH = 1024


@dataclass(frozen=True)
class Memory:
    """
    Attributes:
        embedding: [M, D] float32, unit length.
        profile: [M, F, S] float32, what the encoder sees of each patch, averaged over S pieces; see `profile_of`.
        last: [M, C] float32, last row of each patch, raw units.
        usual: [F] float32, mean squared difference of profiles between a normal patch and the one nearest to it.
        usual_distance: mean of 1 - cosine between the two.
    """

    embedding: Tensor
    profile: Tensor
    last: Tensor
    usual: Tensor
    usual_distance: float


def build_memory(
    network: PaanoNetwork, batches: Callable[[], Iterable[Tensor]], raw_last: Tensor, *, most: int, seed: int
) -> Memory:
    """Remember at most `most` of the candidates.

    Args:
        network: trained.
        batches: gives the n candidate patches, [B, T, C] z-scores each; gone through twice.
        raw_last: [n, C] their last rows in raw units.
        seed: of the clustering.
    """
    network.eval()
    with torch.no_grad():
        embedding = torch.cat([unit(network(part)) for part in batches()])
        chosen = chosen_members(embedding, most, seed)
        pieces = segments(network.window, len(chosen) * network.inputs)
        profile = torch.cat([profile_of(part, network.normalise, pieces) for part in batches()])
        others = torch.ones(len(embedding), dtype=torch.bool)
        others[chosen] = False
        # A remembered patch is nearest to itself: where all are, the second nearest says what is usual.
        rank = 0
        if not others.any():
            others[:] = True
            rank = min(1, len(chosen) - 1)
        bank = embedding[chosen]
        found = [
            torch.topk(part @ bank.T, rank + 1, dim=1).indices[:, rank] for part in embedding[others].split(_BATCH)
        ]
        nearest = torch.cat(found)
        distance = float(torch.mean(torch.sum((embedding[others] - bank[nearest]) ** 2, dim=1))) / 2
        usual = torch.mean((profile[others] - profile[chosen][nearest]) ** 2, dim=(0, 2))
        usual = torch.clamp(usual, min=max(float(usual.mean()) * LEAST_USUAL_SHARE, LEAST_USUAL))
    return Memory(bank, profile[chosen], raw_last[chosen], usual, distance)


def chosen_members(embedding: Tensor, most: int, seed: int) -> Tensor:
    """Ascending indices of at most `most` rows of [n, D]: those nearest to the centres of as many clusters."""
    if len(embedding) <= most:
        return torch.arange(len(embedding))
    from sklearn.cluster import MiniBatchKMeans

    model = MiniBatchKMeans(
        most, random_state=seed, n_init=1, batch_size=max(4096, most), max_iter=20, reassignment_ratio=0.0
    ).fit(embedding.numpy().astype(np.float32))
    centres = torch.as_tensor(model.cluster_centers_, dtype=torch.float32)
    return torch.unique(torch.cdist(embedding, centres).argmin(dim=0))


def segments(window: int, values: int) -> int:
    """S: the largest divisor of the window that keeps blame detailed and the memory small."""
    limit = max(1, min(SEGMENTS, PROFILE_VALUES // max(values, 1)))
    return max(count for count in range(1, limit + 1) if window % count == 0)


def profile_of(rows: Tensor, normalise: str, pieces: int) -> Tensor:
    """[N, T, C] z-scores -> [N, F, S], F = C, or 2 C where the encoder sees shapes and levels."""
    seen = encoder_input(rows, normalise)
    return seen.reshape(seen.shape[0], seen.shape[1], pieces, seen.shape[2] // pieces).mean(dim=3)
