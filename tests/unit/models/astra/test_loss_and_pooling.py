"""Contrastive losses against plain loops, and pooling that attributes change."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from wheeltapper.models.astra.loss import chance, contrastive  # noqa: E402
from wheeltapper.models.astra.pooling import AttentionPool  # noqa: E402


def views(clips: int, *, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    first = torch.randn(clips, 5, generator=generator)
    return first, first + 0.3 * torch.randn(clips, 5, generator=generator)


def by_loops(first: torch.Tensor, second: torch.Tensor, temperature: float, labels: Sequence[int]) -> float:
    """The definition: every view, every positive, one by one."""
    all_views = [row.numpy().astype(np.float64) for row in torch.cat([first, second])]
    labels = [*labels, *labels]

    def similarity(i: int, j: int) -> float:
        a, b = all_views[i], all_views[j]
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)) / temperature

    total = 0.0
    for i in range(len(all_views)):
        others = [j for j in range(len(all_views)) if j != i]
        denominator = math.log(sum(math.exp(similarity(i, j)) for j in others))
        positives = [j for j in others if labels[j] == labels[i]]
        total += sum(denominator - similarity(i, j) for j in positives) / len(positives)
    return total / len(all_views)


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_nt_xent_is_its_definition(temperature: float) -> None:
    first, second = views(6)
    assert float(contrastive(first, second, temperature)) == pytest.approx(
        by_loops(first, second, temperature, range(6)), rel=1e-5
    )


def test_supervised_loss_is_its_definition_and_takes_equal_clips_for_positives() -> None:
    first, second = views(6)
    labels = [0, 0, 1, 2, 1, 0]
    found = float(contrastive(first, second, 0.1, torch.tensor(labels)))
    assert found == pytest.approx(by_loops(first, second, 0.1, labels), rel=1e-5)
    assert found != pytest.approx(float(contrastive(first, second, 0.1)), rel=1e-3)


def test_embeddings_that_say_nothing_give_the_chance_loss() -> None:
    same = torch.ones(7, 4)
    assert float(contrastive(same, same, 0.1)) == pytest.approx(chance(7), rel=1e-5)
    assert chance(1) == 0.0


def pool(kind: str, attributes: int = 3) -> AttentionPool:
    torch.manual_seed(0)
    return AttentionPool(8, attributes, kind)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["additive", "film"])
def test_pooled_output_changes_with_attributes(kind: str) -> None:
    patches = torch.randn(1, 10, 8, generator=torch.Generator().manual_seed(1)).repeat(2, 1, 1)
    pooled, weights = pool(kind)(patches, torch.tensor([[1.0, 0.0, 0.5], [0.0, 1.0, -0.5]]))
    assert (pooled[0] - pooled[1]).abs().max() > 1e-3
    assert (weights[0] - weights[1]).abs().max() > 1e-4
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(2))


def test_published_attention_takes_attributes_out_again() -> None:
    patches = torch.randn(1, 10, 8, generator=torch.Generator().manual_seed(1)).repeat(2, 1, 1)
    pooled, _ = pool("published")(patches, torch.tensor([[5.0, 0.0, 0.5], [0.0, 1.0, -9.0]]))
    torch.testing.assert_close(pooled[0], pooled[1], rtol=1e-4, atol=1e-6)


def test_pooling_without_attributes() -> None:
    pooled, weights = pool("additive", 0)(torch.randn(3, 10, 8), torch.zeros(3, 0))
    assert pooled.shape == (3, 8)
    assert weights.shape == (3, 10)
