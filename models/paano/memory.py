"""The memory bank: a few patches of normal operation that stand for all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from wheeltapper.models.paano.network import PaanoNetwork, unit

# Pieces of equal length that a patch is averaged over for blame, at most, and float32 values that these may take.
SEGMENTS = 8
PROFILE_VALUES = 4_000_000
# Least usual difference of a channel, as a share of the mean over channels, and in itself.
LEAST_USUAL_SHARE, LEAST_USUAL = 0.05, 1e-3
# A patch that is remembered itself differs by rounding alone: below that, nothing can be told apart.
LEAST_DISTANCE = 1e-6


@dataclass(frozen=True)
class Memory:
    """
    Attributes:
        embedding: [M, D] float32, unit length.
        profile: [M, S, C] float32, z-scores of each patch, averaged over S pieces of it.
        last: [M, C] float32, last row of each patch, raw units.
    """

    embedding: Tensor
    profile: Tensor
    last: Tensor


@dataclass(frozen=True)
class Usual:
    """What scores and blame are measured in: how far normal patches that are not remembered lie from those that are.

    Attributes:
        difference: [C] float32, mean squared difference of profiles to the patch remembered as nearest.
        distance: mean of 1 - cosine to it.
    """

    difference: Tensor
    distance: float


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
        pieces = segments(network.window, len(chosen) * raw_last.shape[1])
        profile = torch.cat([profile_of(part, pieces) for part in batches()])
    return Memory(embedding[chosen], profile[chosen], raw_last[chosen])


def usual_differences(network: PaanoNetwork, memory: Memory, batches: Iterable[Tensor]) -> Usual:
    """Means over normal patches that the memory has not seen, [B, T, C] z-scores each."""
    network.eval()
    differences, distances = [], []
    with torch.no_grad():
        for rows in batches:
            embedding = unit(network(rows))
            nearest = torch.argmax(embedding @ memory.embedding.T, dim=1)
            distances.append(torch.sum((embedding - memory.embedding[nearest]) ** 2, dim=1) / 2)
            profile = profile_of(rows, memory.profile.shape[1])
            differences.append(torch.mean((profile - memory.profile[nearest]) ** 2, dim=1))
    difference = torch.cat(differences).mean(dim=0)
    least = max(float(difference.mean()) * LEAST_USUAL_SHARE, LEAST_USUAL)
    return Usual(torch.clamp(difference, min=least), max(float(torch.cat(distances).mean()), LEAST_DISTANCE))


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


def profile_of(rows: Tensor, pieces: int) -> Tensor:
    """[N, T, C] z-scores -> [N, S, C]: averages over S pieces of equal length."""
    return rows.reshape(rows.shape[0], pieces, rows.shape[1] // pieces, rows.shape[2]).mean(dim=2)
