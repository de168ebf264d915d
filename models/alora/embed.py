"""LightMTS-Embed: smoothed channels, mixed in pairs, plus a sinusoidal position.

Feature k at time t is w_k1 * s_i(t) + w_k2 * s_j(t): s is the moving average of three rows, (i, j) the k-th pair of
channels, and the two scalars are all that is learnt.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from wheeltapper.models.alora.config import WIDTH_LIMIT, Padding
from wheeltapper.models.training_rows import moving_channels

KERNEL = 3
# With one to five channels there are fewer pairs than that; each is then used several times, with its own scalars.
MINIMUM_WIDTH = 16


def average_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks 1..n of [n] values; ties share their mean rank, NaN takes the middle (it says nothing of order)."""
    ranks = np.full(len(values), np.nan)
    known = ~np.isnan(values)
    _, place, count = np.unique(values[known], return_inverse=True, return_counts=True)
    ranks[known] = (np.cumsum(count) - (count - 1) / 2)[place]
    ranks[~known] = (known.sum() + 1) / 2
    return ranks


def spearman(train: np.ndarray) -> np.ndarray:
    """[C, C] rank correlations of [n, C]; 0 wherever a channel is constant, where the textbook formula gives NaN."""
    ranks = np.apply_along_axis(average_ranks, 0, np.asarray(train, dtype=np.float64))
    ranks -= ranks.mean(axis=0)
    spread = ranks.std(axis=0)
    ranks /= np.where(spread > 0, spread, 1.0)
    return np.asarray(np.clip(ranks.T @ ranks / len(ranks), -1, 1))


def choose_pairs(train: np.ndarray, width: int, *, cover_channels: bool = True) -> np.ndarray:
    """Which channels are mixed: [d, 2] int64, d <= min(width, 512) unless channels are very few.

    All pairs of moving channels in lexicographic order where they fit; else those of largest |Spearman rho|
    (ties: lexicographic), with `cover_channels` each channel's own best pair among them first.

    Args:
        train: [n, C] raw values, NaN allowed; n rows of normal operation.
        width: wanted d.

    Raises:
        ValueError: no channel moves.
    """
    moving = np.flatnonzero(moving_channels(train))
    if len(moving) == 0:
        raise ValueError("every channel is constant")
    if len(moving) == 1:
        return np.tile(np.repeat(moving, 2)[None, :], (MINIMUM_WIDTH, 1))
    first, second = np.triu_indices(len(moving), k=1)
    pairs = np.stack([moving[first], moving[second]], axis=1)
    limit = min(width, WIDTH_LIMIT)
    if len(pairs) > limit:
        strength = np.abs(spearman(train)[pairs[:, 0], pairs[:, 1]])
        order = np.argsort(-strength, kind="stable")
        if cover_channels:
            order = np.array(_covering_first(pairs[order], order))
        pairs = pairs[order[:limit]]
    least = min(limit, MINIMUM_WIDTH)
    if len(pairs) < least:
        pairs = np.tile(pairs, (math.ceil(least / len(pairs)), 1))
    return pairs


def _covering_first(ranked_pairs: np.ndarray, order: np.ndarray) -> list[int]:
    """`order` with the pairs that bring in a channel not seen before moved to its front."""
    seen: set[int] = set()
    bringing: list[int] = []
    others: list[int] = []
    for (first, second), index in zip(ranked_pairs.tolist(), order.tolist(), strict=True):
        (others if first in seen and second in seen else bringing).append(index)
        seen.update((first, second))
    return bringing + others


def sinusoidal_table(window: int, width: int) -> Tensor:
    """[T, d] float32: sin and cos of the position, base 10000; an odd d has one cos fewer."""
    position = torch.arange(window, dtype=torch.float64)[:, None]
    rate = torch.exp(torch.arange(0, width, 2, dtype=torch.float64) * (-math.log(10000.0) / width))
    table = torch.zeros(window, width, dtype=torch.float64)
    table[:, 0::2] = torch.sin(position * rate)
    table[:, 1::2] = torch.cos(position * rate)[:, : width // 2]
    return table.float()


def moving_average(rows: Tensor, padding: Padding) -> Tensor:
    """Mean of three neighbouring rows along time. [B, T, C] -> [B, T, C]."""
    if padding == "circular":
        # The authors' choice: row T-1 is smoothed with row 0, the oldest of the window.
        before, after = torch.cat([rows[:, -1:], rows[:, :-1]], dim=1), torch.cat([rows[:, 1:], rows[:, :1]], dim=1)
        return (before + rows + after) / KERNEL
    one_back = torch.cat([rows[:, :1], rows[:, :-1]], dim=1)
    if padding == "causal":
        two_back = torch.cat([rows[:, :1], rows[:, :1], rows[:, :-2]], dim=1)
        return (two_back + one_back + rows) / KERNEL
    one_ahead = torch.cat([rows[:, 1:], rows[:, -1:]], dim=1)
    return (one_back + rows + one_ahead) / KERNEL


class LightEmbedding(nn.Module):
    """[B, T, C] standardised rows -> [B, T, d] features."""

    def __init__(
        self,
        channels: int,
        window: int,
        pairs: Sequence[Sequence[int]] | np.ndarray,
        *,
        padding: Padding = "replicate",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        index = torch.as_tensor(np.asarray(pairs), dtype=torch.int64)  # [d, 2]
        self.padding: Padding = padding
        self.scalars = nn.Parameter(torch.randn(len(index), 2))
        self.dropout = nn.Dropout(dropout)
        # One-hot columns instead of an index: the mixing is then one matrix product, forward and backward.
        select = torch.zeros(2, channels, len(index))
        feature = torch.arange(len(index))
        select[0, index[:, 0], feature] = 1.0
        select[1, index[:, 1], feature] = 1.0
        self.register_buffer("select", select)  # [2, C, d]
        self.register_buffer("position", sinusoidal_table(window, len(index)))  # [T, d]

    def mixing(self) -> Tensor:
        """[C, d]: the pair mixing as a matrix, at most two entries in a column."""
        return self.select[0] * self.scalars[:, 0] + self.select[1] * self.scalars[:, 1]

    def forward(self, rows: Tensor) -> Tensor:
        mixed = moving_average(rows, self.padding) @ self.mixing()  # [B, T, d]
        return self.dropout(mixed + self.position)
