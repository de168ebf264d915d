"""The numerical rank of attention without a singular value decomposition, and how its threshold is chosen.

ONNX has no SVD. The singular values of S above h are the eigenvalues of S'S above h^2, and by Sylvester's law of
inertia these are as many as S'S - h^2 I has positive pivots in an LDL' factorisation. Unrolled over the T steps that
is a slice, a division, an outer product and a subtraction a step, for the whole batch at once, in float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

# Less than what h^2 >= 1e-8 can notice; keeps a pivot from being exactly zero where an entry of S'S equals h^2.
_PIVOT_SHIFT = 1e-14
# Share of held-out normal windows that the chosen threshold gives rank 1.
NORMAL_QUANTILE = 0.995
# A second singular value that spreads over more decades than that has no quantile worth trusting.
SPREAD_DECADES = 2.0
# Float32 results of two processors differ by far less: a threshold keeps that distance from every value seen.
_RELATIVE_GAP = 1e-4
# Singular values of float32 attention are rounding below about 1e-6; what lies under this is taken as equal.
_NOISE = 1e-5
# Bounds of h1: well above the rounding, and below sigma_1, which is at least 1 because rows sum to 1.
_LOWEST, _HIGHEST = 1e-4, 0.99
SMOOTH_WIDTH = 0.25
_SMOOTH_LEVELS = 16


def positive_pivots(matrix: Tensor) -> Tensor:
    """Number of positive eigenvalues of symmetric matrices. [T, T, M] float64, batch LAST -> [M] float32.

    The batch is the last axis so that every step works on contiguous rows. Without pivoting: an entry that is
    minute against its column would lose digits, which for S'S - h^2 I in float64 does not happen in practice
    (tests compare with an SVD).
    """
    pivots = []
    for left in range(matrix.shape[0] - 1, 0, -1):
        head, below = matrix.split([1, left], dim=0)
        pivot, row = head.split([1, left], dim=1)  # [1, 1, M], [1, left, M]
        column, rest = below.split([1, left], dim=1)  # [left, 1, M], [left, left, M]
        pivots.append(pivot[0])
        matrix = rest - (column / pivot) * row
    pivots.append(matrix[0])
    return (torch.cat(pivots) > 0).float().sum(dim=0)


def rank_above(attention: Tensor, thresholds: Tensor) -> Tensor:
    """How many singular values lie above each threshold. [N, T, T], [K] float64 -> [N, K] float32."""
    wide = attention.double()
    gram = (wide.transpose(1, 2) @ wide).permute(1, 2, 0).unsqueeze(-1)  # [T, T, N, 1]
    identity = torch.eye(attention.shape[1], dtype=torch.float64, device=attention.device)[:, :, None, None]
    shifted = gram - identity * (thresholds * thresholds - _PIVOT_SHIFT)  # [T, T, N, K]
    return positive_pivots(shifted.flatten(2)).unflatten(0, (-1, thresholds.shape[0]))


def hard_levels(threshold: float) -> Tensor:
    """Thresholds whose mean rank is the hard rank: one."""
    return torch.tensor([threshold], dtype=torch.float64)


def smooth_levels(threshold: float) -> Tensor:
    """Thresholds whose mean rank is sum_i sigmoid((ln sigma_i - ln h1) / 0.25) to 1/32 a singular value.

    The logistic function is the distribution function of a logistic variable: the mean of hard ranks at that
    variable's equally likely values is the smooth rank.
    """
    share = (torch.arange(_SMOOTH_LEVELS, dtype=torch.float64) + 0.5) / _SMOOTH_LEVELS
    return threshold * torch.exp(SMOOTH_WIDTH * torch.log(share / (1 - share)))


@dataclass(frozen=True, slots=True)
class RankThreshold:
    """h1 and why.

    Attributes:
        value: h1.
        method: 'second-singular-value' (the quantile rule), 'spectrum-gap' (its fallback) or 'given'.
        histogram: rank -> number of held-out normal windows that have it.
    """

    value: float
    method: str
    histogram: dict[int, int]


def choose_threshold(spectra: np.ndarray, given: float | None = None) -> RankThreshold:
    """h1 from held-out normal windows: the smallest that gives 99.5 % of them rank 1.

    Where the second singular value spreads over more than two decades, the middle of the largest gap (in
    logarithms) of the mean spectrum instead. Either way h1 lies between two observed values, not on one: a window
    whose singular value equals h1 would change its rank with the last bit of another processor's softmax.

    Args:
        spectra: [n, T] singular values of the last layer's head-averaged attention, descending.
        given: a threshold set by hand.
    """
    spectra = np.maximum(np.asarray(spectra, dtype=np.float64), _NOISE)
    if given is not None:
        return RankThreshold(float(given), "given", _histogram(spectra, given))
    second = np.sort(spectra[:, 1])
    low, high = np.quantile(second, [1 - NORMAL_QUANTILE, NORMAL_QUANTILE])
    method = "second-singular-value"
    if np.log10(high / low) <= SPREAD_DECADES:
        value = _above(second, high)
    else:
        method = "spectrum-gap"
        mean = np.log(spectra.mean(axis=0))
        place = int(np.argmax(mean[:-1] - mean[1:]))
        value = float(np.exp((mean[place] + mean[place + 1]) / 2))
    value = min(max(value, _LOWEST), _HIGHEST)
    return RankThreshold(value, method, _histogram(spectra, value))


def _above(ascending: np.ndarray, level: float) -> float:
    """The middle of the first gap above `level`; a little above the largest value where there is none."""
    upper = ascending[ascending >= level]
    ladder = upper if len(upper) else ascending[-1:]
    gaps = np.flatnonzero(ladder[1:] > ladder[:-1] * (1 + _RELATIVE_GAP))
    if len(gaps) == 0:
        return float(ladder[-1] * 1.01)
    return float(np.sqrt(ladder[gaps[0]] * ladder[gaps[0] + 1]))


def _histogram(spectra: np.ndarray, threshold: float) -> dict[int, int]:
    ranks, counts = np.unique((spectra > threshold).sum(axis=1), return_counts=True)
    return {int(rank): int(count) for rank, count in zip(ranks, counts, strict=True)}
