"""The loss: which singular values are penalised, and gradients where they coincide."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from wheeltapper.models.alora.config import AloraConfig
from wheeltapper.models.alora.loss import alora_loss, rank_penalty
from wheeltapper.models.alora.model import AloraOutput


def test_penalty_by_hand() -> None:
    # given singular values 3, 1, 0.25; r = 1, gamma = 1: 1/2 + 0.25/1.25
    matrix = torch.diag(torch.tensor([0.25, 3.0, 1.0]))[None]
    # when / then
    torch.testing.assert_close(rank_penalty(matrix), torch.tensor([0.7]))
    torch.testing.assert_close(rank_penalty(matrix, skip=0), torch.tensor([1.45]))
    torch.testing.assert_close(rank_penalty(matrix, skip=2, gamma=0.25), torch.tensor([0.5]))


def test_singular_values_are_cut_from_each_matrix_not_samples_from_the_batch() -> None:
    # given a batch of rank-one matrices: no window is to be penalised, the first no less than the others
    share = torch.softmax(torch.randn(4, 6), dim=1)
    batch = share[:, None, :].expand(4, 6, 6)
    # when / then
    torch.testing.assert_close(rank_penalty(batch), torch.zeros(4), atol=1e-5, rtol=0)
    # and each window's penalty is its own, whatever else is in the batch
    others = torch.softmax(torch.randn(4, 6, 6), dim=2)
    alone = torch.cat([rank_penalty(matrix[None]) for matrix in others])
    torch.testing.assert_close(rank_penalty(others), alone)
    assert (alone > 0.1).all()


@pytest.mark.parametrize(
    "matrix",
    [torch.eye(5), torch.full((5, 5), 0.2), torch.zeros(5, 5), torch.diag(torch.tensor([1.0, 1.0, 0.5, 0.5, 0.5]))],
    ids=["identity", "uniform", "zero", "pairs"],
)
def test_gradient_is_finite_where_singular_values_repeat(matrix: torch.Tensor) -> None:
    attention = matrix.expand(3, 5, 5).clone().requires_grad_()
    rank_penalty(attention).sum().backward()
    assert attention.grad is not None
    assert torch.isfinite(attention.grad).all()


def test_gradient_agrees_with_finite_differences() -> None:
    attention = torch.softmax(torch.randn(2, 5, 5, dtype=torch.float64), dim=2).requires_grad_()
    assert torch.autograd.gradcheck(rank_penalty, (attention,))


def test_sum_with_lambda_is_mean_with_lambda_times_batch(tiny: AloraConfig) -> None:
    # given
    rows = torch.randn(7, 8, 3)
    output = AloraOutput(torch.zeros_like(rows), [torch.softmax(torch.randn(7, 8, 8), dim=2) for _ in range(2)], rows)
    # when
    summed = alora_loss(output, rows, replace(tiny, alora_reduction="sum", alora_lambda=10.0))
    averaged = alora_loss(output, rows, replace(tiny, alora_reduction="mean", alora_lambda=70.0))
    # then
    torch.testing.assert_close(summed, averaged)
    penalty = torch.stack([rank_penalty(matrix) for matrix in output.attention]).sum(dim=1).mean()
    torch.testing.assert_close(summed[0], (rows**2).mean() + 10 * penalty)
