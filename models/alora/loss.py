"""Reconstruction error plus the truncated Geman penalty on the rank of attention."""

from __future__ import annotations

import torch
from torch import Tensor

from wheeltapper.models.alora.config import AloraConfig
from wheeltapper.models.alora.model import AloraOutput


def rank_penalty(attention: Tensor, *, skip: int = 1, gamma: float = 1.0) -> Tensor:
    """sum_{i > r} sigma_i / (sigma_i + gamma) of every matrix. [B, T, T] -> [B].

    The r free singular values are cut from the LAST axis, those of one matrix. (Cutting [B, T] values from the
    front drops whole samples of the batch and penalises sigma_1, which pushes attention to the uniform matrix
    instead of to any rank-one matrix.) The gradient needs U and V' only, not 1 / (sigma_i^2 - sigma_j^2), so it is
    finite at repeated singular values.
    """
    values = torch.linalg.svdvals(attention)[:, skip:]  # [B, T - r]
    return (values / (values + gamma)).sum(dim=1)


def alora_loss(output: AloraOutput, rows: Tensor, config: AloraConfig) -> tuple[Tensor, Tensor, Tensor]:
    """What is minimised, and its parts.

    Args:
        output: of `AloraNetwork` for `rows`.
        rows: [B, T, C], standardised.

    Returns:
        Three scalars: the objective, mean squared error + lambda * penalty with the penalty summed or averaged
        over the batch and averaged over layers; the mean squared error; the penalty of a window (mean over batch and
        layers). The last two do not depend on the batch size.
    """
    error = torch.mean((rows - output.reconstruction) ** 2)
    by_layer = torch.stack(
        [rank_penalty(matrix, skip=config.penalty_skip, gamma=config.penalty_gamma) for matrix in output.attention]
    )  # [L, B]
    penalty = by_layer.mean()
    weight = config.alora_lambda * (len(rows) if config.alora_reduction == "sum" else 1)
    return error + weight * penalty, error, penalty
